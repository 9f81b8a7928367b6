//! Who may hand in what: clients that do not prove to be the relay, messages past a limit, and lock-down, as a door asks
//! at RCPT, and as the message is judged.

use std::borrow::Cow;

use super::Site;
use crate::address::Address;
use crate::case::{Case, Client, Limit};
use crate::lock_down::Locked;
use crate::trust::NotTheRelay;
use crate::verdict::{Disposition, Mode, Peer, Reason, Reply};

/// The reply to a client in the relay's networks that does not prove to be the relay, and the name of the reason; `None`
/// for every other client.
pub fn unproven_relay(site: &Site, client: &Client) -> Option<(Reply, Cow<'static, str>)> {
    let proof = site.trust.peer(client).err().filter(|_| site.modes.whole == Mode::Enforce)?;
    let (reply, why) = not_the_relay(client, proof);
    Some((reply, why.name))
}

/// What a client in the relay's networks is told that does not prove to be the relay.
pub fn not_the_relay(client: &Client, proof: NotTheRelay) -> (Reply, Reason) {
    let address = client.address.map_or_else(|| "unknown".into(), |address| address.to_string());
    let (text, why) = match proof {
        NotTheRelay::WithoutTls => (
            "Mail from the relay is taken over TLS only; use STARTTLS",
            Reason::own(
                "relay-without-tls",
                format!(
                    "{address} is in relay_networks, but its session is not encrypted, so that its markers prove nothing"
                ),
            ),
        ),
        NotTheRelay::Certificate => (
            "Mail from the relay is taken with its client certificate only",
            Reason::own(
                "relay-certificate",
                format!(
                    "{address} is in relay_networks, but shows {} instead of a certificate of relay.certificates",
                    client
                        .certificate_subject
                        .as_deref()
                        .or(client.certificate.as_deref())
                        .unwrap_or("no verified certificate")
                ),
            ),
        ),
    };
    (Reply { code: "451", enhanced: "4.7.0", text: text.into() }, why)
}

/// What makes a message refused for now whatever the rules would say.
pub fn refused_for_now(site: &Site, case: &Case, proof: Option<NotTheRelay>) -> Option<(Disposition, Reason)> {
    if let Some((served, other)) = site.mail_server.zip(case.mail_server).filter(|(served, other)| served != other) {
        let text = "The mail system is not set up consistently; try again later".into();
        let why = format!(
            "it comes from {}, but mail_server says \"{}\": no route of the message would be carried out; correct \
             mail_server and reload the daemon",
            other.title(),
            served.name()
        );
        let reply = Reply { code: "451", enhanced: "4.3.5", text };
        return Some((Disposition::Tempfail(reply), Reason::own("mail-server", why)));
    }
    if let Some(proof) = proof {
        let (reply, why) = not_the_relay(&case.client, proof);
        return Some((Disposition::Tempfail(reply), why));
    }
    let (code, enhanced, text, name, why) = match case.exceeded? {
        Limit::Header => (
            "452",
            "4.3.4",
            "The message's header section is too large",
            "header-limit",
            "the header section is larger than limits.header_size, or has more than limits.header_fields",
        ),
        Limit::Recipients => (
            "452",
            "4.5.3",
            "Too many recipients in one transaction",
            "recipient-limit",
            "the message has more recipients than are judged together",
        ),
        Limit::Messages => (
            "451",
            "4.3.2",
            "Too many messages at once; try again later",
            "message-limit",
            "as many messages as limits.messages were under way",
        ),
        Limit::Memory => (
            "451",
            "4.3.2",
            "Too much mail at once; try again later",
            "memory-limit",
            "the messages under way held limits.message_memory",
        ),
    };
    let reply = Reply { code, enhanced, text: text.into() };
    Some((Disposition::Tempfail(reply), Reason::own(name, why.into())))
}

/// Whether lock-down keeps this client from writing to a recipient (the path of RCPT).
///
/// `None` for a client in the relay's networks that does not prove to be the relay: it is refused for now, whoever its
/// recipients are.
pub fn locked(site: &Site, client: &Client, recipient: &str) -> Option<Locked> {
    match site.trust.peer(client) {
        Ok(Peer::World) => site.lock_down.check(&site.hosted, recipient),
        _ => None,
    }
}

/// What lock-down does to a whole message, and what it would do.
///
/// A door that refuses recipients at RCPT leaves nothing to refuse here. One that cannot, hands in a message with
/// recipients of either kind: none of those locked may get it, none of the others may lose it. The client has to
/// come again, in a session in which recipients can be refused one by one.
pub fn refusal(site: &Site, case: &Case, peer: Result<Peer, NotTheRelay>) -> (Option<Disposition>, Option<Reason>) {
    if peer != Ok(Peer::World) {
        return (None, None);
    }
    let recipients = &case.envelope.recipients;
    let locked: Vec<Locked> =
        recipients.iter().filter_map(|recipient| site.lock_down.check(&site.hosted, recipient)).collect();
    let Some(first) = locked.first() else { return (None, None) };
    let why = Reason::own("lock-down", first.why());
    let refused: Vec<&Locked> = locked.iter().filter(|locked| locked.refused).collect();
    let disposition = refused.first().map(|first| {
        if refused.len() == recipients.len() {
            return Disposition::Reject(first.reply(case.client.address));
        }
        let text = "Not all recipients can be accepted from this client; try again in a new session".into();
        Disposition::Tempfail(Reply { code: "451", enhanced: "4.7.1", text })
    });
    (disposition, Some(why))
}

/// Whether mail of this envelope sender, handed in by this client, may be relayed to this recipient: the relay hands
/// back what it got from a hosted sender, over TLS. It serves other customers too, so that nobody else's mail is
/// relayed for it.
pub fn hands_back(site: &Site, client: &Client, sender: &str, recipient: &str) -> bool {
    let hosted = |path: &str| Address::parse(path).map(|address| site.hosted.contains(address.domain()));
    site.relay.is_some_and(|relay| relay.hands_back)
        && site.trust.peer(client) == Ok(Peer::Relay)
        && hosted(sender) == Some(true)
        && hosted(recipient) == Some(false)
}

/// The reply to a recipient elsewhere whom the relay may not reach through us ([`hands_back`]), for a mail server that
/// itself lets the relay's addresses send to anybody; `None` for every other client.
pub fn not_handed_back(site: &Site, client: &Client, sender: &str, recipient: &str) -> Option<Reply> {
    let is_relay = site.trust.peer(client) == Ok(Peer::Relay);
    (is_relay && !hands_back(site, client, sender, recipient)).then(|| Reply {
        code: "550",
        enhanced: "5.7.1",
        text: "Relaying denied: the relay hands back mail of hosted senders only".into(),
    })
}
