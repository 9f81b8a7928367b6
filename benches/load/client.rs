//! A milter client that behaves like Postfix 3.7: smtpd up to DATA, cleanup from there.

use std::io;

use super::messages::Message;
use super::wire::{Endpoint, Stream};

/// One kind of event: its command, the flags that decline it or its reply, and the list of its macros.
struct Step {
    command: u8,
    declined: u32,
    unanswered: u32,
    macros: usize,
}

const CONNECT: Step = Step { command: b'C', declined: 0x1, unanswered: 0x1000, macros: 0 };
const HELO: Step = Step { command: b'H', declined: 0x2, unanswered: 0x2000, macros: 1 };
const MAIL: Step = Step { command: b'M', declined: 0x4, unanswered: 0x4000, macros: 2 };
const RCPT: Step = Step { command: b'R', declined: 0x8, unanswered: 0x8000, macros: 3 };
const DATA: Step = Step { command: b'T', declined: 0x200, unanswered: 0x1_0000, macros: 4 };
const HEADER: Step = Step { command: b'L', declined: 0x20, unanswered: 0x80, macros: 6 };
const END_OF_HEADER: Step = Step { command: b'N', declined: 0x40, unanswered: 0x4_0000, macros: 6 };
const BODY: Step = Step { command: b'B', declined: 0x10, unanswered: 0x8_0000, macros: 5 };
const END_OF_MESSAGE: Step = Step { command: b'E', declined: 0, unanswered: 0, macros: 5 };

const LEADING_SPACE: u32 = 0x10_0000;
const EVERY_ACTION: u32 = 0x1ff;
const EVERY_STEP: u32 = 0x1f_ffff;
/// Postfix's MILTER_CHUNK_SIZE.
const CHUNK: usize = 65_535;

/// Postfix's milter_connect_macros and so on, in the order of the stages in the negotiation.
const DEFAULT_MACROS: [&str; 7] = [
    "j {daemon_name} {daemon_addr} v _",
    "{tls_version} {cipher} {cipher_bits} {cert_subject} {cert_issuer}",
    "i {auth_type} {auth_authen} {auth_author} {mail_addr} {mail_host} {mail_mailer}",
    "i {rcpt_addr} {rcpt_host} {rcpt_mailer}",
    "i",
    "i",
    "i",
];

/// One SMTP session of an authenticated internal client.
pub struct Session {
    stream: Stream,
    steps: u32,
    macros: [Vec<String>; 7],
    /// The event that the filter wants no more of in this message.
    skipped: Option<u8>,
    queue_id: Option<String>,
    edits: u64,
}

/// What a message came to.
pub enum Answer {
    /// Taken, after this many edits.
    Taken(u64),
    /// Refused, for now or for good.
    Refused,
}

#[derive(PartialEq)]
enum Reply {
    Continue,
    Accept,
    Refuse,
}

impl Session {
    /// Connects, negotiates, and reports CONNECT and HELO.
    pub fn open(endpoint: &Endpoint) -> io::Result<Self> {
        let mut session = Self {
            stream: endpoint.connect()?,
            steps: 0,
            macros: DEFAULT_MACROS.map(names),
            skipped: None,
            queue_id: None,
            edits: 0,
        };
        session.negotiate()?;
        let greeting: [&[u8]; 5] = [b"client.customer.test\0", b"4", &40_000_u16.to_be_bytes(), b"10.0.0.5", b"\0"];
        session.event(&CONNECT, &greeting)?;
        session.event(&HELO, &[b"client.customer.test\0"])?;
        Ok(session)
    }

    fn negotiate(&mut self) -> io::Result<()> {
        let offer = [6, EVERY_ACTION, EVERY_STEP].map(u32::to_be_bytes);
        self.stream.put(b'O', &[&offer[0], &offer[1], &offer[2]])?;
        self.stream.flush()?;
        let (command, data) = self.stream.take()?;
        let Some((flags, mut lists)) = data.split_at_checked(12).filter(|_| command == b'O') else {
            return Err(io::Error::other("no answer to the negotiation"));
        };
        self.steps = u32::from_be_bytes([flags[8], flags[9], flags[10], flags[11]]);
        while let Some((stage, rest)) = lists.split_first_chunk::<4>() {
            let end = rest.iter().position(|&byte| byte == 0).ok_or_else(|| io::Error::other("macro list"))?;
            let wanted = names(&String::from_utf8_lossy(&rest[..end]));
            // An empty list leaves the default.
            if let Some(list) = self.macros.get_mut(u32::from_be_bytes(*stage) as usize)
                && !wanted.is_empty()
            {
                *list = wanted;
            }
            lists = &rest[end + 1..];
        }
        Ok(())
    }

    /// Sends one message and then ABORT, as Postfix does after every message.
    pub fn send(&mut self, message: &Message, number: u64) -> io::Result<Answer> {
        self.edits = 0;
        self.queue_id = None;
        let taken = self.transaction(message, number)? != Reply::Refuse;
        self.skipped = None;
        self.stream.put(b'A', &[])?;
        Ok(if taken { Answer::Taken(self.edits) } else { Answer::Refused })
    }

    fn transaction(&mut self, message: &Message, number: u64) -> io::Result<Reply> {
        macro_rules! event {
            ($step:expr, $data:expr) => {{
                let reply = self.event(&$step, $data)?;
                if reply != Reply::Continue {
                    return Ok(reply);
                }
            }};
        }
        let size = format!("SIZE={}\0", message.size());
        event!(MAIL, &[b"<alice@customer.test>\0", size.as_bytes(), b"BODY=8BITMIME\0"]);
        event!(RCPT, &[b"<bob@remote.test>\0"]);
        // Known when the first recipient has been taken.
        self.queue_id = Some(format!("{:011X}", 0x4B_2C3D_4E5F_u64 + number));
        event!(DATA, &[]);
        // The rest is another process's.
        self.stream.flush()?;
        for (name, value) in &message.header {
            let value = if self.steps & LEADING_SPACE == 0 { value.trim_start_matches(' ') } else { value };
            event!(HEADER, &[name.as_bytes(), b"\0", value.as_bytes(), b"\0"]);
        }
        event!(END_OF_HEADER, &[]);
        for chunk in message.body.chunks(CHUNK) {
            event!(BODY, &[chunk]);
        }
        self.event(&END_OF_MESSAGE, &[])
    }

    /// Ends the session.
    pub fn quit(mut self) -> io::Result<()> {
        self.stream.put(b'A', &[])?;
        self.stream.put(b'Q', &[])?;
        self.stream.flush()
    }

    fn event(&mut self, step: &Step, data: &[&[u8]]) -> io::Result<Reply> {
        if self.skipped == Some(step.command) {
            return Ok(Reply::Continue);
        }
        let mut macros = Vec::with_capacity(256);
        macros.push(step.command);
        for name in &self.macros[step.macros] {
            if let Some(value) = self.value(name) {
                for text in [name, value] {
                    macros.extend_from_slice(text.as_bytes());
                    macros.push(0);
                }
            }
        }
        // The macros are sent even for an event that the filter has declined.
        self.stream.put(b'D', &[&macros])?;
        if self.steps & step.declined != 0 {
            return Ok(Reply::Continue);
        }
        self.stream.put(step.command, data)?;
        if self.steps & step.unanswered != 0 {
            return Ok(Reply::Continue);
        }
        self.reply(step.command)
    }

    fn reply(&mut self, event: u8) -> io::Result<Reply> {
        self.stream.flush()?;
        loop {
            match self.stream.take()?.0 {
                b'c' => return Ok(Reply::Continue),
                b'a' | b'd' => return Ok(Reply::Accept),
                b'r' | b't' | b'y' => return Ok(Reply::Refuse),
                b's' => {
                    self.skipped = Some(event);
                    return Ok(Reply::Continue);
                }
                b'p' => {}
                b'h' | b'i' | b'm' | b'b' | b'e' | b'+' | b'2' | b'-' | b'q' if event == b'E' => self.edits += 1,
                reply => {
                    let text = format!("reply {:?} to {:?}", char::from(reply), char::from(event));
                    return Err(io::Error::other(text));
                }
            }
        }
    }

    fn value(&self, name: &str) -> Option<&str> {
        Some(match name.trim_matches(['{', '}']) {
            "j" | "daemon_name" => "mx.customer.test",
            "daemon_addr" => "192.0.2.80",
            "daemon_port" => "587",
            "v" => "Postfix 3.7.11",
            "_" => "client.customer.test [10.0.0.5]",
            "client_addr" => "10.0.0.5",
            "client_name" | "client_ptr" => "client.customer.test",
            "client_port" => "40000",
            "tls_version" => "TLSv1.3",
            "cipher" => "TLS_AES_256_GCM_SHA384",
            "cipher_bits" => "256",
            "auth_type" => "PLAIN",
            "auth_authen" => "alice",
            "mail_addr" => "alice@customer.test",
            "mail_host" => "remote.test",
            "mail_mailer" | "rcpt_mailer" => "smtp",
            "rcpt_addr" => "bob@remote.test",
            "rcpt_host" => "remote.test",
            "i" => self.queue_id.as_deref()?,
            _ => return None,
        })
    }
}

fn names(list: &str) -> Vec<String> {
    list.split([' ', ',', '\t']).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
