//! TNEF, Outlook's own format (`winmail.dat`): its message class, for meeting requests and responses.

/// The signature of a TNEF stream (MS-OXTNEF, 2.1.3.1), little-endian.
const SIGNATURE: [u8; 4] = [0x78, 0x9f, 0x3e, 0x22];
/// `attMessageClass` (MS-OXTNEF, 2.1.3.3), little-endian.
const MESSAGE_CLASS: [u8; 4] = [0x08, 0x80, 0x07, 0x00];
/// Level of the attributes of the message, before those of its attachments.
const MESSAGE_LEVEL: u8 = 1;

/// True if a TNEF stream, of which the end may be missing, has the message class of a meeting request or response: the
/// names that MS-OXTNEF, 2.1.3.3.1 (`attMessageClass`) maps, or the plain class names.
pub(super) fn is_meeting(stream: &[u8]) -> bool {
    let Some(class) = message_class(stream) else { return false };
    let class = class.split(|&byte| byte == 0).next().unwrap_or_default().to_ascii_lowercase();
    match class.strip_prefix(b"ipm.microsoft schedule.") {
        Some(b"mtgreq" | b"mtgrespp" | b"mtgrespn" | b"mtgrespa" | b"mtgcncl") => true,
        Some(_) => false,
        None => [&b"ipm.schedule.meeting.request"[..], b"ipm.schedule.meeting.canceled", b"ipm.schedule.meeting.resp."]
            .iter()
            .any(|known| class.starts_with(known)),
    }
}

/// The first `attMessageClass`. An attribute is level, name, length, data and checksum.
fn message_class(stream: &[u8]) -> Option<&[u8]> {
    // The legacy key follows the signature.
    let mut rest = stream.strip_prefix(&SIGNATURE)?.get(2..)?;
    loop {
        let (header, data) = rest.split_at_checked(9)?;
        if header[0] != MESSAGE_LEVEL {
            return None;
        }
        let length = usize::try_from(u32::from_le_bytes([header[5], header[6], header[7], header[8]])).ok()?;
        let (data, after) = data.split_at_checked(length)?;
        if header[1..5] == MESSAGE_CLASS {
            return Some(data);
        }
        rest = after.get(2..)?;
    }
}
