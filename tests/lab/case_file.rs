//! Text cases: SMTP in, verdict, message out. `tests/cases/README.md` describes the format.

use std::fs;
use std::path::{Path as File, PathBuf};
use std::str::FromStr;

use super::envelope::Path;
use super::mail::{Ending, Mail, Sender};
use super::notation;
use super::report::{Place, TOKEN_FIELD};

/// One case.
#[derive(Debug)]
pub struct Case {
    /// What the case shows, in the words of its comment.
    pub about: String,
    /// Site, by the name of its file in `tests/sites`.
    pub site: String,
    /// What simulated hosts reply to RCPT, other than yes.
    pub orders: Vec<Order>,
    /// The message; its header section begins with the token field, whose value is the case's name.
    pub mail: Mail,
    /// Expected start of the reply to MAIL; `None`: any positive one. Likewise below.
    pub mail_reply: Option<String>,
    /// Expected starts of the replies to RCPT, one for each.
    pub recipient_replies: Vec<Option<String>>,
    /// Expected start of the reply to the end of the message.
    pub data_reply: Option<String>,
    /// Fields of the daemon's log line, with their values.
    pub verdict: Vec<(String, String)>,
    /// All copies that may and must exist.
    pub copies: Vec<Expected>,
    /// What must be true of copies that arrived.
    pub checks: Vec<Check>,
    /// Copies must be what was sent.
    pub intact: bool,
    /// False if the case is about another mail server only.
    pub applies: bool,
}

/// A reply that a simulated host gives to RCPT.
#[derive(Debug)]
pub struct Order {
    /// The host.
    pub host: String,
    /// The recipient.
    pub recipient: String,
    /// Only the first time.
    pub once: bool,
    /// Code and text.
    pub reply: String,
}

/// An expected copy.
#[derive(Debug)]
pub struct Expected {
    /// Recipient after alias expansion; `all` where the message is held or discarded as a whole.
    pub recipient: String,
    /// Where the copy is.
    pub place: Place,
    /// Parameters that RCPT must have had there.
    pub parameters: Vec<String>,
}

/// A check of copies that arrived, or of the reason why one did not.
#[derive(Debug)]
pub struct Check {
    /// Only copies there; `None`: all of them.
    pub place: Option<Place>,
    /// What is checked.
    pub what: What,
}

/// What a check looks at.
#[derive(Debug)]
pub enum What {
    /// A header field appears this often.
    Count(String, usize),
    /// A header field appears exactly once, with this value when unfolded.
    Value(String, String),
    /// Envelope sender, with parameters that MAIL must have had.
    Sender(Path),
    /// The last hop used TLS and showed this client certificate, or none.
    Tls(Option<String>),
    /// Why the recipient's copy is still in the queue or was returned: a part of the log line.
    Why(String, String),
}

impl Place {
    fn named(word: &str) -> Option<Self> {
        Some(match word {
            "mailbox" => Self::Mailbox,
            "queued" => Self::Queued,
            "held" => Self::Held,
            "discarded" => Self::Discarded,
            "bounced" => Self::Bounced,
            host if super::is_host(host) => Self::Host(host.to_owned()),
            _ => return None,
        })
    }
}

/// The case files of a directory, by name.
pub fn list(directory: &File) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in directory.read_dir()? {
        files.push(entry?.path());
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "case"));
    files.sort();
    Ok(files)
}

/// The mail servers that a case can name.
const MAIL_SERVERS: [&str; 2] = ["Postfix", "Sendmail"];

/// Reads a case file as it is meant for a mail server.
///
/// # Errors
/// File, line and what is wrong there.
pub fn read(file: &File, mail_server: &'static str) -> Result<Case, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut parser = Parser::new(file, &text, mail_server);
    match parser.parse() {
        Ok(()) => parser.finish().map_err(|error| format!("{}: {error}", file.display())),
        Err(error) => Err(format!("{}:{}: {error}", file.display(), parser.number)),
    }
}

struct Parser<'a> {
    file: &'a File,
    lines: std::str::Lines<'a>,
    number: usize,
    mail_server: &'static str,
    case: Case,
    from: Option<String>,
    message: Option<Vec<u8>>,
    fill: usize,
    last: Command,
}

/// The command that a reply line in the file belongs to.
enum Command {
    None,
    Mail,
    Recipient,
    Data,
}

impl<'a> Parser<'a> {
    fn new(file: &'a File, text: &'a str, mail_server: &'static str) -> Self {
        let mail = Mail {
            via: Sender::Internal,
            from: String::new(),
            recipients: vec![],
            message: vec![],
            ending: Ending::Dot,
        };
        let case = Case {
            about: String::new(),
            site: "all".into(),
            orders: vec![],
            mail,
            mail_reply: None,
            recipient_replies: vec![],
            data_reply: None,
            verdict: vec![],
            copies: vec![],
            checks: vec![],
            intact: true,
            applies: true,
        };
        let (lines, last) = (text.lines(), Command::None);
        Self { file, lines, number: 0, mail_server, case, from: None, message: None, fill: 0, last }
    }

    fn next_line(&mut self) -> Option<&'a str> {
        self.number += 1;
        self.lines.next()
    }

    fn parse(&mut self) -> Result<(), String> {
        while let Some(line) = self.next_line() {
            let line = match line.strip_prefix("on ").and_then(|rest| rest.split_once(": ")) {
                Some((name, line)) if self.is_mail_server(name)? => line,
                Some(_) => continue,
                None => line,
            };
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "" => {}
                "#" => self.case.about += &format!("{}{rest}", if self.case.about.is_empty() { "" } else { " " }),
                "MAIL" if self.from.is_none() => {
                    Path::parse(rest).ok_or("MAIL needs FROM:<address>")?;
                    (self.from, self.last) = (Some(rest.to_owned()), Command::Mail);
                }
                "RCPT" => {
                    Path::parse(rest).ok_or("RCPT needs TO:<address>")?;
                    self.case.mail.recipients.push(rest.to_owned());
                    self.case.recipient_replies.push(None);
                    self.last = Command::Recipient;
                }
                "DATA" if self.message.is_none() => {
                    self.message = Some(match rest {
                        "" | "escaped" => self.inline_message(rest == "escaped")?,
                        file => self.file_message(file)?,
                    });
                    self.last = Command::Data;
                }
                code if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit()) => self.reply(line)?,
                _ => {
                    let (key, value) = line.split_once(':').ok_or("neither an SMTP line nor `key: value`")?;
                    self.setting(key, value.trim())?;
                }
            }
        }
        Ok(())
    }

    /// True if the mail server of this name is the one at hand.
    fn is_mail_server(&self, name: &str) -> Result<bool, String> {
        let known = MAIL_SERVERS.contains(&name);
        known.then_some(name == self.mail_server).ok_or_else(|| format!("no such mail server: {name}"))
    }

    fn inline_message(&mut self, escaped: bool) -> Result<Vec<u8>, String> {
        let mut message = Vec::new();
        loop {
            let line = self.next_line().ok_or("the message does not end with a dot")?;
            if line == "." {
                return Ok(message);
            }
            let line = line.strip_prefix('.').unwrap_or(line);
            message.extend(if escaped { notation::bytes(line)? } else { line.as_bytes().to_vec() });
            message.extend_from_slice(b"\r\n");
        }
    }

    fn file_message(&self, name: &str) -> Result<Vec<u8>, String> {
        let file = self.file.with_file_name(name);
        fs::read(&file).map(|bytes| with_crlf(&bytes)).map_err(|error| format!("{}: {error}", file.display()))
    }

    fn reply(&mut self, line: &str) -> Result<(), String> {
        let place = match self.last {
            Command::None => return Err("a reply before the first command".into()),
            Command::Mail => &mut self.case.mail_reply,
            Command::Recipient => self.case.recipient_replies.last_mut().ok_or("no recipient")?,
            Command::Data => &mut self.case.data_reply,
        };
        *place = Some(line.to_owned());
        Ok(())
    }

    fn setting(&mut self, key: &str, value: &str) -> Result<(), String> {
        let (key, place) = match key.split_once(" at ") {
            Some((key, place)) => (key, Some(Place::named(place).ok_or_else(|| format!("no such place: {place}"))?)),
            None => (key, None),
        };
        let what = match (key, &place) {
            ("site", None) => return set(&mut self.case.site, value.to_owned()),
            ("client", None) => {
                let known = Sender::NAMES.iter().find(|(name, _)| *name == value);
                return set(&mut self.case.mail.via, known.ok_or_else(|| format!("no such client: {value}"))?.1);
            }
            ("ending", None) if value == "disconnect" => {
                return set(&mut self.case.mail.ending, Ending::Disconnect);
            }
            ("altered by", None) => {
                self.case.intact &= !self.is_mail_server(value)?;
                return Ok(());
            }
            ("only", None) => {
                let (name, reason) = value.split_once(" (").ok_or("only takes a mail server and (why)")?;
                reason.strip_suffix(')').ok_or("the reason does not end with a bracket")?;
                let applies = self.is_mail_server(name)?;
                return set(&mut self.case.applies, applies);
            }
            ("fill", None) => return set(&mut self.fill, number(value)?),
            ("reply", Some(Place::Host(host))) => {
                self.case.orders.push(order(host, value)?);
                return Ok(());
            }
            ("verdict", None) => {
                for word in value.split_ascii_whitespace() {
                    let (field, value) = word.split_once('=').ok_or("verdict takes field=value")?;
                    self.case.verdict.push((field.to_owned(), value.to_owned()));
                }
                return Ok(());
            }
            ("copy", None) => {
                self.case.copies.push(expected(value)?);
                return Ok(());
            }
            ("header", _) => header(value)?,
            ("envelope", Some(_)) => What::Sender(Path::parse(value).ok_or("envelope takes FROM:<address>")?),
            ("tls", Some(Place::Host(_))) => What::Tls((value != "no certificate").then(|| value.to_owned())),
            ("why", None) => {
                let (recipient, text) = value.split_once(' ').ok_or("why takes an address and a text")?;
                What::Why(recipient.to_owned(), text.trim().to_owned())
            }
            _ => return Err(format!("unknown key `{key}`, or one that takes no place or a different one")),
        };
        self.case.checks.push(Check { place, what });
        Ok(())
    }

    fn finish(mut self) -> Result<Case, String> {
        let name = self.file.file_stem().unwrap_or_default().to_string_lossy();
        if self.case.about.is_empty() {
            return Err("no comment says what the case shows".into());
        }
        self.case.mail.from = self.from.ok_or("no MAIL")?;
        let mut message = format!("{TOKEN_FIELD}: {name}\r\n").into_bytes();
        message.extend(self.message.ok_or("no DATA")?);
        let end = message.len() + self.fill;
        while message.len() < end {
            message.extend_from_slice(b"The quick brown fox jumps over the lazy dog, again and again.\r\n");
        }
        self.case.mail.message = message;
        Ok(self.case)
    }
}

fn set<T>(place: &mut T, value: T) -> Result<(), String> {
    *place = value;
    Ok(())
}

fn number(text: &str) -> Result<usize, String> {
    usize::from_str(text).map_err(|_| format!("not a number: {text}"))
}

/// `ADDRESS [once] REPLY`.
fn order(host: &str, text: &str) -> Result<Order, String> {
    let (recipient, rest) = text.split_once(' ').ok_or("reply takes an address and a reply")?;
    let (once, reply) = rest.strip_prefix("once ").map_or((false, rest), |reply| (true, reply));
    Ok(Order { host: host.to_owned(), recipient: recipient.to_owned(), once, reply: reply.to_owned() })
}

/// `ADDRESS PLACE [PARAMETER …]`.
fn expected(text: &str) -> Result<Expected, String> {
    let mut words = text.split_ascii_whitespace().map(str::to_owned);
    let (recipient, place) = words.next().zip(words.next()).ok_or("copy takes an address and a place")?;
    let place = Place::named(&place).ok_or_else(|| format!("no such place: {place}"))?;
    Ok(Expected { recipient, place, parameters: words.collect() })
}

/// `NAME: VALUE`, `NAME absent`, `NAME once` or `NAME N times`.
fn header(text: &str) -> Result<What, String> {
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    if let Some(name) = name.strip_suffix(':') {
        return Ok(What::Value(name.to_owned(), rest.trim().to_owned()));
    }
    let count = match rest.trim() {
        "absent" => 0,
        "once" => 1,
        rest => number(rest.strip_suffix(" times").ok_or("header takes `absent`, `once`, `N times` or a value")?)?,
    };
    Ok(What::Count(name.to_owned(), count))
}

/// Gives every line a CR LF, as SMTP wants it.
pub fn with_crlf(text: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(text.len() + text.len() / 40);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\r\n").or_else(|| line.strip_suffix(b"\n")) {
            Some(line) => {
                message.extend_from_slice(line);
                message.extend_from_slice(b"\r\n");
            }
            None => message.extend_from_slice(line),
        }
    }
    message
}
