//! An SMTP client that sends from any address of the lab, with or without TLS, certificate and log-in; and the raw
//! dialogue for input that no proper client sends.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use super::stream::{Connection, Transport};

/// A reply with all its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Three-digit code; 0 if the server closed the connection instead.
    pub code: u16,
    /// The lines, code included, joined by line feeds.
    pub text: String,
}

impl Reply {
    /// True for 2yz and 3yz.
    pub fn is_positive(&self) -> bool {
        (200..400).contains(&self.code)
    }
}

/// An SMTP session as its client sees it.
pub struct SmtpClient {
    connection: Connection,
    /// The server's greeting.
    pub greeting: Reply,
}

impl SmtpClient {
    /// Connects from one of the lab's addresses and reads the greeting.
    pub fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect_timeout(&to.into(), Duration::from_secs(10))?;
        socket.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut connection = Connection::new(socket.into())?;
        let greeting = read_reply(&mut connection)?;
        Ok(Self { connection, greeting })
    }

    /// Sends one command and reads its reply.
    pub fn command(&mut self, line: &str) -> io::Result<Reply> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.connection.send(bytes)
    }

    /// Reads one reply.
    pub fn reply(&mut self) -> io::Result<Reply> {
        read_reply(&mut self.connection)
    }

    /// STARTTLS; the caller says EHLO again afterwards.
    pub fn start_tls(mut self, server: &str, config: Arc<ClientConfig>) -> io::Result<Self> {
        let reply = self.command("STARTTLS")?;
        if !reply.is_positive() {
            return Err(io::Error::other(reply.text));
        }
        let name = ServerName::try_from(server.to_owned()).map_err(io::Error::other)?;
        let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let wrap = |tcp| Ok(Transport::Client(Box::new(StreamOwned::new(session, tcp))));
        Ok(Self { connection: self.connection.upgrade(wrap)?, greeting: self.greeting })
    }

    /// DATA: sends the message with dots doubled and the final dot. Stops after the first negative reply.
    pub fn data(&mut self, message: &[u8]) -> io::Result<Reply> {
        let reply = self.command("DATA")?;
        if !reply.is_positive() {
            return Ok(reply);
        }
        self.send(&dot_stuffed(message))?;
        self.reply()
    }
}

/// The message as it goes over the wire after DATA (RFC 5321, 4.5.2).
fn dot_stuffed(message: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + 16);
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    if !wire.ends_with(b"\r\n") {
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

fn read_reply(connection: &mut Connection) -> io::Result<Reply> {
    let mut lines: Vec<String> = Vec::new();
    loop {
        let Some(line) = connection.line()? else {
            return Ok(Reply { code: 0, text: "connection closed".into() });
        };
        let line = String::from_utf8_lossy(&line).into_owned();
        let more = line.as_bytes().get(3) == Some(&b'-');
        let code = line.get(..3).and_then(|code| code.parse().ok());
        lines.push(line);
        if !more {
            let code = code.ok_or_else(|| io::Error::other(format!("not a reply: {lines:?}")))?;
            return Ok(Reply { code, text: lines.join("\n") });
        }
    }
}
