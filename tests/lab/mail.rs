//! Mail going in: who sends it, what it is, and what the mail server said.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::Stdio;

use super::envelope::Path;
use super::site::{MailServer, Site};
use super::smtp_client::{Reply, SmtpClient};
use super::users::LOG_IN;
use super::{Error, MAIL_SERVER, RELAY};

/// Who hands a message to the customer's mail server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// A client in the internal networks.
    Internal,
    /// The relay, with TLS.
    Relay,
    /// The relay, with TLS and its client certificate.
    RelayWithCertificate,
    /// The relay's address, without TLS.
    RelayWithoutTls,
    /// A client anywhere.
    World,
    /// A client anywhere, with TLS.
    WorldWithTls,
    /// A client anywhere, with TLS, logged in.
    Authenticated,
    /// A program on the mail server itself, by sendmail(1).
    Submission,
}

impl Sender {
    /// The names used in text cases.
    pub const NAMES: [(&'static str, Self); 8] = [
        ("internal", Self::Internal),
        ("relay", Self::Relay),
        ("relay-with-certificate", Self::RelayWithCertificate),
        ("relay-without-tls", Self::RelayWithoutTls),
        ("world", Self::World),
        ("world-with-tls", Self::WorldWithTls),
        ("authenticated", Self::Authenticated),
        ("sendmail(1)", Self::Submission),
    ];

    fn address(self) -> Ipv4Addr {
        match self {
            Self::Internal | Self::Submission => Ipv4Addr::new(127, 0, 5, 1),
            Self::Relay | Self::RelayWithCertificate | Self::RelayWithoutTls => RELAY,
            Self::World | Self::WorldWithTls | Self::Authenticated => Ipv4Addr::new(127, 0, 9, 9),
        }
    }

    fn helo(self) -> &'static str {
        match self {
            Self::Internal | Self::Submission => "desk.customer.test",
            Self::Relay | Self::RelayWithCertificate | Self::RelayWithoutTls => "relay.conbool.test",
            Self::World | Self::WorldWithTls | Self::Authenticated => "somewhere.example.com",
        }
    }

    fn tls(self) -> bool {
        !matches!(self, Self::Internal | Self::RelayWithoutTls | Self::World | Self::Submission)
    }
}

/// A message with its envelope.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Who sends it.
    pub via: Sender,
    /// Argument of MAIL: `FROM:<address> parameters`.
    pub from: String,
    /// Arguments of RCPT: `TO:<address> parameters`.
    pub recipients: Vec<String>,
    /// Header and body, with CR LF.
    pub message: Vec<u8>,
    /// What comes after the message.
    pub ending: Ending,
}

/// What a client does after the last line of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The dot that ends the message.
    Dot,
    /// It closes the connection, so that there is no message.
    Disconnect,
}

/// What the mail server said to a message.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Reply to MAIL.
    pub mail: Reply,
    /// Replies to RCPT, in order; none for recipients after a refused MAIL.
    pub recipients: Vec<Reply>,
    /// Reply to the end of the message; `None` if it was not sent.
    pub data: Option<Reply>,
    /// Queue id, if the message was accepted.
    pub queue_id: Option<String>,
}

impl Mail {
    /// Sends the message to a site. The calling thread must have entered the site's network.
    pub fn send(&self, site: &Site<impl MailServer>) -> Result<Sent, Error> {
        if self.via == Sender::Submission {
            return self.submit(site);
        }
        self.say(connect(site, self.via)?)
    }

    /// Sends the message in a session in which MAIL is due.
    pub fn say(&self, mut client: SmtpClient) -> Result<Sent, Error> {
        let mail = client.command(&format!("MAIL {}", self.from))?;
        let mut sent = Sent { mail, recipients: Vec::new(), data: None, queue_id: None };
        if sent.mail.is_positive() {
            for recipient in &self.recipients {
                sent.recipients.push(client.command(&format!("RCPT {recipient}"))?);
            }
        }
        if sent.recipients.iter().any(Reply::is_positive) {
            if self.ending == Ending::Disconnect {
                client.command("DATA")?;
                client.send(&self.message)?;
                return Ok(sent);
            }
            let reply = client.data(&self.message)?;
            sent.queue_id = queue_id(&reply);
            sent.data = Some(reply);
        }
        // The outcome is known; a server that hangs up here changes nothing.
        let _ = client.command("QUIT");
        Ok(sent)
    }

    /// Hands the message to sendmail(1). The queue id is found later, by the Message-ID.
    fn submit(&self, site: &Site<impl MailServer>) -> Result<Sent, Error> {
        let address = |argument: &String| Path::parse(argument).map(|path| path.address).ok_or("bad address");
        let mut command = site.mail_server.submission();
        command.args(["-i", "-f", &address(&self.from)?, "--"]);
        for recipient in &self.recipients {
            command.arg(address(recipient)?);
        }
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let text = String::from_utf8_lossy(&self.message).replace("\r\n", "\n");
        child.stdin.take().ok_or("no pipe")?.write_all(text.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("sendmail(1): {}: {text}\n{}", output.status, site.mail_server.log()).into());
        }
        let reply = Reply { code: 250, text: "250 taken by sendmail(1)".into() };
        let recipients = vec![reply.clone(); self.recipients.len()];
        Ok(Sent { mail: reply.clone(), recipients, data: Some(reply), queue_id: None })
    }
}

/// The queue id in the reply to a message: `250 2.0.0 Ok: queued as ID` (Postfix), `250 2.0.0 ID Message accepted for
/// delivery` (Sendmail).
fn queue_id(reply: &Reply) -> Option<String> {
    let text = reply.text.strip_prefix("250 2.0.0 ")?;
    let id = text.strip_suffix(" Message accepted for delivery").or_else(|| Some(text.split_once("queued as ")?.1))?;
    Some(id.trim().to_owned())
}

/// Opens a session up to the point where MAIL is due.
pub fn connect(site: &Site<impl MailServer>, via: Sender) -> Result<SmtpClient, Error> {
    let mut client = SmtpClient::connect(via.address(), site.mail_server.address())?;
    let hello = format!("EHLO {}", via.helo());
    client.command(&hello)?;
    if via.tls() {
        let own = (via == Sender::RelayWithCertificate).then_some(&site.lab.relay);
        client = client.start_tls(MAIL_SERVER.0, site.lab.authority.client(own)?)?;
        client.command(&hello)?;
    }
    if via == Sender::Authenticated {
        let reply = client.command(&format!("AUTH PLAIN {LOG_IN}"))?;
        if reply.code != 235 {
            return Err(reply.text.into());
        }
    }
    Ok(client)
}
