//! Messages on the wire: where one ends, and whether it is whole (RFC 4511, section 5.1).

use ldap3_proto::LdapCodec;
use ldap3_proto::proto::LdapMsg;
use tokio_util::bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};

use super::Problem;

/// The longest message that is read, in bytes: a group with some 600,000 members in one entry.
pub const MESSAGE_MAX: usize = 64 * 1024 * 1024;

/// How deeply elements may be nested; the messages of a search need 7.
const NESTING_MAX: usize = 16;

/// What stands before an element's content (X.690, section 8.1).
struct Header {
    constructed: bool,
    length: usize,
    content: usize,
}

/// The message at the beginning of `buffer`, which is taken out of it; `None` while there is more to come.
///
/// # Errors
/// If what is there is no LDAP message, or one beyond the limits.
pub fn decode(buffer: &mut BytesMut) -> Result<Option<LdapMsg>, Problem> {
    const WRONG: &str = "sent something that is not LDAP";
    if buffer.first().is_some_and(|byte| *byte != 0x30) {
        return Err(WRONG.into());
    }
    let Some(header) = header(buffer).map_err(|()| WRONG)? else { return Ok(None) };
    let length = header.length.saturating_add(header.content);
    if length > MESSAGE_MAX {
        return Err(format!("sent a message of {length} bytes, more than the {MESSAGE_MAX} that are read"));
    }
    if buffer.len() < length {
        return Ok(None);
    }
    let mut message = buffer.split_to(length);
    // The codec would take a list that breaks off for a shorter one.
    if !is_whole(&message) {
        return Err("sent a message whose parts do not fit together".into());
    }
    let decoded = LdapCodec::new(Some(MESSAGE_MAX), Some(NESTING_MAX + 2)).decode(&mut message);
    decoded.map_err(|error| format!("sent a message that is not understood: {error}"))?.map(Some).ok_or(WRONG.into())
}

/// The bytes of a message.
///
/// # Errors
/// If it cannot be encoded.
pub fn encode(message: LdapMsg) -> Result<BytesMut, Problem> {
    let mut bytes = BytesMut::new();
    LdapCodec::default().encode(message, &mut bytes).map_err(|error| format!("cannot be asked: {error}"))?;
    Ok(bytes)
}

/// `None` if the header is not there whole.
fn header(bytes: &[u8]) -> Result<Option<Header>, ()> {
    let [tag, first, rest @ ..] = bytes else { return Ok(None) };
    // LDAP has no tag number that would need a second byte.
    if tag & 0x1f == 0x1f {
        return Err(());
    }
    let constructed = tag & 0x20 != 0;
    if *first < 0x80 {
        return Ok(Some(Header { constructed, length: 2, content: usize::from(*first) }));
    }
    // No indefinite lengths (RFC 4511, section 5.1), and none that needs more than four bytes.
    let count = usize::from(first & 0x7f);
    if !(1..=4).contains(&count) {
        return Err(());
    }
    let content = rest.get(..count).map(|digits| digits.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)));
    Ok(content.map(|content| Header { constructed, length: 2 + count, content }))
}

/// Whether every element ends exactly where the one around it says, and none is nested too deeply.
fn is_whole(message: &[u8]) -> bool {
    let mut ends = vec![message.len()];
    let mut at = 0;
    while let Some(&end) = ends.last() {
        if at == end {
            ends.pop();
            continue;
        }
        let Ok(Some(header)) = header(message.get(at..end).unwrap_or_default()) else { return false };
        at += header.length;
        if header.content > end - at {
            return false;
        }
        if !header.constructed {
            at += header.content;
        } else if ends.len() > NESTING_MAX {
            return false;
        } else {
            ends.push(at + header.content);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use ldap3_proto::proto::{LdapOp, LdapPartialAttribute, LdapSearchResultEntry};
    use proptest::prelude::*;

    use super::*;

    fn entry(values: &[&str]) -> BytesMut {
        let vals = values.iter().map(|value| value.as_bytes().to_vec()).collect();
        let attributes = vec![LdapPartialAttribute { atype: "member".into(), vals }];
        let op = LdapOp::SearchResultEntry(LdapSearchResultEntry { dn: "cn=a".into(), attributes });
        encode(LdapMsg { msgid: 1, op, ctrl: vec![] }).unwrap()
    }

    #[test]
    fn messages_are_taken_one_by_one() {
        let (mut buffer, second) = (entry(&["cn=b", "cn=c"]), entry(&[]));
        buffer.extend_from_slice(&second[..5]);
        assert_eq!(decode(&mut buffer).unwrap().unwrap().msgid, 1);
        assert_eq!(decode(&mut buffer), Ok(None));
        buffer.extend_from_slice(&second[5..]);
        assert!(decode(&mut buffer).unwrap().is_some());
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_list_that_breaks_off_is_no_shorter_list() {
        let whole = entry(&["cn=b", "cn=c"]);
        let mut broken = whole.clone();
        let at = broken.len() - 5;
        assert_eq!(broken[at], 4);
        broken[at] = 5;
        assert_eq!(decode(&mut broken).unwrap_err(), "sent a message whose parts do not fit together");
    }

    #[test]
    fn a_great_message_is_refused_before_it_is_read() {
        let mut buffer = BytesMut::from(&[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff][..]);
        assert!(decode(&mut buffer).unwrap_err().contains("2147483653 bytes"));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let mut message: Vec<u8> = vec![];
        for _ in 0..NESTING_MAX + 2 {
            message.splice(0..0, [0x30, u8::try_from(message.len()).unwrap()]);
        }
        let refused = decode(&mut BytesMut::from(&message[..])).unwrap_err();
        assert_eq!(refused, "sent a message whose parts do not fit together");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), begin in any::<bool>()) {
            let start: &[u8] = if begin { &[0x30, 0x10] } else { &[] };
            let _ = decode(&mut BytesMut::from(&[start, &bytes[..]].concat()[..]));
        }

        #[test]
        fn no_changed_message_panics(at in 0..40usize, byte in any::<u8>()) {
            let mut message = entry(&["cn=b", "cn=c"]);
            if let Some(place) = message.get_mut(at) {
                *place = byte;
            }
            let _ = decode(&mut message);
        }
    }
}
