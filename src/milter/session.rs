//! One milter connection: collects what the mail server says into a [`Case`].

use std::ffi::{CStr, CString};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use indymilter::{Macros, ProtoOpts, SocketInfo, Status};

use super::recipients::{Recipient, Recipients, is_at_hosted_domain};
use super::under_way::{Place, UnderWay};
use super::xtext;
use crate::address::with_at_sign;
use crate::case::{Case, Client, HeaderSection, Limit, MailServer};
use crate::judge::{self, Site};
use crate::routing::{self, Routes, Transaction};
use crate::telemetry;
use crate::verdict::Reply;

/// Most recipients that one transaction is judged with; Postfix takes 1000 (`smtpd_recipient_limit`).
const MAX_RECIPIENTS: usize = 50_000;

/// The state of one connection: the SMTP client, and the transaction under way.
#[derive(Debug)]
pub struct Session {
    options: ProtoOpts,
    replaces_recipients: bool,
    mail_server: MailServer,
    client: Client,
    message: Option<Message>,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            options: ProtoOpts::default(),
            replaces_recipients: false,
            mail_server: MailServer::Postfix,
            client: Client::default(),
            message: None,
        }
    }
}

/// The transaction under way.
#[derive(Debug)]
pub struct Message {
    /// By which it is judged.
    pub site: Arc<Site>,
    /// What has been received.
    pub case: Case,
    /// The mail server's queue id; empty if it has not told.
    pub queue_id: String,
    /// If it comes from Sendmail.
    pub from_sendmail: Option<FromSendmail>,
    body_skipped: bool,
    place: Option<Place>,
}

/// What there is of a message from Sendmail besides.
#[derive(Debug)]
pub struct FromSendmail {
    /// What Sendmail is told when it asks where the message goes.
    pub transaction: Transaction,
    /// What it said of the recipients.
    pub recipients: Recipients,
}

impl Message {
    /// Takes memory for more of the message. Where there is none, the message gives back what it has, and is refused
    /// when it ends.
    fn hold(&mut self, bytes: usize) -> bool {
        let held = self.place.as_mut().is_some_and(|place| place.hold(bytes, self.site.limits.message_memory));
        if !held {
            self.exceed(Limit::Memory);
        }
        held
    }

    /// Nothing more of the message is kept.
    fn exceed(&mut self, limit: Limit) {
        self.case.exceeded.get_or_insert(limit);
        self.case.header = HeaderSection::default();
        self.case.body.bytes = Bytes::new();
        if let Some(sendmail) = &mut self.from_sendmail {
            sendmail.recipients = Recipients::default();
        }
        self.place = None;
        telemetry::limit_reached(limit);
    }

    /// The value of the first Message-ID field.
    pub fn message_id(&self) -> Option<String> {
        let field = self.case.header.named("Message-ID").next()?;
        Some(String::from_utf8_lossy(field.value.trim_ascii()).into_owned())
    }
}

impl Session {
    /// Remembers what was agreed: the options, and whether recipients may be replaced.
    pub fn negotiated(&mut self, options: ProtoOpts, replaces_recipients: bool) {
        self.options = options;
        self.replaces_recipients = replaces_recipients;
    }

    /// Whether header values carry their leading space (SMFIP_HDR_LEADSPC).
    pub fn leading_space(&self) -> bool {
        self.options.contains(ProtoOpts::LEADING_SPACE)
    }

    fn answer(&self, no_reply: ProtoOpts) -> Status {
        if self.options.contains(no_reply) { Status::Noreply } else { Status::Continue }
    }

    /// A new SMTP client.
    pub fn connect(&mut self, socket: &SocketInfo, macros: &Macros) -> Status {
        let address = match socket {
            SocketInfo::Inet(address) => Some(address.ip()),
            _ => None,
        };
        self.client = Client { address, ..Client::default() };
        let version = macros.get(c"v");
        self.mail_server = mail_server(version);
        let version = version.unwrap_or_default().to_string_lossy();
        telemetry::mail_server_connected(self.mail_server, &version);
        if self.mail_server == MailServer::Sendmail && !self.replaces_recipients {
            telemetry::unusable_mail_server(
                "it does not let milters replace recipients; messages that need it get 451",
            );
        }
        self.message = None;
        self.answer(ProtoOpts::NOREPLY_CONNECT)
    }

    /// MAIL: a new transaction. TLS and login may have changed since the last one; their macros are gone later.
    pub fn mail(
        &mut self,
        site: Arc<Site>,
        under_way: &Arc<UnderWay>,
        routes: &Arc<Routes>,
        arguments: &[CString],
        macros: &Macros,
    ) -> Status {
        let text = |name: &CStr| {
            let value = macros.get(name).map(|value| value.to_string_lossy().into_owned());
            value.filter(|value| !value.is_empty())
        };
        let tls_version = text(c"{tls_version}");
        let (certificate, certificate_subject) = match self.mail_server {
            _ if tls_version.is_none() => (None, None),
            MailServer::Postfix => (text(c"{cert_subject}"), None),
            // Sendmail tells of any certificate.
            MailServer::Sendmail if text(c"{verify}").as_deref() != Some("OK") => (None, None),
            MailServer::Sendmail => (decoded(macros.get(c"{cn_subject}")), decoded(macros.get(c"{cert_subject}"))),
        };
        self.client = Client {
            address: self.client.address,
            certificate,
            certificate_subject,
            tls_version,
            authenticated: text(c"{auth_authen}"),
            listener: text(c"{daemon_addr}").map(|address| match text(c"{daemon_port}") {
                Some(port) => format!("{address}:{port}"),
                None => address,
            }),
        };
        let mut case = Case {
            mail_server: Some(self.mail_server),
            client: self.client.clone(),
            host: text(c"j"),
            ..Case::default()
        };
        case.envelope.sender = path(arguments);
        if self.mail_server == MailServer::Sendmail {
            case.envelope.sender = with_at_sign(&case.envelope.sender).into_owned();
        }
        let queue_id = text(c"i").unwrap_or_default();
        // The message before it has ended.
        self.message = None;
        let place = under_way.enter(site.limits.messages);
        let is_one_too_many = place.is_none();
        let from_sendmail = (self.mail_server == MailServer::Sendmail).then(|| FromSendmail {
            transaction: routes.begin(&queue_id, routing::by_sender(&site, &case.envelope.sender)),
            recipients: Recipients::of_mail(arguments),
        });
        let message = self.message.insert(Message { site, case, queue_id, from_sendmail, body_skipped: false, place });
        if is_one_too_many {
            message.exceed(Limit::Messages);
        }
        self.answer(ProtoOpts::NOREPLY_MAIL)
    }

    /// RCPT: one more recipient. Returns the reply that refuses it; it is then no recipient of the message.
    ///
    /// Where no replies to RCPT were agreed, because lock-down was switched on later, the message is judged with it.
    pub fn rcpt(&mut self, arguments: &[CString], macros: &Macros) -> (Status, Option<Reply>) {
        let answer = self.answer(ProtoOpts::NOREPLY_RCPT);
        let Some(message) = &mut self.message else { return (answer, None) };
        let Message { case, site, .. } = message;
        let recipient = path(arguments);
        // After a panic, which would be a defect, the whole message is judged, and fails for now.
        let locked = catch_unwind(AssertUnwindSafe(|| judge::locked(site, &case.client, &recipient))).unwrap_or(None);
        if let Some(locked) = locked {
            let at_once = locked.refused && answer != Status::Noreply;
            telemetry::recipient_locked(&case.client, &case.envelope.sender, &recipient, &locked, at_once, "milter");
            if at_once {
                return (Status::Reject, Some(locked.reply(case.client.address)));
            }
        }
        let told = message.from_sendmail.is_some().then(|| Recipient::of_rcpt(arguments, macros));
        let refusal = told.as_ref().filter(|_| answer != Status::Noreply);
        if let Some(reply) = refusal.and_then(|told| not_handed_back(site, case, &recipient, told)) {
            telemetry::recipient_not_handed_back(&case.client, &case.envelope.sender, &recipient);
            return (Status::Reject, Some(reply));
        }
        if case.exceeded.is_some() {
            // Nothing more is kept.
        } else if case.envelope.recipients.len() >= MAX_RECIPIENTS {
            message.exceed(Limit::Recipients);
        } else {
            let size = recipient.len() + size_of::<String>() + told.as_ref().map_or(0, Recipient::size);
            if message.hold(size) {
                message.case.envelope.recipients.push(recipient);
                if let Some((sendmail, told)) = message.from_sendmail.as_mut().zip(told) {
                    sendmail.recipients.push(told);
                }
            }
        }
        (answer, None)
    }

    /// One header field.
    pub fn header(&mut self, name: &[u8], value: &[u8]) -> Status {
        if let Some(message) = self.message.as_mut().filter(|message| message.case.exceeded.is_none())
            && message.hold(name.len() + value.len())
            && let Err(limit) = message.case.header.push_within(&message.site.limits.header, name, value)
        {
            message.exceed(limit);
        }
        self.answer(ProtoOpts::NOREPLY_HEADER)
    }

    /// A part of the body: asks for more, or has the mail server skip the rest.
    pub fn body(&mut self, chunk: Bytes) -> Status {
        if let Some(message) = &mut self.message
            && !message.body_skipped
        {
            let held = message.case.body.bytes.len();
            message.body_skipped =
                message.case.exceeded.is_some() || !judge::take_body(&message.site, &mut message.case, chunk);
            let more = message.case.body.bytes.len() - held;
            if more > 0 && !message.hold(more) {
                message.body_skipped = true;
            }
            if message.body_skipped && self.options.contains(ProtoOpts::SKIP) {
                return Status::Skip;
            }
        }
        Status::Continue
    }

    /// End of message: gives the collected message away. `None` if there was no MAIL before it.
    pub fn end_of_message(&mut self, macros: &Macros) -> Option<Message> {
        let mut message = self.message.take()?;
        message.case.body.complete = !message.body_skipped;
        if let Some(queue_id) = macros.get(c"i") {
            message.queue_id = queue_id.to_string_lossy().into_owned();
        }
        Some(message)
    }

    /// The transaction is over without a message.
    pub fn abort(&mut self) {
        self.message = None;
    }
}

/// The path of a MAIL or RCPT command, without its angle brackets.
fn path(arguments: &[CString]) -> String {
    let path = arguments.first().map(|argument| argument.to_string_lossy()).unwrap_or_default();
    let path = path.trim();
    path.strip_prefix('<').and_then(|path| path.strip_suffix('>')).unwrap_or(path).to_string()
}

/// The mail server of a connection, by its macro `v`: Sendmail's is its version, Postfix's its name and version. One that
/// tells none is taken for Postfix.
fn mail_server(version: Option<&CStr>) -> MailServer {
    match version.and_then(|version| version.to_bytes().first()) {
        Some(byte) if byte.is_ascii_digit() => MailServer::Sendmail,
        _ => MailServer::Postfix,
    }
}

/// What a macro says in xtext; `None` if it says nothing, or what is no text.
fn decoded(value: Option<&CStr>) -> Option<String> {
    let value = String::from_utf8(xtext::decode(value?.to_bytes())?).ok()?;
    Some(value).filter(|value| !value.is_empty())
}

/// The reply to a recipient elsewhere whom the relay may not reach through this host: Sendmail's access map lets the relay's
/// addresses send to anybody. Aliases of ours may lead out for everybody.
pub fn not_handed_back(site: &Site, case: &Case, recipient: &str, told: &Recipient) -> Option<Reply> {
    let is_elsewhere = told.is_external(site, case.host.as_deref()) && !is_at_hosted_domain(site, recipient);
    is_elsewhere.then(|| judge::not_handed_back(site, &case.client, &case.envelope.sender, recipient)).flatten()
}
