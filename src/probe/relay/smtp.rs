//! The client's side of an SMTP session (RFC 5321), as far as it goes without mail.

use smtp_proto::response::parser::ResponseReceiver;
use smtp_proto::{Error, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use crate::probe::shown;

/// A session.
pub struct Session<S> {
    stream: S,
    received: Vec<u8>,
    deadline: Instant,
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoReply {
    /// Nothing came in time.
    Late,
    /// The connection ended or broke; how, in words.
    Broken(String),
    /// Something came that is none.
    Malformed(String),
}

/// Most that is read in one piece, in bytes. A reply has at most 4096, which the parser sees to.
const PIECE: usize = 4096;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// A session that ends at the deadline.
    pub fn new(stream: S, deadline: Instant) -> Self {
        Self { stream, received: Vec::new(), deadline }
    }

    /// Sends a command and waits for the reply.
    pub async fn command(&mut self, command: &str) -> Result<Response<String>, NoReply> {
        let line = format!("{command}\r\n");
        let sent = async {
            self.stream.write_all(line.as_bytes()).await?;
            self.stream.flush().await
        };
        match tokio::time::timeout_at(self.deadline, sent).await {
            Ok(Ok(())) => self.reply().await,
            Ok(Err(error)) => Err(NoReply::Broken(error.to_string())),
            Err(_) => Err(NoReply::Late),
        }
    }

    /// Waits for a reply, of one line or several.
    pub async fn reply(&mut self) -> Result<Response<String>, NoReply> {
        tokio::time::timeout_at(self.deadline, self.read()).await.unwrap_or(Err(NoReply::Late))
    }

    /// The stream, unless the server has already sent what nobody has asked for: before TLS, that could be anybody's
    /// (RFC 3207, section 4.2).
    pub fn into_silent_stream(self) -> Option<S> {
        self.received.is_empty().then_some(self.stream)
    }

    async fn read(&mut self) -> Result<Response<String>, NoReply> {
        let mut parser = ResponseReceiver::default();
        loop {
            let mut bytes = self.received.iter();
            let parsed = parser.parse(&mut bytes);
            let rest = bytes.as_slice().to_vec();
            let malformed = |problem| NoReply::Malformed(format!("{problem}: {}", text(&self.received)));
            match parsed {
                Ok(reply) => {
                    self.received = rest;
                    return Ok(reply);
                }
                Err(Error::NeedsMoreData { .. }) => self.received = rest,
                Err(Error::ResponseTooLong) => return Err(malformed("a reply without end")),
                Err(_) => return Err(malformed("no reply of SMTP")),
            }
            let mut piece = [0; PIECE];
            match self.stream.read(&mut piece).await {
                Ok(0) => return Err(NoReply::Broken("the relay closed the connection".into())),
                Ok(length) => self.received.extend_from_slice(&piece[..length]),
                Err(error) => return Err(NoReply::Broken(error.to_string())),
            }
        }
    }
}

/// A reply as it is shown.
pub fn words(reply: &Response<String>) -> String {
    let [class, subject, detail] = reply.esc;
    let enhanced = if class > 0 { format!("{class}.{subject}.{detail} ") } else { String::new() };
    shown(&format!("{} {enhanced}{}", reply.code, reply.message))
}

fn text(bytes: &[u8]) -> String {
    shown(&String::from_utf8_lossy(bytes))
}
