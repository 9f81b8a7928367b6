//! One address of the relay, from the connection to the end of an SMTP session without mail.

use std::io::ErrorKind;
use std::net::SocketAddr;

use smtp_proto::Response;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{AlertDescription, Error, ProtocolVersion};

use super::smtp::{NoReply, Session, words};
use super::tls::Witness;
use super::{CONNECT_PATIENCE, Client, Relay, certificate, finding};
use crate::finding::{Finding, Status};
use crate::probe::shown;

/// What came of trying one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The session went well, with a certificate that the mail server takes.
    Reached,
    /// Something there keeps mail from going out.
    Refused,
    /// It did not answer in time.
    Silent,
    /// This host has no way to that family of addresses; the mail server will not use it either.
    NotFromHere,
}

/// The findings so far, and how it ended if it ended early.
struct Visit<'a> {
    relay: &'a Relay,
    subject: String,
    found: Vec<Finding>,
}

impl Relay {
    /// Goes as far as it gets at one address.
    pub async fn visit(&self, address: SocketAddr) -> (Outcome, Vec<Finding>) {
        let mut visit = Visit { relay: self, subject: address.to_string(), found: Vec::new() };
        let outcome = match visit.session(address).await {
            Ok(()) if visit.found.iter().any(|finding| finding.status == Status::Fail) => Outcome::Refused,
            Ok(()) => Outcome::Reached,
            Err(outcome) => outcome,
        };
        (outcome, visit.found)
    }
}

impl Visit<'_> {
    fn add(&mut self, check: &'static str, status: Status, seen: impl Into<String>, mend: &str) {
        self.found.push(finding(check, &self.subject, status, seen).mended_by(mend));
    }

    async fn session(&mut self, address: SocketAddr) -> Result<(), Outcome> {
        let stream = self.connect(address).await?;
        let mut session = Session::new(stream, self.relay.deadline);
        let greeting = session.reply().await;
        let greeting = self.positive("greeting", 220, greeting)?;
        self.add("greeting", Status::Pass, words(&greeting), "");
        let hello = session.command(&hello()).await;
        let extensions = extensions(&self.positive("ehlo", 250, hello)?);
        if !offers(&extensions, "STARTTLS") {
            let seen =
                format!("the relay does not offer STARTTLS, and {} sends nothing without", self.relay.client.name);
            let mend = "[relay] host and port must be the provider's; something between that takes STARTTLS out must let \
                        it through (fixup, ESMTP inspection)";
            self.add("starttls", Status::Fail, seen, mend);
            return Err(Outcome::Refused);
        }
        let agreed = session.command("STARTTLS").await;
        self.positive("starttls", 220, agreed)?;
        let Some(stream) = session.into_silent_stream() else {
            let seen = "something was sent between STARTTLS and TLS, which could be anybody's (RFC 3207, 4.2)";
            self.add("starttls", Status::Fail, seen, "somebody may be in between; ask the provider");
            return Err(Outcome::Refused);
        };
        self.encrypted(stream).await
    }

    async fn connect(&mut self, address: SocketAddr) -> Result<TcpStream, Outcome> {
        let check = "connect";
        let port = address.port();
        let until = self.relay.deadline.min(Instant::now() + CONNECT_PATIENCE);
        match tokio::time::timeout_at(until, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                self.add(check, Status::Pass, "connected", "");
                Ok(stream)
            }
            Ok(Err(error)) if address.is_ipv6() && has_no_way(error.kind()) => {
                self.add(
                    check,
                    Status::Pass,
                    "not tried: this host has no way to IPv6 addresses, and uses the others",
                    "",
                );
                Err(Outcome::NotFromHere)
            }
            Ok(Err(error)) => {
                let seen = match error.kind() {
                    ErrorKind::ConnectionRefused => format!("nothing listens on port {port}"),
                    _ => format!("no connection: {error}"),
                };
                let mend = format!(
                    "[relay] host and port must be the provider's; to try by hand: nc -v {} {port}",
                    address.ip()
                );
                self.add(check, Status::Fail, seen, &mend);
                Err(Outcome::Refused)
            }
            Err(_) => {
                let seen = "no answer to the connection in time";
                let mend = format!("a firewall must let this host connect to {} port {port}", address.ip());
                self.add(check, Status::Unknown, seen, &mend);
                Err(Outcome::Silent)
            }
        }
    }

    /// TLS and what follows.
    async fn encrypted(&mut self, stream: TcpStream) -> Result<(), Outcome> {
        let (config, witness) = match self.relay.tls.client() {
            Ok(client) => client,
            Err(problem) => {
                self.add("tls", Status::Unknown, format!("TLS cannot be set up on this host: {problem}"), "");
                return Err(Outcome::Silent);
            }
        };
        let connecting = TlsConnector::from(config).connect(self.relay.tls.name.clone(), stream);
        let stream = match tokio::time::timeout_at(self.relay.deadline, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                self.judge_certificate(&witness);
                let alert = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
                if !self.client_certificate_refused(&witness, alert) {
                    let mend = "the relay must offer TLS 1.2 or 1.3; ask the provider";
                    self.add("tls", Status::Fail, format!("TLS failed: {}", shown(&error.to_string())), mend);
                }
                return Err(Outcome::Refused);
            }
            Err(_) => {
                self.late("tls", "to TLS");
                return Err(Outcome::Silent);
            }
        };
        let version = match stream.get_ref().1.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "TLS 1.2",
        };
        self.add("tls", Status::Pass, version, "");
        self.judge_certificate(&witness);
        let mut session = Session::new(stream, self.relay.deadline);
        self.farewell(&mut session, &witness).await
    }

    fn judge_certificate(&mut self, witness: &Witness) {
        let seen = witness.seen();
        // Without any, TLS ended before it came to that.
        if !seen.chain.is_empty() {
            self.found.extend(certificate::judge(&self.subject, &self.relay.tls, &seen));
        }
    }

    /// The second EHLO tells what the relay offers, and whether it takes this side's certificate: with TLS 1.3 it is
    /// only now that a server says no (RFC 8446, section 4.4.2.4).
    async fn farewell(
        &mut self,
        session: &mut Session<TlsStream<TcpStream>>,
        witness: &Witness,
    ) -> Result<(), Outcome> {
        let check = "client-certificate";
        let hello = session.command(&hello()).await;
        let refused = match &hello {
            Ok(reply) if reply.code / 100 == 5 && witness.was_asked() => Some(words(reply)),
            Err(NoReply::Broken(how)) if witness.was_asked() => Some(how.clone()),
            _ => None,
        };
        if let Some(how) = refused {
            self.certificate_refused(&how);
            return Err(Outcome::Refused);
        }
        let reply = self.positive("ehlo", 250, hello)?;
        let extensions = extensions(&reply);
        match (self.relay.tls.has_identity(), witness.was_asked()) {
            (true, true) => self.add(check, Status::Pass, "shown, and the relay goes on", ""),
            (true, false) => self.add(
                check,
                Status::Warn,
                "the relay does not ask for the client certificate",
                "[relay] client_certificate and client_key are of no use here",
            ),
            (false, true) => self.add(check, Status::Pass, "asked for, but not needed", ""),
            (false, false) => {}
        }
        self.add("ehlo", Status::Pass, shown(&extensions.join(", ")), "");
        self.found.extend(size(&self.subject, &extensions, &self.relay.client));
        let noop = session.command("NOOP").await;
        self.positive("smtp", 250, noop)?;
        // Whatever the answer to that is, all that matters is known.
        let _ = session.command("QUIT").await;
        Ok(())
    }

    /// Whether TLS ended because of this side's certificate, or for want of one.
    fn client_certificate_refused(&mut self, witness: &Witness, problem: Option<&Error>) -> bool {
        use AlertDescription::{
            AccessDenied, BadCertificate, CertificateRequired, CertificateUnknown, HandshakeFailure, UnknownCA,
            UnsupportedCertificate,
        };
        let refused = witness.was_asked()
            && matches!(
                problem,
                Some(Error::AlertReceived(
                    AccessDenied
                        | BadCertificate
                        | CertificateRequired
                        | CertificateUnknown
                        | HandshakeFailure
                        | UnknownCA
                        | UnsupportedCertificate
                ))
            );
        if refused {
            self.certificate_refused(&problem.map(ToString::to_string).unwrap_or_default());
        }
        refused
    }

    fn certificate_refused(&mut self, how: &str) {
        let check = "client-certificate";
        let how = shown(how);
        if self.relay.tls.has_identity() {
            let mend = "[relay] client_certificate and client_key must be those that the provider knows";
            self.add(check, Status::Fail, format!("the relay does not take the client certificate: {how}"), mend);
        } else {
            let mend = "[relay] client_certificate = \"/etc/conbool-milter/client.pem\" and client_key = \
                        \"/etc/conbool-milter/client.key\", as the provider has given them to you";
            self.add(check, Status::Fail, format!("the relay wants a client certificate: {how}"), mend);
        }
    }

    /// The reply, if it has this code; otherwise a finding.
    fn positive(
        &mut self,
        check: &'static str,
        code: u16,
        reply: Result<Response<String>, NoReply>,
    ) -> Result<Response<String>, Outcome> {
        match reply {
            Ok(reply) if reply.code == code => return Ok(reply),
            Ok(reply) => {
                let mend = "ask the provider whether this site's address is registered and not blocked";
                self.add(check, Status::Fail, format!("the relay says: {}", words(&reply)), mend);
            }
            Err(NoReply::Late) => {
                self.late(check, if check == "greeting" { "after the connection" } else { "to a command" });
                return Err(Outcome::Silent);
            }
            Err(NoReply::Broken(how)) => {
                let mend = "ask the provider whether this site's address is registered and not blocked";
                self.add(check, Status::Fail, format!("the connection broke off: {}", shown(&how)), mend);
            }
            Err(NoReply::Malformed(what)) => {
                self.add(check, Status::Fail, what, "[relay] host and port must be those of the provider's SMTP relay");
            }
        }
        Err(Outcome::Refused)
    }

    fn late(&mut self, check: &'static str, to_what: &str) {
        let seen = format!("no answer {to_what} in time");
        self.add(check, Status::Unknown, seen, "try again with a longer time: doctor relay --timeout 120");
    }
}

/// No route, or no address of that family: what a host without IPv6 says.
fn has_no_way(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable | ErrorKind::Unsupported)
}

/// EHLO with this host's name, or with an address literal where it has none.
fn hello() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let is_name = |name: &String| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
    };
    format!("EHLO {}", name.filter(is_name).unwrap_or_else(|| "[127.0.0.1]".into()))
}

/// The lines of a reply to EHLO after the first.
fn extensions(reply: &Response<String>) -> Vec<String> {
    reply.message.lines().skip(1).map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

fn offers(extensions: &[String], keyword: &str) -> bool {
    extensions.iter().any(|line| line.split(' ').next().is_some_and(|word| word.eq_ignore_ascii_case(keyword)))
}

/// Messages that the mail server takes and the relay does not come back as bounces (RFC 1870).
fn size(subject: &str, extensions: &[String], client: &Client) -> Option<Finding> {
    let check = "size";
    let (name, own) = (client.name, client.message_size_limit);
    let limit = extensions.iter().find_map(|line| {
        let (keyword, limit) = line.split_once(' ')?;
        keyword.eq_ignore_ascii_case("SIZE").then(|| limit.trim().parse::<u64>().ok())?
    });
    // A relay that says 0 has no limit.
    let (limit, own) = (limit.filter(|limit| *limit > 0)?, own?);
    Some(if own > limit {
        let seen =
            format!("the relay takes messages of {limit} bytes; {name} takes {own}, and bounces what is between");
        let mend = client.set_message_size_limit.replace("LIMIT", &limit.to_string());
        finding(check, subject, Status::Warn, seen).mended_by(mend)
    } else {
        finding(check, subject, Status::Pass, format!("the relay takes {limit} bytes, {name} {own}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_takes_less_than_the_mail_server_is_told_with_the_setting() {
        let status = |line: &str, own| {
            let set_message_size_limit = "postconf -e message_size_limit=LIMIT";
            let client =
                Client { name: "Postfix", message_size_limit: own, set_message_size_limit, trust_anchors: Vec::new() };
            size("", &[line.into()], &client).map(|finding| (finding.status, finding.mend))
        };
        let mend = "postconf -e message_size_limit=1000".to_owned();
        assert_eq!(status("SIZE 1000", Some(1001)), Some((Status::Warn, mend)));
        assert_eq!(status("size 1000", Some(1000)), Some((Status::Pass, String::new())));
        for (line, own) in
            [("SIZE 0", Some(5)), ("SIZE", Some(5)), ("SIZE x", Some(5)), ("SIZE 5", None), ("DSN", Some(5))]
        {
            assert_eq!(status(line, own), None, "{line}");
        }
    }
}
