//! One SMTP connection, in the clear or after STARTTLS, read line by line.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConnection, ServerConnection, StreamOwned};

/// Longest line either side takes, far more than RFC 5321 allows, for tests of bad input.
const MAX_LINE: u64 = 1 << 20;

/// The connection below the buffer.
pub enum Transport {
    /// No TLS.
    Plain(TcpStream),
    /// TLS, this side is the server.
    Server(Box<StreamOwned<ServerConnection, TcpStream>>),
    /// TLS, this side is the client.
    Client(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Server(stream) => stream.read(buffer),
            Self::Client(stream) => stream.read(buffer),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Server(stream) => stream.write(bytes),
            Self::Client(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Server(stream) => stream.flush(),
            Self::Client(stream) => stream.flush(),
        }
    }
}

/// A connection with its read buffer.
pub struct Connection(BufReader<Transport>);

impl Connection {
    /// A connection without TLS.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(Transport::Plain(stream))))
    }

    /// The next line without its line end; `None` at the end of the stream.
    pub fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        if (&mut self.0).take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if line.ends_with(b"\n") {
            line.pop();
        }
        if line.ends_with(b"\r") {
            line.pop();
        }
        Ok(Some(line))
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let transport = self.0.get_mut();
        transport.write_all(bytes)?;
        transport.flush()
    }

    /// Turns the plain connection into another kind. What the peer sent too early is thrown away (RFC 3207, 4.2).
    pub fn upgrade(self, wrap: impl FnOnce(TcpStream) -> io::Result<Transport>) -> io::Result<Self> {
        match self.0.into_inner() {
            Transport::Plain(stream) => Ok(Self(BufReader::new(wrap(stream)?))),
            _ => Err(io::Error::other("TLS is already active")),
        }
    }

    /// TLS version as Postfix and the milter macros write it, and the certificate that the peer has shown.
    pub fn tls(&self) -> (Option<&'static str>, Option<&CertificateDer<'static>>) {
        let common: &rustls::CommonState = match self.0.get_ref() {
            Transport::Plain(_) => return (None, None),
            Transport::Server(stream) => &stream.conn,
            Transport::Client(stream) => &stream.conn,
        };
        let version = match common.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "unknown",
        };
        (Some(version), common.peer_certificates().and_then(|chain| chain.first()))
    }
}
