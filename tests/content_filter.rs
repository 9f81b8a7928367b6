//! Behind a content filter: everything goes through the filter, whatever the milter says of its route, and the route is
//! taken behind it. The filter is laid out as amavis is with Zimbra: one way for mail from outside and one for the site's
//! own, which is handed on to a second filter, and one listener that takes both back.

mod lab;

use std::fs;
use std::process::{Command, ExitCode};

use lab::daemon::{Daemon, program};
use lab::mail::{Ending, Mail, Sender};
use lab::postfix::Prepared;
use lab::process::{run, wait_for};
use lab::site::{MailServer, Site};
use lab::{Error, Lab};

fn main() -> ExitCode {
    lab::main(|| Ok(vec![lab::trial("nothing_skips_the_filter_and_routes_are_kept", routes_behind_the_filter)]))
}

/// Mail is given to the filter by sender: FILTER of access(5), which the milter's own must not take the place of.
const MAIN_CF: &str = "\
content_filter = lab-filter:[127.0.0.1]:10024
smtpd_sender_restrictions =
    check_sender_access regexp:{ {/^/ FILTER lab-filter:[127.0.0.1]:10026} },
    permit_mynetworks, permit_sasl_authenticated,
    check_sender_access regexp:{ {/^/ FILTER lab-filter:[127.0.0.1]:10024} }
";

/// Each filter is a listener that adds a field and hands the message on.
const MASTER_CF: &str = "
lab-filter unix - - n - 10 smtp
  -o smtp_send_xforward_command=yes
  -o smtp_tls_security_level=none
  -o disable_mime_output_conversion=yes
127.0.0.1:10024 inet n - n - - smtpd
  @listener@
  -o content_filter=lab-filter:[127.0.0.1]:10025
  -o cleanup_service_name=lab-foreign
127.0.0.1:10026 inet n - n - - smtpd
  @listener@
  -o content_filter=lab-filter:[127.0.0.1]:10024
  -o cleanup_service_name=lab-own
lab-foreign unix n - n - 0 cleanup
  -o {header_checks=regexp:{ {/^Subject:/ PREPEND X-Lab-Filter: foreign} }}
lab-own unix n - n - 0 cleanup
  -o {header_checks=regexp:{ {/^Subject:/ PREPEND X-Lab-Filter: own} }}
127.0.0.1:10025 inet n - n - - smtpd
  @listener@
  -o content_filter=
  -o cleanup_service_name=conbool-filtered
";

const LISTENER: &str = "-o smtpd_milters=
  -o mynetworks=127.0.0.0/8
  -o smtpd_client_restrictions=permit_mynetworks,reject
  -o smtpd_sender_restrictions=
  -o smtpd_relay_restrictions=
  -o smtpd_recipient_restrictions=permit_mynetworks,reject
  -o smtpd_restriction_classes=
  -o smtpd_tls_security_level=none
  -o smtpd_authorized_xforward_hosts=127.0.0.0/8
  -o receive_override_options=no_unknown_recipient_checks,no_address_mappings,no_milters";

fn site() -> Result<Site, Error> {
    let lab = Lab::start("content-filter")?;
    let prepared = Prepared::new(&lab, MAIN_CF)?;
    let file = lab.dir.join("conbool-milter.toml");
    let config = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sites/all.toml"))?;
    let config = format!("state_directory = \"@lab@/state\"\n{config}\n[postfix]\nconfig_directory = \"@lab@/etc\"\n");
    fs::write(&file, prepared.fill_in(&config))?;
    let fragments = lab.dir.join("fragments");
    let mut setup = Command::new(program()?);
    setup.args(["setup", "postfix", "--behind-content-filter", "--config"]).arg(&file).arg("--output").arg(&fragments);
    run(&mut setup)?;
    let master_cf = fs::read_to_string(fragments.join("master.cf"))? + MASTER_CF;
    fs::write(fragments.join("master.cf"), master_cf.replace("@listener@", LISTENER))?;
    prepared.add_fragments(&fragments)?;
    let daemon = Daemon::start(&file, &lab.dir.join("daemon.log"))?;
    Ok(Site { daemon, mail_server: prepared.start()?, lab })
}

/// A message of the test: who sends it, its envelope, fields and body, and where each copy must arrive.
struct Sent {
    name: &'static str,
    via: Sender,
    from: &'static str,
    to: &'static [&'static str],
    fields: &'static str,
    body: &'static str,
    /// Simulated host, or `mailbox`.
    arrives: &'static [&'static str],
    filters: &'static [&'static str],
}

const MEETING: &str = "Content-Type: text/calendar; method=REQUEST\r\n";
const MEETING_BODY: &str = "BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n";
const OWN: &[&str] = &["own", "foreign"];
const FOREIGN: &[&str] = &["foreign"];

const OFFER: Sent = Sent {
    name: "offer",
    via: Sender::Internal,
    from: "alice@customer.test",
    to: &["carol@remote.test", "bob@customer.test"],
    fields: "From: alice@customer.test\r\n",
    body: "Hello\r\n",
    arrives: &["mailbox", "relay.conbool.test"],
    filters: OWN,
};

const MESSAGES: [Sent; 7] = [
    OFFER,
    Sent {
        name: "meeting",
        via: Sender::Internal,
        from: "alice@customer.test",
        to: &["carol@remote.test", "bob@customer.test", "dora@other.test"],
        fields: concat!("From: alice@customer.test\r\n", "MIME-Version: 1.0\r\n"),
        body: MEETING_BODY,
        arrives: &["mailbox", "mx.other.test", "mx.remote.test"],
        filters: OWN,
    },
    Sent {
        name: "handed back",
        via: Sender::Relay,
        from: "alice@customer.test",
        to: &["carol@remote.test"],
        fields: "From: alice@customer.test\r\nX-Conbool-Customer-Test: true\r\n",
        body: "Hello\r\n",
        arrives: &["mx.remote.test"],
        filters: FOREIGN,
    },
    Sent {
        name: "forged",
        via: Sender::Internal,
        from: "alice@customer.test",
        to: &["carol@remote.test"],
        fields: "X-Conbool-Carried-Route: direct\r\nX-Conbool-Route: direct\r\nFrom: alice@customer.test\r\n\
                 X-CONBOOL-CARRIED-ROUTE : direct\r\nX-Conbool-Carried-Route:\r\n direct\r\n",
        body: "Hello\r\n",
        arrives: &["relay.conbool.test"],
        filters: OWN,
    },
    Sent {
        name: "forged and exempt",
        via: Sender::Internal,
        from: "alice@customer.test",
        to: &["carol@remote.test"],
        fields: "X-Conbool-Carried-Route: relay\r\nX-Conbool-Route: relay\r\nFrom: alice@customer.test\r\n\
                 MIME-Version: 1.0\r\n",
        body: MEETING_BODY,
        arrives: &["mx.remote.test"],
        filters: OWN,
    },
    Sent { name: "by the From field", from: "app@hosting.test", ..OFFER },
    Sent {
        name: "spam",
        via: Sender::Relay,
        from: "carol@remote.test",
        to: &["bob@customer.test"],
        fields: "From: carol@remote.test\r\nX-Conbool-Flag: YES\r\n",
        body: "Hello\r\n",
        arrives: &["mailbox"],
        filters: FOREIGN,
    },
];

fn routes_behind_the_filter() -> Result<(), Error> {
    let site = site()?;
    for sent in &MESSAGES {
        let kind = if sent.body == MEETING_BODY { MEETING } else { "" };
        let mail = Mail {
            via: sent.via,
            from: format!("FROM:<{}>", sent.from),
            recipients: sent.to.iter().map(|recipient| format!("TO:<{recipient}>")).collect(),
            message: format!("{}{kind}Subject: {}\r\n\r\n{}", sent.fields, sent.name, sent.body).into_bytes(),
            ending: Ending::Dot,
        };
        let reply = mail.send(&site)?;
        if reply.queue_id.is_none() {
            return Err(format!("{} was refused: {reply:?}", sent.name).into());
        }
    }
    for sent in &MESSAGES {
        let complete = || Some(copies(&site, sent.name)).filter(|copies| copies.len() >= sent.arrives.len());
        let copies = wait_for(sent.name, complete)
            .map_err(|error| format!("{error}: {:?}\n{}", copies(&site, sent.name), site.mail_server.log()))?;
        let places: Vec<&str> = copies.iter().map(|(place, _)| place.as_str()).collect();
        if places != sent.arrives {
            return Err(format!("{} arrived at {places:?}, not at {:?}", sent.name, sent.arrives).into());
        }
        for (place, message) in &copies {
            let filters = message.lines().filter_map(|line| line.strip_prefix("X-Lab-Filter: "));
            let filters: Vec<&str> = filters.map(str::trim_end).collect();
            let flagged = message.contains("X-Spam-Flag: YES");
            if filters != sent.filters || message.contains("-Route") || flagged != (sent.name == "spam") {
                return Err(format!("{} at {place}: filters {filters:?}\n{message}", sent.name).into());
            }
        }
    }
    Ok(())
}

/// Where copies of the message with this subject are, sorted, and what they look like.
fn copies(site: &Site, subject: &str) -> Vec<(String, String)> {
    let line = format!("Subject: {subject}\r\n");
    let at_hosts = site.lab.hosts.iter().flat_map(|host| {
        let messages = host.received().into_iter().map(|mail| String::from_utf8_lossy(&mail.message).into_owned());
        messages.map(|message| (host.name().to_owned(), message)).collect::<Vec<_>>()
    });
    let files = site.lab.mailboxes().into_iter().flat_map(|(_, mailbox)| fs::read_dir(mailbox.join("new")));
    let in_mailboxes = files.flatten().flatten().filter_map(|entry| {
        let text = fs::read_to_string(entry.path()).ok()?;
        Some(("mailbox".to_owned(), text.replace('\n', "\r\n")))
    });
    let mut copies: Vec<_> = at_hosts.chain(in_mailboxes).filter(|(_, message)| message.contains(&line)).collect();
    copies.sort();
    copies
}
