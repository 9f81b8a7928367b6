//! A look-up in a socketmap, as Sendmail does it (socketmap_table(5), cf/README of Sendmail, "SOCKETMAP").

use std::io::{self, Read, Write};

/// Longest answer that is read, in bytes; Sendmail reads no more of one than this at the least.
const MAX_ANSWER: usize = 4096;

/// Looks up `key` in the map called `map`, and gives back the answer without its netstring: `OK value`, `NOTFOUND `,
/// `TEMP reason` … `stream` should have time limits.
///
/// # Errors
/// Of the connection, or if what comes is no answer of a socketmap.
pub fn ask(stream: &mut (impl Read + Write), map: &str, key: &str) -> io::Result<String> {
    let question = format!("{map} {key}");
    stream.write_all(format!("{}:{question},", question.len()).as_bytes())?;
    let answer = netstring(stream)?;
    let status = answer.split(' ').next().unwrap_or_default();
    match status {
        "OK" | "NOTFOUND" | "TEMP" | "TIMEOUT" | "PERM" => Ok(answer),
        _ => Err(no_answer(&answer)),
    }
}

fn no_answer(seen: &str) -> io::Error {
    io::Error::other(format!("it answers {seen:?}, which is no answer of a socketmap"))
}

/// One netstring: its length, a colon, so many bytes, a comma.
fn netstring(stream: &mut impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 512];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        let parts = text.split_once(':').map(|(length, rest)| (length.parse::<usize>(), rest));
        match parts {
            Some((Ok(length), rest)) if length <= MAX_ANSWER => {
                if let (Some(answer), Some(b',')) = (rest.get(..length), rest.as_bytes().get(length)) {
                    return Ok(answer.to_owned());
                }
                if rest.len() > length {
                    return Err(no_answer(&text));
                }
            }
            Some(_) => return Err(no_answer(&text)),
            None if bytes.iter().any(|byte| !byte.is_ascii_digit()) => return Err(no_answer(&text)),
            None => {}
        }
        match stream.read(&mut chunk)? {
            0 if bytes.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            0 => return Err(no_answer(&String::from_utf8_lossy(&bytes))),
            length => bytes.extend_from_slice(&chunk[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers piece by piece, and keeps what it is asked.
    struct Map(Vec<&'static [u8]>, Vec<u8>);

    impl Read for Map {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(mut piece) = (!self.0.is_empty()).then(|| self.0.remove(0)) else { return Ok(0) };
            piece.read(buffer)
        }
    }

    impl Write for Map {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            self.1.write(buffer)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn asked(answer: &[&'static [u8]]) -> (Result<String, String>, Vec<u8>) {
        let mut map = Map(answer.to_vec(), Vec::new());
        let result = ask(&mut map, "conbool", "a key").map_err(|error| error.to_string());
        (result, map.1)
    }

    #[test]
    fn a_question_and_its_answer() {
        let (answer, question) = asked(&[b"9:NOTFOUND ,"]);
        assert_eq!((answer.as_deref(), question.as_slice()), (Ok("NOTFOUND "), b"13:conbool a key,".as_slice()));
        assert_eq!(asked(&[b"8", b":OK re", b"lay", b","]).0.as_deref(), Ok("OK relay"));
    }

    #[test]
    fn what_is_no_socketmap_is_told_so() {
        for answer in [b"220 mail.customer.test ESMTP\r\n".as_slice(), b"8:OK relay;", b"3:abc,", b"99999:OK", b"8:OK"]
        {
            let error = asked(&[answer]).0.unwrap_err();
            assert!(error.contains("no answer of a socketmap"), "{error}");
        }
        assert_eq!(asked(&[]).0.unwrap_err(), io::Error::from(io::ErrorKind::UnexpectedEof).to_string());
    }
}
