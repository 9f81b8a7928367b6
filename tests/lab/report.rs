//! Where each recipient's copy of a message arrived, and what it looked like there.

use std::collections::BTreeMap;
use std::fs;

use super::case_file::with_crlf;
use super::envelope::Path;
use super::maillog::QueueFile;
use super::site::{MailServer, Site};

/// Name of the header field by which copies of one message are found again. The milter does not know it.
pub const TOKEN_FIELD: &str = "X-Lab-Message";

/// Where a copy is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// At the simulated host of this name.
    Host(String),
    /// In a mailbox of the site.
    Mailbox,
    /// In the queue, after a delivery that did not succeed.
    Queued,
    /// In the queue, held for the administrator.
    Held,
    /// Taken and thrown away, as the milter said.
    Discarded,
    /// Returned to the sender.
    Bounced,
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(match self {
            Self::Host(name) => name,
            Self::Mailbox => "mailbox",
            Self::Queued => "queued",
            Self::Held => "held",
            Self::Discarded => "discarded",
            Self::Bounced => "bounced",
        })
    }
}

/// One recipient's copy.
#[derive(Debug, Clone)]
pub struct Copy {
    /// Recipient after alias expansion; `all` for a message that is held or discarded as a whole.
    pub recipient: String,
    /// Where the copy is.
    pub place: Place,
    /// The message as it arrived; `None` for copies in the queue and bounces.
    pub arrived: Option<Arrived>,
    /// What the next hop said, for copies in the queue and bounces.
    pub text: String,
}

/// A copy as it arrived.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// Header and body, with CR LF.
    pub message: Vec<u8>,
    /// Envelope sender; its parameters are known for copies at hosts.
    pub sender: Path,
    /// Parameters of the recipient, for copies at hosts.
    pub parameters: Vec<String>,
    /// TLS version of the last hop, for copies at hosts.
    pub tls_version: Option<&'static str>,
    /// Client certificate shown on the last hop, for copies at hosts.
    pub client_certificate: Option<String>,
}

impl Arrived {
    /// The header fields: name, and value with its folds, without the space after the colon.
    pub fn fields(&self) -> Vec<(String, String)> {
        fields(&self.message)
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        split(&self.message).1
    }
}

/// Header section, its last line end included, and body.
pub fn split(message: &[u8]) -> (&[u8], &[u8]) {
    match message.windows(4).position(|window| window == b"\r\n\r\n") {
        Some(end) => (&message[..end + 2], &message[end + 4..]),
        None => (message, b""),
    }
}

/// The header fields of a message, in order.
pub fn fields(message: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(split(message).0);
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.split_terminator("\r\n") {
        match (line.split_once(':'), fields.last_mut()) {
            (_, Some((_, value))) if line.starts_with([' ', '\t']) => {
                value.push_str("\r\n");
                value.push_str(line);
            }
            (Some((name, value)), _) => {
                fields.push((name.to_owned(), value.strip_prefix(' ').unwrap_or(value).to_owned()));
            }
            _ => {}
        }
    }
    fields
}

/// Everything known about one message.
#[derive(Debug, Clone)]
pub struct Report {
    /// All copies, by recipient.
    pub copies: Vec<Copy>,
    /// Queue ids, the first one first; re-injection adds more.
    pub queue_ids: Vec<String>,
    /// True if nothing more can happen but another try for copies in the queue.
    pub settled: bool,
}

impl Report {
    /// Looks up what has become of the message with this token and queue id.
    pub fn now(site: &Site<impl MailServer>, token: &str, queue_id: &str) -> Self {
        let mut report = Self { copies: Vec::new(), queue_ids: vec![queue_id.to_owned()], settled: true };
        let mut index = 0;
        while let Some(id) = report.queue_ids.get(index) {
            let file = site.mail_server.queue_file(id);
            report.settled &= file.settled();
            report.follow(file);
            index += 1;
        }
        report.collect_hosts(site, token);
        report.collect_mailboxes(site, token);
        report.copies.sort_by(|one, other| (&one.recipient, &one.place).cmp(&(&other.recipient, &other.place)));
        report
    }

    /// What has arrived of a message that has no queue id, because it was not taken.
    pub fn arrived(site: &Site<impl MailServer>, token: &str) -> Self {
        let mut report = Self { copies: Vec::new(), queue_ids: Vec::new(), settled: true };
        report.collect_hosts(site, token);
        report.collect_mailboxes(site, token);
        report
    }

    /// Recipients and places only.
    pub fn places(&self) -> BTreeMap<&str, Vec<&Place>> {
        let mut places = BTreeMap::<_, Vec<_>>::new();
        for copy in &self.copies {
            places.entry(copy.recipient.as_str()).or_default().push(&copy.place);
        }
        places
    }

    fn follow(&mut self, file: QueueFile) {
        let whole = [(file.held, Place::Held), (file.discarded, Place::Discarded)];
        for place in whole.into_iter().filter_map(|(is, place)| is.then_some(place)) {
            self.copies.push(Copy { recipient: "all".into(), place, arrived: None, text: String::new() });
        }
        for delivery in file.deliveries {
            self.queue_ids.extend(delivery.queued_as);
            let place = match delivery.status.as_str() {
                "sent" => continue,
                "deferred" => Place::Queued,
                _ => Place::Bounced,
            };
            self.copies.push(Copy { recipient: delivery.to, place, arrived: None, text: delivery.text });
        }
    }

    fn collect_hosts(&mut self, site: &Site<impl MailServer>, token: &str) {
        for host in &site.lab.hosts {
            for received in host.received() {
                if !carries(&received.message, token) {
                    continue;
                }
                for recipient in received.recipients {
                    let arrived = Arrived {
                        message: received.message.clone(),
                        sender: received.sender.clone(),
                        parameters: recipient.parameters,
                        tls_version: received.tls_version,
                        client_certificate: received.client_certificate.clone(),
                    };
                    let place = Place::Host(host.name().to_owned());
                    let (recipient, text) = (recipient.address, String::new());
                    self.copies.push(Copy { recipient, place, arrived: Some(arrived), text });
                }
            }
        }
    }

    fn collect_mailboxes(&mut self, site: &Site<impl MailServer>, token: &str) {
        for (address, mailbox) in site.lab.mailboxes() {
            for file in fs::read_dir(mailbox.join("new")).into_iter().flatten().flatten() {
                let message = with_crlf(&fs::read(file.path()).unwrap_or_default());
                if !carries(&message, token) {
                    continue;
                }
                let fields = fields(&message);
                let value = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone());
                let address_of = |value: String| value.trim_matches(['<', '>']).to_owned();
                let sender =
                    Path { address: value("Return-Path").map(address_of).unwrap_or_default(), parameters: vec![] };
                let arrived =
                    Arrived { message, sender, parameters: vec![], tls_version: None, client_certificate: None };
                let recipient = value("Delivered-To").unwrap_or_else(|| address.clone());
                self.copies.push(Copy {
                    recipient,
                    place: Place::Mailbox,
                    arrived: Some(arrived),
                    text: String::new(),
                });
            }
        }
    }
}

/// True if the message itself, not one that it contains, has the token.
fn carries(message: &[u8], token: &str) -> bool {
    fields(message).iter().any(|(name, value)| name == TOKEN_FIELD && value == token)
}
