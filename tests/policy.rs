//! The policy service with the real Postfix: permission to relay for what the relay hands back, lock-down without the
//! milter, and what happens while the service is down.

mod lab;

use std::process::{Command, ExitCode};

use lab::certificates::Authority;
use lab::mail::{Ending, Mail, Sender, Sent};
use lab::process::{run, wait_for};
use lab::site::{MailServer, Site};
use lab::{Error, MAIL_SERVER, RELAY};

fn main() -> ExitCode {
    lab::main(|| {
        Ok(vec![
            lab::trial("the_relay_may_hand_back_mail_of_hosted_senders", the_relay_may_hand_back),
            lab::trial("a_certificate_must_be_verified_to_permit_relaying", a_certificate_must_be_verified),
            lab::trial("lock_down_works_without_the_milter", lock_down_works_without_the_milter),
            lab::trial("nothing_is_taken_while_the_service_is_down", nothing_is_taken_while_the_service_is_down),
        ])
    })
}

/// A site whose Postfix asks the policy service, in both lists, in place of the tables that `setup postfix` makes.
fn start(name: &str, more: &str) -> Result<Site, Error> {
    let config = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sites/lock-down.toml"))?;
    // Keys of [relay] go where it begins.
    let config = config.replace("[relay]\n", &format!("[relay]\n{more}"));
    let config = format!("{config}\n[policy]\nsocket = \"unix:@lab@/queue/conbool/policy.sock\"\n");
    let site = Site::configure(name, &config, "", "")?;
    set(
        &site,
        "smtpd_relay_restrictions",
        "permit_mynetworks, permit_sasl_authenticated, check_policy_service \
        unix:conbool/policy.sock, reject_unauth_destination",
    )?;
    set(&site, "smtpd_recipient_restrictions", "check_policy_service unix:conbool/policy.sock")?;
    Ok(site)
}

/// Changes one setting of the running Postfix.
fn set(site: &Site, name: &str, value: &str) -> Result<(), Error> {
    run(Command::new("postconf").arg("-c").arg(site.mail_server.config()).args(["-e", &format!("{name} = {value}")]))?;
    Ok(site.mail_server.reload()?)
}

fn send(site: &Site, via: Sender, from: &str, to: &str) -> Result<Sent, Error> {
    let text = format!("X-Conbool-Customer-Test: true\r\nFrom: {from}\r\nTo: {to}\r\nSubject: test\r\n\r\nHello\r\n");
    let mail = Mail {
        via,
        from: format!("FROM:<{from}>"),
        recipients: vec![format!("TO:<{to}>")],
        message: text.into_bytes(),
        ending: Ending::Dot,
    };
    mail.send(site)
}

/// An error unless the recipient is refused with this beginning of a reply.
fn refused(site: &Site, via: Sender, from: &str, to: &str, reply: &str) -> Result<(), Error> {
    let sent = send(site, via, from, to)?;
    match sent.recipients.last() {
        Some(last) if last.text.starts_with(reply) => Ok(()),
        _ => Err(format!("{via:?} from <{from}> to <{to}>: not {reply} but {sent:?}").into()),
    }
}

/// An error unless the message is taken.
fn taken(site: &Site, via: Sender, from: &str, to: &str) -> Result<(), Error> {
    let sent = send(site, via, from, to)?;
    if sent.queue_id.is_some() { Ok(()) } else { Err(format!("{via:?} from <{from}> to <{to}>: {sent:?}").into()) }
}

const ALICE: &str = "alice@customer.test";
const CAROL: &str = "carol@remote.test";

fn the_relay_may_hand_back() -> Result<(), Error> {
    let site = start("policy-hand-back", "")?;
    taken(&site, Sender::Relay, ALICE, CAROL)?;
    let mx = site.lab.host("mx.remote.test");
    wait_for("the message at the recipient's MX", || (mx.received().len() == 1).then_some(()))?;
    taken(&site, Sender::Relay, CAROL, ALICE)?;
    refused(&site, Sender::RelayWithoutTls, ALICE, CAROL, "451 4.7.0 ")?;
    refused(&site, Sender::Relay, "mallory@other.test", CAROL, "554 5.7.1 <carol@remote.test>: Relay access denied")?;
    refused(&site, Sender::Relay, "", CAROL, "554 5.7.1 ")?;
    refused(&site, Sender::WorldWithTls, ALICE, CAROL, "554 5.7.1 ")?;
    taken(&site, Sender::Authenticated, ALICE, CAROL)?;
    taken(&site, Sender::Internal, ALICE, CAROL)
}

fn a_certificate_must_be_verified() -> Result<(), Error> {
    let site = start("policy-certificate", "certificates = [\"relay.conbool.test\"]\n")?;
    taken(&site, Sender::RelayWithCertificate, ALICE, CAROL)?;
    refused(&site, Sender::Relay, ALICE, CAROL, "451 4.7.0 ")?;
    // The right name, from an authority that nobody knows.
    let forged = Authority::new(&site.lab.dir.join("forged"))?.issue("relay", "relay.conbool.test")?;
    let mut client = lab::smtp_client::SmtpClient::connect(RELAY, site.mail_server.address())?;
    client.command("EHLO relay.conbool.test")?;
    let mut client = client.start_tls(MAIL_SERVER.0, site.lab.authority.client(Some(&forged))?)?;
    client.command("EHLO relay.conbool.test")?;
    client.command(&format!("MAIL FROM:<{ALICE}>"))?;
    let reply = client.command(&format!("RCPT TO:<{CAROL}>"))?;
    if reply.code / 100 != 4 {
        return Err(format!("a forged certificate is answered {reply:?}").into());
    }
    Ok(())
}

fn lock_down_works_without_the_milter() -> Result<(), Error> {
    let site = start("policy-lock-down", "")?;
    set(&site, "smtpd_milters", "")?;
    let told = "550 5.7.1 <alice@customer.test>: Recipient address rejected: Mail for customer.test is accepted from its \
                e-mail security service only, not from 127.0.9.9; deliver to the MX hosts of the domain";
    refused(&site, Sender::World, CAROL, ALICE, told)?;
    refused(&site, Sender::World, "", ALICE, "550 5.7.1 ")?;
    refused(&site, Sender::WorldWithTls, CAROL, "Alice+x@CUSTOMER.test", "550 5.7.1 ")?;
    refused(&site, Sender::RelayWithoutTls, CAROL, ALICE, "451 4.7.0 ")?;
    taken(&site, Sender::World, CAROL, "erin@customer.test")?;
    taken(&site, Sender::Relay, CAROL, ALICE)?;
    taken(&site, Sender::Internal, "bob@customer.test", ALICE)?;
    taken(&site, Sender::Authenticated, ALICE, "bob@customer.test")
}

fn nothing_is_taken_while_the_service_is_down() -> Result<(), Error> {
    let mut site = start("policy-down", "")?;
    set(&site, "smtpd_milters", "")?;
    site.daemon.signal("TERM")?;
    wait_for("the daemon's end", || site.daemon.ended().then_some(()))?;
    refused(&site, Sender::Relay, ALICE, CAROL, "451 4.3.5 ")?;
    refused(&site, Sender::World, CAROL, ALICE, "451 4.3.5 ")
}
