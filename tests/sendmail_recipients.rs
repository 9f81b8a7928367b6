//! Recipients of every form, through a real Sendmail: each that it takes arrives, and where it belongs, with the address
//! and the parameters (RFC 3461) that the client gave. Sendmail drops without a word what it cannot parse of what a milter
//! adds.

mod lab;

use std::process::ExitCode;

use lab::Error;
use lab::mail::{Ending, Mail, Sender, Sent};
use lab::process::wait_for;
use lab::report::TOKEN_FIELD;
use lab::sendmail::Sendmail;
use lab::site::{MailServer, Site};

fn main() -> ExitCode {
    lab::main(|| {
        Ok(vec![
            lab::trial("addresses_on_their_way_to_the_relay", || addresses("relay.conbool.test", RELAYED, 231)),
            lab::trial("addresses_on_their_way_past_the_relay", || addresses("mx.remote.test", EXEMPT, 253)),
            lab::trial("delivery_status_parameters", parameters),
            lab::trial("where_delivery_status_notifications_are_not_on_offer", no_notifications),
            lab::trial("nobody_else_writes_marks", marks_of_clients),
            lab::trial("a_client_certificate_counts_if_it_is_verified", certificates),
        ])
    })
}

/// Fields that leave a message of alice on the relay.
const RELAYED: &str = "";

/// A field that lets it pass.
const EXEMPT: &str = "Content-Class: urn:content-classes:calendarmessage\r\n";

fn site(name: &str, relay: &str, previous: &str) -> Result<Site<Sendmail>, Error> {
    let config = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sites/all.toml"))?;
    Site::configured(name, &config.replace("[relay]\n", &format!("[relay]\n{relay}")), previous, "")
}

/// A message to one recipient, the argument of RCPT after `TO:`.
fn send(site: &Site<Sendmail>, token: &str, recipient: &str, fields: &str) -> Result<Sent, Error> {
    let text = format!(
        "From: alice@customer.test\r\nSubject: test\r\nMessage-ID: <{token}@customer.test>\r\n{TOKEN_FIELD}: {token}\r\n\
         {fields}\r\nHello\r\n"
    );
    let mail = Mail {
        via: Sender::Internal,
        from: "FROM:<alice@customer.test> RET=HDRS ENVID=A+2Bb".into(),
        recipients: vec![format!("TO:{recipient}")],
        message: text.into_bytes(),
        ending: Ending::Dot,
    };
    mail.send(site)
}

/// The recipients with which a host has got a message, each as address and parameters.
fn arrived(site: &Site<Sendmail>, host: &str, token: &str) -> Vec<String> {
    let mark = format!("{TOKEN_FIELD}: {token}\r\n");
    let messages = site.lab.host(host).received();
    let with_token = messages.iter().filter(|message| String::from_utf8_lossy(&message.message).contains(&mark));
    let recipients = with_token.flat_map(|message| &message.recipients);
    recipients
        .map(|path| [std::slice::from_ref(&path.address), path.parameters.as_slice()].concat().join(" "))
        .collect()
}

/// The one recipient with which a host gets a message.
fn once_there(site: &Site<Sendmail>, host: &str, token: &str) -> Result<String, Error> {
    let came = wait_for(token, || Some(arrived(site, host, token)).filter(|recipients| !recipients.is_empty()));
    match came.map_err(|error| format!("{error}\n{}", site.mail_server.log()))?.as_slice() {
        [recipient] => Ok(recipient.clone()),
        several => Err(format!("{token} came to {several:?} of {host}").into()),
    }
}

/// What the client writes, and the address that arrives.
const FORMS: [(&str, &str); 28] = [
    ("<bob@remote.test>", "bob@remote.test"),
    ("bob1@remote.test", "bob1@remote.test"),
    ("<bob+x@remote.test>", "bob+x@remote.test"),
    ("<bob=x@remote.test>", "bob=x@remote.test"),
    ("<bob%x@remote.test>", "bob%x@remote.test"),
    ("<bob!x@remote.test>", "bob!x@remote.test"),
    ("<|x@remote.test>", "|x@remote.test"),
    ("</x/y@remote.test>", "/x/y@remote.test"),
    ("<a{}~`#$&*?^_'@remote.test>", "a{}~`#$&*?^_'@remote.test"),
    ("<a..b@remote.test>", "a..b@remote.test"),
    ("<a.@remote.test>", "a.@remote.test"),
    ("<BOB@REMOTE.TEST>", "BOB@REMOTE.TEST"),
    ("<bob2@remote.test.>", "bob2@remote.test"),
    ("<@other.test:bob3@remote.test>", "bob3@remote.test"),
    ("<@other.test,@x.test:bob4@remote.test>", "bob4@remote.test"),
    ("<remote.test!bob5>", "bob5@remote.test"),
    ("< bob6@remote.test >", "bob6@remote.test"),
    ("<bob7(a, b)@remote.test>", "bob7@remote.test"),
    ("<\"john doe\"@remote.test>", "\"john doe\"@remote.test"),
    ("<\"jo\\\"hn\"@remote.test>", "\"jo\\\"hn\"@remote.test"),
    ("<\"jo\\\\hn\"@remote.test>", "\"jo\\\\hn\"@remote.test"),
    ("<\"a@b\"@remote.test>", "\"a@b\"@remote.test"),
    ("<\"a,b;c:d\"@remote.test>", "\"a,b;c:d\"@remote.test"),
    ("<\"<(x)>\"@remote.test>", "\"<(x)>\"@remote.test"),
    ("<\"|x\"@remote.test>", "\"|x\"@remote.test"),
    ("<j\u{fc}rgen@remote.test>", "j\u{fc}rgen@remote.test"),
    ("<bob@[127.0.2.1]>", "bob@[127.0.2.1]"),
    ("<\"x y\"@[127.0.2.1]>", "\"x y\"@[127.0.2.1]"),
];

/// The longest address that can be marked for the way past the relay.
const LONGEST_PAST_THE_RELAY: usize = 230;

/// `longest` is the longest address that Sendmail can send this way, without its brackets.
fn addresses(host: &str, fields: &str, longest: usize) -> Result<(), Error> {
    let site = site(&format!("addresses-{}", &host[..2]), "", "")?;
    let mut forms: Vec<(String, String)> = FORMS.map(|(written, arrives)| (written.into(), arrives.into())).into();
    if host == "relay.conbool.test" {
        // Nobody delivers to that address here; the relay takes anything.
        forms.push(("<bob@[IPv6:2001:db8::1]>".into(), "bob@[IPv6:2001:db8::1]".into()));
    }
    let of = |length: usize| format!("{}@remote.test", "l".repeat(length - "@remote.test".len()));
    forms.extend([longest - 1, longest].map(|length| (format!("<{}>", of(length)), of(length))));
    // What is too long for the mark that leads past the relay stays on the safe way.
    let host_of = |address: &str| if address.len() > LONGEST_PAST_THE_RELAY { "relay.conbool.test" } else { host };
    let mut expected = Vec::new();
    for (number, (written, arrives)) in forms.into_iter().enumerate() {
        let token = format!("form-{number}");
        let sent = send(&site, &token, &written, fields)?;
        if sent.queue_id.is_none() {
            return Err(format!("{written} is refused: {sent:?}").into());
        }
        expected.push((token, arrives));
    }
    for refused in
        [format!("<{}>", of(longest + 1)), "<j\u{c4}rgen@remote.test>".into(), "Bob <bob@remote.test>".into()]
    {
        let sent = send(&site, "refused", &refused, fields)?;
        let replies = sent.recipients.iter().chain(&sent.data);
        if sent.queue_id.is_some() || !replies.into_iter().any(|reply| (500..560).contains(&reply.code)) {
            return Err(format!("{refused} is not refused: {sent:?}").into());
        }
    }
    for (token, address) in &expected {
        let host = host_of(address);
        let came = once_there(&site, host, token)?;
        if came.split(" ORCPT=").next() != Some(address) {
            return Err(format!("expected {address}, but {host} got {came}").into());
        }
    }
    Ok(())
}

fn parameters() -> Result<(), Error> {
    let site = site("parameters", "", "")?;
    let mut expected = Vec::new();
    for (number, given) in [
        "",
        " NOTIFY=NEVER",
        " NOTIFY=SUCCESS,FAILURE",
        " NOTIFY=DELAY ORCPT=rfc822;Bob+2BX@Remote.test",
        " ORCPT=X400;+2Fc+3Dde",
        " ORCPT=utf-8;j+FCrgen@remote.test",
    ]
    .into_iter()
    .enumerate()
    {
        for (fields, host) in [(RELAYED, "relay.conbool.test"), (EXEMPT, "mx.remote.test")] {
            let token = format!("{host}-{number}");
            let sent = send(&site, &token, &format!("<bob{number}@remote.test>{given}"), fields)?;
            if sent.queue_id.is_none() {
                return Err(format!("{given} is refused: {sent:?}").into());
            }
            expected.push((host, token, format!("bob{number}@remote.test"), given));
        }
    }
    for (host, token, address, given) in expected {
        let came = once_there(&site, host, &token)?;
        // Sendmail takes the replacement for the recipient itself where it leads to the same place; without its ORCPT then.
        let with_ours = format!("{address}{given} ORCPT=rfc822;{address}");
        if came != format!("{address}{given}") && (given.contains("ORCPT") || came != with_ours) {
            return Err(format!("expected {address}{given}, but {host} got {came}").into());
        }
        let messages = site.lab.host(host).received();
        if let Some(message) = messages.iter().find(|message| message.sender.parameters != ["ENVID=A+2Bb", "RET=HDRS"])
        {
            return Err(format!("{host}: {:?}", message.sender).into());
        }
    }
    Ok(())
}

/// A Sendmail without RFC 3461 takes no parameter of its either from a milter.
fn no_notifications() -> Result<(), Error> {
    let site = site("no-notifications", "", "define(`confPRIVACY_FLAGS', `goaway,noreceipts')dnl\n")?;
    for (token, fields, host) in [("a", RELAYED, "relay.conbool.test"), ("b", EXEMPT, "mx.remote.test")] {
        let mail = Mail {
            via: Sender::Internal,
            from: "FROM:<alice@customer.test>".into(),
            recipients: vec!["TO:<bob@remote.test>".into()],
            message: format!("From: alice@customer.test\r\n{TOKEN_FIELD}: {token}\r\n{fields}\r\nHello\r\n")
                .into_bytes(),
            ending: Ending::Dot,
        };
        let sent = mail.send(&site)?;
        if sent.queue_id.is_none() {
            return Err(format!("refused: {sent:?}").into());
        }
        let came = once_there(&site, host, token)?;
        if came != "bob@remote.test" {
            return Err(format!("{host} got {came}").into());
        }
    }
    Ok(())
}

fn marks_of_clients() -> Result<(), Error> {
    let site = site("client-marks", "", "")?;
    for recipient in [
        "<bob@remote.test.conbool-direct.invalid>",
        "<bob%remote.test.conbool-direct.invalid@customer.test>",
        "<\"bob%remote.test.conbool-direct.invalid\"@customer.test>",
        "<bob@remote.test.conbool-(x)direct.invalid>",
        "<bob@remote.test.Conbool-Relay.invalid.>",
    ] {
        let sent = send(&site, "mark", recipient, "")?;
        let refused = sent.recipients.iter().chain(&sent.data).any(|reply| (500..560).contains(&reply.code));
        if !refused || sent.queue_id.is_some() {
            return Err(format!("{recipient}: {sent:?}").into());
        }
    }
    Ok(())
}

fn certificates() -> Result<(), Error> {
    let names = "certificates = [\"/CN=relay.conbool.test\"]\n";
    let site = site("certificates", names, "")?;
    for (via, code) in [(Sender::RelayWithCertificate, 250), (Sender::Relay, 451)] {
        let mail = Mail {
            via,
            from: "FROM:<bob@remote.test>".into(),
            recipients: vec!["TO:<alice@customer.test>".into()],
            message: b"From: bob@remote.test\r\n\r\nHello\r\n".to_vec(),
            ending: Ending::Dot,
        };
        let sent = mail.send(&site)?;
        if sent.data.as_ref().map(|reply| reply.code) != Some(code) {
            return Err(format!("{via:?}: {sent:?}\n{}", site.daemon.log()).into());
        }
    }
    Ok(())
}
