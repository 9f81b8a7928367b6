//! A milter handshake, as a mail server does it, without a message.

use std::fmt;
use std::io::{self, Read, Write};

/// What a milter said to the negotiation (mfdef.h, SMFIC_OPTNEG).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// Protocol version.
    pub version: u32,
    /// What it wants to do to messages, SMFIF_ flags.
    pub actions: u32,
    /// What it does not want to be asked, SMFIP_ flags.
    pub options: u32,
}

/// Why no milter answered.
#[derive(Debug)]
pub enum HandshakeError {
    /// The connection broke, or nothing came in time.
    Io(io::Error),
    /// What answered is no milter.
    NoMilter(String),
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => f.write_str(
                "it takes the connection and closes it again: too many connections, or it does not like the mail server",
            ),
            Self::Io(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                f.write_str("it takes the connection and says nothing: it hangs, or all its connections are in use")
            }
            Self::Io(error) => write!(f, "the connection breaks: {error}"),
            Self::NoMilter(what) => write!(f, "what answers there is no milter: {what}"),
        }
    }
}

impl std::error::Error for HandshakeError {}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What Postfix with milter_protocol = 6 offers: version, all actions, all options that it knows.
const OFFER: [u32; 3] = [6, 0x1ff, 0x1f_ffff];

/// The milter wants no reply to itself after SMFIC_CONNECT (SMFIP_NR_CONN).
const NO_REPLY_TO_CONNECT: u32 = 0x1000;

/// Longest answer that is read: a milter's answer here has a few macro names at most.
const MAX_ANSWER: u32 = 64 << 10;

/// Negotiates, announces a client on this host, and ends the session. `stream` should have time limits.
///
/// # Errors
/// [`HandshakeError`] if no milter answers, or it refuses the client.
pub fn handshake(stream: &mut (impl Read + Write)) -> Result<Negotiated, HandshakeError> {
    send(stream, b'O', &OFFER.map(u32::to_be_bytes).concat())?;
    let (command, data) = receive(stream)?;
    let words: Vec<u32> =
        data.chunks_exact(4).take(3).map(|word| word.iter().fold(0, |n, b| n << 8 | u32::from(*b))).collect();
    let (b'O', &[version, actions, options]) = (command, words.as_slice()) else {
        return Err(HandshakeError::NoMilter(format!("the negotiation is answered with {:?}", char::from(command))));
    };
    // Family IPv4, port 0.
    send(stream, b'C', b"localhost\x004\0\x00127.0.0.1\0")?;
    if options & NO_REPLY_TO_CONNECT == 0 {
        let (command, _) = receive(stream)?;
        if !matches!(command, b'c' | b'a') {
            return Err(HandshakeError::NoMilter(format!(
                "a client on this host is answered with {:?}",
                char::from(command)
            )));
        }
    }
    send(stream, b'A', b"")?;
    send(stream, b'Q', b"")?;
    Ok(Negotiated { version, actions, options })
}

fn send(stream: &mut impl Write, command: u8, data: &[u8]) -> io::Result<()> {
    let length = u32::try_from(data.len() + 1).map_err(io::Error::other)?;
    let mut packet = length.to_be_bytes().to_vec();
    packet.push(command);
    packet.extend_from_slice(data);
    stream.write_all(&packet)
}

fn receive(stream: &mut impl Read) -> Result<(u8, Vec<u8>), HandshakeError> {
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    if length == 0 || length > MAX_ANSWER {
        let begin: String = head.iter().map(|byte| char::from(*byte)).flat_map(char::escape_default).collect();
        return Err(HandshakeError::NoMilter(format!("it begins with \"{begin}\"")));
    }
    let mut data = Vec::new();
    stream.take(u64::from(length - 1)).read_to_end(&mut data)?;
    Ok((head[4], data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// Answers with what it was given, and keeps what it is told.
    struct Milter(Cursor<Vec<u8>>, Vec<u8>);

    impl Read for Milter {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Milter {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            self.1.write(buffer)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn shake(answer: &[u8]) -> (Result<Negotiated, String>, Vec<u8>) {
        let mut milter = Milter(Cursor::new(answer.to_vec()), Vec::new());
        let result = handshake(&mut milter).map_err(|error| error.to_string());
        (result, milter.1)
    }

    #[test]
    fn a_milter_is_left_without_a_message() {
        let (result, told) = shake(b"\0\0\0\x0dO\0\0\0\x06\0\0\0\x31\0\0\x10\0");
        assert_eq!(result, Ok(Negotiated { version: 6, actions: 0x31, options: 0x1000 }));
        assert!(told.ends_with(b"\0\0\0\x01A\0\0\0\x01Q"), "{told:?}");
    }

    #[test]
    fn what_is_no_milter_is_told_so() {
        let (result, _) = shake(b"220 mail.customer.test ESMTP\r\n");
        assert_eq!(result.unwrap_err(), "what answers there is no milter: it begins with \"220 m\"");
        let (result, _) = shake(b"\0\0\0\x01r");
        assert_eq!(result.unwrap_err(), "what answers there is no milter: the negotiation is answered with 'r'");
        let (result, _) = shake(b"");
        assert!(result.unwrap_err().starts_with("it takes the connection and closes it again"));
    }
}
