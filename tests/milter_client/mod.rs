//! A milter client for tests: the protocol of Postfix and Sendmail (mfdef.h), byte by byte.

// Every test program uses some of it.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// One connection of a mail server to the milter.
pub struct Client(pub UnixStream, Recipients);

/// Whether the milter answers each recipient, as negotiated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Recipients {
    Answered,
    Unanswered,
}

/// A command or reply with its data.
pub type Frame = (char, Vec<u8>);

impl Client {
    /// Connects to a unix socket.
    pub fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(stream, Recipients::Unanswered)
    }

    pub fn send(&mut self, command: char, data: &[u8]) {
        let mut frame = (data.len() as u32 + 1).to_be_bytes().to_vec();
        frame.push(command as u8);
        frame.extend_from_slice(data);
        self.0.write_all(&frame).unwrap();
    }

    pub fn receive(&mut self) -> Frame {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut frame).unwrap();
        (frame[0] as char, frame[1..].to_vec())
    }

    /// Negotiates as Postfix with milter_protocol = 6 does; returns actions, options and macro lists.
    pub fn negotiate(&mut self) -> (u32, u32, String) {
        self.negotiate_actions(0x1ff)
    }

    /// The same, offering only these actions.
    pub fn negotiate_actions(&mut self, actions: u32) -> (u32, u32, String) {
        self.send('O', &[6_u32, actions, 0x1f_ffff].map(u32::to_be_bytes).concat());
        let (command, data) = self.receive();
        assert_eq!(command, 'O');
        let word = |at: usize| u32::from_be_bytes(data[at..at + 4].try_into().unwrap());
        assert_eq!(word(0), 6);
        // SMFIP_NR_RCPT
        self.1 = if word(8) & 0x8000 == 0 { Recipients::Answered } else { Recipients::Unanswered };
        (word(4), word(8), String::from_utf8_lossy(&data[12..]).into_owned())
    }

    pub fn connect_from(&mut self, address: &str) {
        self.send('D', b"C");
        self.send('C', &[b"client.test\x004\x9c\x40", address.as_bytes(), b"\0"].concat());
    }

    /// As a mail server of which the macro `v` says this.
    pub fn connect_as(&mut self, version: &str, address: &str) {
        self.send('D', format!("Cv\0{version}\0").as_bytes());
        self.send('C', &[b"client.test\x004\x9c\x40", address.as_bytes(), b"\0"].concat());
    }

    pub fn mail(&mut self, sender: &str) {
        self.send('D', b"Mi\0QUEUEID1\0j\0mail.customer.test\0");
        self.send('M', format!("<{sender}>\0").as_bytes());
    }

    pub fn rcpt(&mut self, recipient: &str) {
        self.send('D', b"R");
        self.send('R', format!("<{recipient}>\0").as_bytes());
    }

    /// A recipient as Sendmail tells of it: argument and parameters, with NUL between them, mailer and address.
    pub fn rcpt_of(&mut self, arguments: &str, mailer: &str, address: &str) {
        self.send('D', format!("R{{rcpt_mailer}}\0{mailer}\0{{rcpt_addr}}\0{address}\0").as_bytes());
        self.send('R', format!("{arguments}\0").as_bytes());
        self.recipient_taken();
    }

    /// Reads the answer to a recipient, if there is to be one.
    fn recipient_taken(&mut self) {
        if self.1 == Recipients::Answered {
            assert_eq!(self.receive().0, 'c');
        }
    }

    pub fn envelope(&mut self, sender: &str, recipient: &str) {
        self.mail(sender);
        self.rcpt(recipient);
        self.recipient_taken();
        self.send('D', b"Ti\0QUEUEID1\0");
    }

    pub fn header(&mut self, name: &str, value: &str) {
        self.send('D', b"L");
        self.send('L', format!("{name}\0 {value}\0").as_bytes());
    }

    /// Ends the message; returns everything up to the final reply.
    pub fn end(&mut self) -> Vec<Frame> {
        self.send('D', b"E");
        self.send('E', b"");
        let mut frames = Vec::new();
        loop {
            let frame = self.receive();
            let last = !matches!(frame.0, 'h' | 'i' | 'm' | 'q' | '-' | '2');
            frames.push(frame);
            if last {
                return frames;
            }
        }
    }

    /// One message from an internal client; returns everything up to the final reply.
    pub fn message(&mut self, sender: &str, fields: &[(&str, &str)]) -> Vec<Frame> {
        self.envelope(sender, "bob@remote.test");
        for (name, value) in fields {
            self.header(name, value);
        }
        let frames = self.end();
        self.send('A', b"");
        frames
    }

    /// A client of Sendmail's, from inside.
    pub fn ready_as_sendmail(mut self) -> Self {
        self.negotiate();
        self.connect_as("8.17.1.9", "10.1.1.1");
        self
    }

    pub fn ready(mut self) -> Self {
        self.negotiate();
        self.connect_from("10.1.1.1");
        self
    }
}

/// The commands of these frames, one letter each.
pub fn commands(frames: &[Frame]) -> String {
    frames.iter().map(|(command, _)| *command).collect()
}
