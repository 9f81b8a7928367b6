//! Milter packets, and the buffering that Postfix's streams do.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// Where a milter listens.
pub enum Endpoint {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl Endpoint {
    pub fn connect(&self) -> io::Result<Stream> {
        const PATIENCE: Option<Duration> = Some(Duration::from_secs(30));
        match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(PATIENCE)?;
                stream.set_write_timeout(PATIENCE)?;
                Ok(Stream { socket: Box::new(stream), written: Vec::new(), capacity: 4096, read: Vec::new(), at: 0 })
            }
            Self::Tcp(address) => {
                // Nagle's algorithm stays on, as in Postfix, which makes its buffer large instead.
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(PATIENCE)?;
                stream.set_write_timeout(PATIENCE)?;
                const SEGMENT: usize = 65_483;
                let capacity = 4 * SEGMENT;
                Ok(Stream { socket: Box::new(stream), written: Vec::new(), capacity, read: Vec::new(), at: 0 })
            }
        }
    }
}

trait Socket: Read + Write + Send {}
impl<T: Read + Write + Send> Socket for T {}

/// A connection that writes when its buffer is full or a reply is due, as VSTREAM does.
pub struct Stream {
    socket: Box<dyn Socket>,
    written: Vec<u8>,
    capacity: usize,
    read: Vec<u8>,
    at: usize,
}

impl Stream {
    /// Appends a packet: command and the parts of its data.
    pub fn put(&mut self, command: u8, data: &[&[u8]]) -> io::Result<()> {
        let length = 1 + data.iter().map(|part| part.len()).sum::<usize>();
        let length = u32::try_from(length).map_err(io::Error::other)?;
        self.append(&length.to_be_bytes())?;
        self.append(&[command])?;
        data.iter().try_for_each(|part| self.append(part))
    }

    fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while bytes.len() > self.capacity - self.written.len() {
            let (now, later) = bytes.split_at(self.capacity - self.written.len());
            self.written.extend_from_slice(now);
            bytes = later;
            self.flush()?;
        }
        self.written.extend_from_slice(bytes);
        Ok(())
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.socket.write_all(&self.written)?;
        self.written.clear();
        Ok(())
    }

    /// Takes the next packet: command and data.
    pub fn take(&mut self) -> io::Result<(u8, &[u8])> {
        self.fill(5)?;
        let head = &self.read[self.at..];
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let command = head[4];
        if !(1..=1 << 20).contains(&length) {
            return Err(io::Error::other("packet of impossible length"));
        }
        self.fill(4 + length)?;
        let data = self.at + 5..self.at + 4 + length;
        self.at = data.end;
        Ok((command, &self.read[data]))
    }

    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        while self.read.len() - self.at < wanted {
            self.read.drain(..self.at);
            self.at = 0;
            let mut chunk = [0; 4096];
            let count = self.socket.read(&mut chunk)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.read.extend_from_slice(&chunk[..count]);
        }
        Ok(())
    }
}
