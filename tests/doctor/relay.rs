//! The relay: good ones, and ones with every fault that a relay or the way to it can have.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use libtest_mimic::Trial;

use crate::lab::certificates::{Authority, ClientCertificate, Identity};
use crate::lab::smtp_host::SmtpHost;
use crate::lab::{self, Error, Lab};
use crate::{Expected, Finding, code_of, compare, findings, good_config, write_config};

pub fn trials() -> Vec<Trial> {
    vec![
        lab::trial("a_good_relay_is_reachable", good),
        lab::trial("each_fault_of_a_certificate_is_named", certificates),
        lab::trial("a_client_certificate_is_shown_and_asked_for", client_certificates),
        lab::trial("each_fault_of_a_session_is_named", sessions),
        lab::trial("a_relay_with_several_addresses_is_tried_at_each", several_addresses),
    ]
}

type Keys = BTreeMap<(String, String), String>;

/// A configuration for the relay at this host, whose certificate comes from the lab's authority.
fn config(lab: &Lab, host: &str, settings: &[(&str, &str)]) -> Keys {
    let mut keys = good_config();
    let mut set = |key: &str, value: String| keys.insert(("relay".to_owned(), key.to_owned()), value);
    set("host", format!("\"{host}\""));
    set("tls_name", "\"relay.conbool.test\"".into());
    set("ca_file", quoted(&lab.authority.file()));
    for (key, value) in settings {
        set(key, (*value).to_owned());
    }
    keys
}

fn quoted(file: &Path) -> String {
    format!("\"{}\"", file.display())
}

/// Runs doctor, and compares what does not pass.
fn expect(lab: &Lab, name: &str, keys: &Keys, expected: &[&str]) -> Result<Vec<Finding>, Error> {
    // Relays that say nothing are named by their addresses; a name has to be looked up on a busy machine first.
    let host = keys.get(&("relay".to_owned(), "host".to_owned())).map(|host| host.trim_matches('"'));
    let by_address = host.is_some_and(|host| host.parse::<Ipv4Addr>().is_ok());
    let timeout = if by_address { "3" } else { "20" };
    let (found, code) = findings(&write_config(&lab.dir, keys)?, &["relay", "--timeout", timeout])?;
    let expected: Vec<Expected> = expected.iter().map(|line| Expected::parse(line)).collect::<Result<_, _>>()?;
    let mut wrong = compare(&found, &expected);
    if code != code_of(&found) {
        wrong.push(format!("exit code {code}"));
    }
    let without = |finding: &&Finding| !matches!(finding.status.as_str(), "pass") && finding.mend.is_empty();
    wrong.extend(
        found
            .iter()
            .filter(without)
            .filter(|finding| finding.check != "reachable")
            .map(|f| format!("no way to mend: {}", f.line())),
    );
    if wrong.is_empty() { Ok(found) } else { Err(format!("{name}:\n  {}", wrong.join("\n  ")).into()) }
}

const UNREACHABLE: &str = "fail reachable: SMTP with verified TLS not reachable";
const NOT_KNOWN: &str = "unknown reachable: whether SMTP is reachable could not be found out";

fn good() -> Result<(), Error> {
    let lab = Lab::start("doctor-relay")?;
    let found = expect(&lab, "by name", &config(&lab, "relay.conbool.test", &[]), &[])?;
    let lines: Vec<String> = found.iter().map(|finding| format!("{}: {}", finding.check, finding.seen)).collect();
    for part in [
        "addresses: 127.0.3.1",
        "greeting: 220 relay.conbool.test ESMTP",
        "tls: TLS 1.3",
        "certificate-chain: issued by CN=Lab authority",
        "certificate-name: is for relay.conbool.test",
        "client-certificate: asked for, but not needed",
        "ehlo: PIPELINING, 8BITMIME, SMTPUTF8, DSN, ENHANCEDSTATUSCODES",
        "reachable: SMTP reachable",
    ] {
        if !lines.iter().any(|line| line.starts_with(part)) {
            return Err(format!("{part:?} is missing in:\n{}", lines.join("\n")).into());
        }
    }
    if !lab.host("relay.conbool.test").received().is_empty() {
        return Err("a message was sent".into());
    }
    expect(&lab, "by address", &config(&lab, "127.0.3.1", &[]), &[])?;
    expect(
        &lab,
        "without an address",
        &config(&lab, "nowhere.conbool.test", &[]),
        &["fail addresses: the relay has no address"],
    )?;
    expect(
        &lab,
        "nobody there",
        &config(&lab, "127.0.8.8", &[]),
        &["fail connect: nothing listens on port 25", UNREACHABLE],
    )?;
    expect(
        &lab,
        "another port",
        &config(&lab, "127.0.3.1", &[("port", "2525")]),
        &["fail connect: nothing listens on port 2525", UNREACHABLE],
    )?;
    Ok(())
}

/// A relay with this certificate, at an address of its own.
fn host(address: Ipv4Addr, authority: &Authority, identity: &Identity) -> Result<SmtpHost, Error> {
    let tls = authority.server(identity, ClientCertificate::Ignored)?;
    Ok(SmtpHost::start("relay.conbool.test", address, Some(tls), Arc::default())?)
}

fn certificates() -> Result<(), Error> {
    let lab = Lab::start("doctor-certificates")?;
    let name = "relay.conbool.test";
    let days = |days: u64| Duration::from_secs(days * 24 * 3600);
    let issue = |file: &str, end| lab.authority.issue_until(file, name, Some(end));
    let _expired = host(Ipv4Addr::new(127, 0, 7, 1), &lab.authority, &issue("expired", SystemTime::now() - days(2))?)?;
    let _soon = host(Ipv4Addr::new(127, 0, 7, 2), &lab.authority, &issue("soon", SystemTime::now() + days(5))?)?;
    let _later = host(Ipv4Addr::new(127, 0, 7, 3), &lab.authority, &issue("later", SystemTime::now() + days(40))?)?;
    let stranger = Authority::new(&lab.dir.join("stranger"))?;
    let _unknown = host(Ipv4Addr::new(127, 0, 7, 4), &stranger, &stranger.issue("relay", name)?)?;
    let at = |address: &str| config(&lab, address, &[]);
    expect(&lab, "expired", &at("127.0.7.1"), &["fail certificate-expiry: expired on", UNREACHABLE])?;
    expect(&lab, "ends soon", &at("127.0.7.2"), &["warn certificate-expiry: expires soon, on"])?;
    expect(&lab, "ends later", &at("127.0.7.3"), &[])?;
    expect(
        &lab,
        "unknown authority",
        &at("127.0.7.4"),
        &["fail certificate-chain: issued by CN=Lab authority", UNREACHABLE],
    )?;
    let found = expect(
        &lab,
        "another name",
        &config(&lab, "wrong.conbool.test", &[("tls_name", "\"wrong.conbool.test\"")]),
        &["fail certificate-name: is for somebody-else.test, not for wrong.conbool.test", UNREACHABLE],
    )?;
    let mend = "if that is the relay: [relay] tls_name = \"somebody-else.test\"";
    if !found.iter().any(|finding| finding.mend == mend) {
        return Err(format!("{mend:?} is missing").into());
    }
    let key = quoted(&lab.dir.join("tls/server.key"));
    expect(
        &lab,
        "no certificate in the anchors",
        &config(&lab, "127.0.3.1", &[("ca_file", &key)]),
        &["fail trust-anchors: holds no certificate"],
    )?;
    let ca_file = ("relay".to_owned(), "ca_file".to_owned());
    let mut system = at("127.0.3.1");
    system.remove(&ca_file);
    // The lab's authority is not among the system's, which need not be there at all.
    let (found, code) = findings(&write_config(&lab.dir, &system)?, &["relay"])?;
    let failed = |finding: &&Finding| finding.status == "fail";
    let checks: Vec<&str> = found.iter().filter(failed).map(|finding| finding.check.as_str()).collect();
    let expected = [&["certificate-chain", "reachable"][..], &["trust-anchors"]];
    if !expected.contains(&checks.as_slice()) || code != 1 {
        return Err(format!("the system's authorities: {checks:?}").into());
    }
    Ok(())
}

fn client_certificates() -> Result<(), Error> {
    let lab = Lab::start("doctor-client")?;
    let stranger = Authority::new(&lab.dir.join("stranger"))?;
    stranger.issue("client", "client.customer.test")?;
    let strict = [("tls_name", "\"strict.conbool.test\"")];
    expect(
        &lab,
        "none",
        &config(&lab, "strict.conbool.test", &strict),
        &["fail client-certificate: the relay wants a client certificate", UNREACHABLE],
    )?;
    let with = |certificate: &str, key: &str| -> Vec<(&'static str, String)> {
        let file = |name: &str| quoted(&lab.dir.join(name));
        vec![("tls_name", strict[0].1.to_owned()), ("client_certificate", file(certificate)), ("client_key", file(key))]
    };
    let configured = |settings: Vec<(&'static str, String)>| {
        let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
        config(&lab, "strict.conbool.test", &settings)
    };
    let found = expect(&lab, "a known one", &configured(with("tls/client.pem", "tls/client.key")), &[])?;
    if !found
        .iter()
        .any(|finding| finding.line().contains("client-certificate") && finding.seen == "shown, and the relay goes on")
    {
        return Err("the client certificate is not told of".into());
    }
    expect(
        &lab,
        "an unknown one",
        &configured(with("stranger/client.pem", "stranger/client.key")),
        &["fail client-certificate: the relay does not take the client certificate", UNREACHABLE],
    )?;
    expect(
        &lab,
        "another key",
        &configured(with("tls/client.pem", "tls/server.key")),
        &[
            "fail client-certificate: does not go with the key in",
            "fail client-certificate: the relay wants a client certificate",
            UNREACHABLE,
        ],
    )?;
    let mut plain = configured(with("tls/client.pem", "tls/client.key"));
    plain.insert(("relay".into(), "host".into()), "\"wrong.conbool.test\"".into());
    plain.insert(("relay".into(), "tls_name".into()), "\"somebody-else.test\"".into());
    expect(
        &lab,
        "not asked for",
        &plain,
        &["warn client-certificate: the relay does not ask for the client certificate"],
    )?;
    Ok(())
}

/// What a relay does, step by step.
#[derive(Clone)]
enum Step {
    /// Waits for a line.
    Line,
    Say(&'static str),
    /// Says it again and again, until nobody listens any more.
    Repeat(&'static str),
    /// Says nothing and keeps the connection.
    Wait,
}

/// A relay that does these steps at each connection, then closes it.
fn script(address: &str, steps: Vec<Step>) -> Result<(), Error> {
    let listener = TcpListener::bind((address, 25))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let steps = steps.clone();
            // Whatever the client does, it is doctor's report that is looked at.
            std::thread::spawn(move || play(stream, &steps));
        }
    });
    Ok(())
}

fn play(stream: TcpStream, steps: &[Step]) -> std::io::Result<()> {
    let mut output = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    for step in steps {
        match step {
            Step::Line => drop(input.read_line(&mut String::new())?),
            Step::Say(text) => output.write_all(text.as_bytes())?,
            Step::Repeat(text) => loop {
                output.write_all(text.as_bytes())?;
            },
            Step::Wait => std::thread::sleep(Duration::from_secs(20)),
        }
    }
    Ok(())
}

fn sessions() -> Result<(), Error> {
    use Step::{Line, Repeat, Say, Wait};
    let lab = Lab::start("doctor-sessions")?;
    let hello = Say("250-relay\r\n250-SIZE 1000\r\n250 STARTTLS\r\n");
    let greeted = |rest: &[Step]| [&[Say("220 relay ESMTP\r\n"), Line, hello.clone(), Line], rest].concat();
    let cases: [(&str, Vec<Step>, &[&str]); 14] = [
        ("silent", vec![Wait], &["unknown greeting: no answer after the connection in time", NOT_KNOWN]),
        (
            "blocked",
            vec![Say("554 5.7.1 blocked\r\n")],
            &["fail greeting: the relay says: 554 5.7.1 blocked", UNREACHABLE],
        ),
        (
            "busy",
            vec![Say("421-too many\r\n421 connections\r\n")],
            &["fail greeting: the relay says: 421 too many connections", UNREACHABLE],
        ),
        ("closed", vec![], &["fail greeting: the connection broke off", UNREACHABLE]),
        (
            "another protocol",
            vec![Say("SSH-2.0-OpenSSH\r\n"), Wait],
            &["fail greeting: no reply of SMTP: SSH-2.0-OpenSSH", UNREACHABLE],
        ),
        ("escape sequences", vec![Say("554 \x1b[2J\u{7}\r\n")], &["fail greeting: the relay says: 554", UNREACHABLE]),
        ("a reply without end", vec![Repeat("220-and more\r\n")], &["fail greeting: a reply without end", UNREACHABLE]),
        ("a line without end", vec![Repeat("220 xxxxxxxx")], &["fail greeting: a reply without end", UNREACHABLE]),
        (
            "a greeting of several lines, and no STARTTLS",
            vec![Say("220-relay\r\n220 ESMTP\r\n"), Line, Say("250-relay\r\n250 SIZE 1000\r\n"), Wait],
            &["fail starttls: the relay does not offer STARTTLS", UNREACHABLE],
        ),
        (
            "EHLO refused",
            vec![Say("220 relay\r\n"), Line, Say("502 no\r\n")],
            &["fail ehlo: the relay says: 502 no", UNREACHABLE],
        ),
        (
            "STARTTLS not now",
            greeted(&[Say("454 4.7.0 TLS not available\r\n")]),
            &["fail starttls: the relay says: 454 4.7.0 TLS not available", UNREACHABLE],
        ),
        (
            "something before TLS",
            greeted(&[Say("220 go ahead\r\n250 injected\r\n"), Wait]),
            &["fail starttls: something was sent between STARTTLS and TLS", UNREACHABLE],
        ),
        (
            "no TLS after all",
            greeted(&[Say("220 go ahead\r\n"), Line, Say("500 what?\r\n"), Wait]),
            &["fail tls: TLS failed", UNREACHABLE],
        ),
        (
            "silence instead of TLS",
            greeted(&[Say("220 go ahead\r\n"), Wait]),
            &["unknown tls: no answer to TLS in time", NOT_KNOWN],
        ),
    ];
    for (number, (name, steps, expected)) in cases.into_iter().enumerate() {
        let address = format!("127.0.7.{}", number + 1);
        script(&address, steps)?;
        expect(&lab, name, &config(&lab, &address, &[]), expected)?;
    }
    expect(
        &lab,
        "the lab's relay without TLS",
        &config(&lab, "plain.conbool.test", &[]),
        &["fail starttls: the relay does not offer STARTTLS", UNREACHABLE],
    )?;
    Ok(())
}

fn several_addresses() -> Result<(), Error> {
    let mut lab = Lab::start("doctor-addresses")?;
    let records =
        ["A 127.0.3.1", "A 127.0.8.8", "AAAA 2001:db8::1"].map(|record| format!("many.conbool.test {record}"));
    lab.dns.serve_records(&records)?;
    let keys = config(&lab, "many.conbool.test", &[]);
    let found = expect(
        &lab,
        "one of two",
        &keys,
        &["fail connect: nothing listens on port 25", "warn reachable: SMTP reachable at 1 of 2 addresses"],
    )?;
    let no_way = "not tried: this host has no way to IPv6 addresses, and uses the others";
    if !found.iter().any(|finding| finding.subject == "[2001:db8::1]:25" && finding.seen == no_way) {
        return Err("the address of the other family is not told of".into());
    }
    lab.dns.serve_records(&records[2..])?;
    expect(&lab, "no way at all", &keys, &[NOT_KNOWN])?;
    Ok(())
}
