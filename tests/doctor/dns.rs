//! The records of a domain: the cases in `records.txt`, and name servers that fail, are silent, or lie.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use crate::lab::namespace::NAME_SERVER;
use crate::lab::{self, Error, Lab};
use crate::{Expected, Finding, code_of, compare, findings, good_config, write_config};

/// The records of a domain that doctor has nothing to say against. `{NAME}` stands for the key in `keys/NAME`.
pub const GOOD: &str = "\
customer.test MX 10 mx1.provider.test
customer.test MX 20 mx2.provider.test
mx1.provider.test A 192.0.2.1
mx2.provider.test A 192.0.2.2
customer.test TXT v=spf1 mx include:_spf.provider.test ip4:192.0.2.25 ip6:2001:db8::25 -all
_spf.provider.test TXT v=spf1 ip4:198.51.100.0/24 -all
mail._domainkey.customer.test TXT v=DKIM1; k=rsa; p={rsa2048}
_dmarc.customer.test TXT v=DMARC1; p=reject; rua=mailto:postmaster@customer.test
customer.test TXT provider-verification=42";

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doctor");

pub fn trials() -> Vec<Trial> {
    vec![
        lab::trial("records_and_what_is_said_of_them", records),
        lab::trial("name_servers_that_fail_leave_everything_unknown", failing_servers),
        lab::trial("a_name_server_that_lies_is_not_believed", lying_server),
        lab::trial("many_records_and_many_domains_are_looked_at_to_their_limits", many),
    ]
}

/// One case: lines beginning with `-` take records out of the good ones (name and type), with `+` add some, with `~` set
/// keys of the configuration (`section.key = value`), with `?` expect findings, and with `>` expect lines that mend the
/// finding above. All other findings pass.
struct Case {
    title: String,
    records: Vec<String>,
    config: BTreeMap<(String, String), String>,
    expected: Vec<Expected>,
}

fn key(name: &str) -> Result<String, Error> {
    Ok(fs::read_to_string(format!("{FOLDER}/keys/{name}"))?.trim().to_owned())
}

fn with_keys(record: &str) -> Result<String, Error> {
    let mut record = record.to_owned();
    for name in ["rsa512", "rsa1024", "rsa2048", "ed25519", "p256"] {
        record = record.replace(&format!("{{{name}}}"), &key(name)?);
    }
    Ok(record)
}

pub fn good_records() -> Result<Vec<String>, Error> {
    GOOD.lines().map(with_keys).collect()
}

fn cases() -> Result<Vec<Case>, Error> {
    let text = fs::read_to_string(format!("{FOLDER}/records.txt"))?;
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (sign, rest) = line.split_at(1);
        let rest = rest.trim();
        if sign == "#" {
            continue;
        }
        if !"-+~?>".contains(sign) {
            let (records, config) = (good_records()?, good_config());
            cases.push(Case { title: line.into(), records, config, expected: Vec::new() });
            continue;
        }
        let case = cases.last_mut().ok_or("a line before the first title")?;
        match sign {
            "-" => {
                let before = case.records.len();
                case.records.retain(|record| !record.starts_with(rest));
                if case.records.len() == before {
                    return Err(format!("{}: nothing begins with {rest:?}", case.title).into());
                }
            }
            "+" => case.records.push(with_keys(rest)?),
            "~" => {
                let (key, value) = rest.split_once(" = ").ok_or("no key and value")?;
                let (section, key) = key.split_once('.').unwrap_or(("", key));
                case.config.insert((section.into(), key.into()), value.into());
            }
            "?" => case.expected.push(Expected::parse(rest)?),
            _ => case.expected.last_mut().ok_or("nothing to mend")?.mend.push(with_keys(rest)?),
        }
    }
    Ok(cases)
}

fn records() -> Result<(), Error> {
    let mut lab = Lab::start("doctor-records")?;
    let mut wrong = String::new();
    let cases = cases()?;
    if cases.len() < 40 {
        return Err(format!("only {} cases in records.txt", cases.len()).into());
    }
    for case in cases {
        lab.dns.serve_records(&case.records)?;
        let config = write_config(&lab.dir, &case.config)?;
        let (found, code) = findings(&config, &["dns"])?;
        let mut problems = compare(&found, &case.expected);
        if code != code_of(&found) {
            problems.push(format!("exit code {code}"));
        }
        if !problems.is_empty() {
            let _ = writeln!(wrong, "{}\n  {}", case.title, problems.join("\n  "));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.into()) }
}

/// An error unless nothing is said to be there or absent.
fn all_unknown(found: &[Finding], code: i32, why: &str) -> Result<(), Error> {
    let asked = |finding: &&Finding| !matches!(finding.check.as_str(), "dmarc-reports");
    let known: Vec<String> =
        found.iter().filter(asked).filter(|finding| finding.status != "unknown").map(Finding::line).collect();
    let told = found.iter().any(|finding| finding.seen.contains(why));
    if known.is_empty() && told && code == 3 && found.len() >= 5 {
        return Ok(());
    }
    let lines: Vec<String> = found.iter().map(Finding::line).collect();
    Err(format!("not all unknown because of {why:?}, exit code {code}:\n{}", lines.join("\n")).into())
}

fn failing_servers() -> Result<(), Error> {
    let mut lab = Lab::start("doctor-failing")?;
    let config = write_config(&lab.dir, &good_config())?;
    lab.dns.fail()?;
    let (found, code) = findings(&config, &["dns"])?;
    all_unknown(&found, code, "SERVFAIL")?;
    lab.dns.refuse()?;
    let (found, code) = findings(&config, &["dns"])?;
    all_unknown(&found, code, "REFUSED")?;
    lab.dns.stop();
    let (found, code) = findings(&config, &["dns", "--timeout", "2"])?;
    all_unknown(&found, code, "could not be looked up")?;
    // One that takes questions and never answers.
    lab.dns.hang()?;
    let begun = Instant::now();
    let (found, code) = findings(&config, &["dns", "--timeout", "2"])?;
    all_unknown(&found, code, "no answer from the name server")?;
    if begun.elapsed() > lab::process::PATIENCE {
        return Err("a silent name server made it hang".into());
    }
    Ok(())
}

/// Answers every question with these bytes behind the question's id, until it is dropped.
struct Liar(Arc<AtomicBool>);

impl Liar {
    fn start(lie: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> Result<Self, Error> {
        let socket = UdpSocket::bind((NAME_SERVER, 53))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        std::thread::spawn(move || {
            let mut question = [0; 1024];
            while !seen.load(Ordering::Relaxed) {
                if let Ok((length, client)) = socket.recv_from(&mut question) {
                    let _ = socket.send_to(&lie(&question[..length]), client);
                }
            }
        });
        Ok(Self(over))
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn lying_server() -> Result<(), Error> {
    let mut lab = Lab::start("doctor-lying")?;
    let config = write_config(&lab.dir, &good_config())?;
    lab.dns.stop();
    // Garbage; the answer to another question; a truncated answer with no TCP behind it; a name that points to itself.
    type Lie = fn(&[u8]) -> Vec<u8>;
    let lies: [(&str, Lie); 4] = [
        ("garbage", |_| vec![0xff; 512]),
        ("another id", |question| {
            let mut answer = question.to_vec();
            answer[0] ^= 0x55;
            answer[2] |= 0x80;
            answer
        }),
        ("truncated", |question| {
            let mut answer = question.to_vec();
            answer[2] |= 0x82;
            answer
        }),
        ("a name that points to itself", |question| {
            let mut answer = question[..12].to_vec();
            answer[2] |= 0x80;
            (answer[5], answer[7], answer[11]) = (0, 1, 0);
            // RFC 1035, 4.1.4: a pointer to its own place, then type TXT, class IN, time to live, length, data.
            answer.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 9, 0, 2, 1, b'x']);
            answer
        }),
    ];
    for (name, lie) in lies {
        let liar = Liar::start(lie)?;
        let (found, code) = findings(&config, &["dns", "--timeout", "2"])?;
        all_unknown(&found, code, "could not be looked up").map_err(|error| format!("{name}: {error}"))?;
        drop(liar);
    }
    Ok(())
}

fn many() -> Result<(), Error> {
    let mut lab = Lab::start("doctor-many")?;
    let mut records = good_records()?;
    records.retain(|record| !record.contains(" MX ") && !record.contains("v=spf1 mx"));
    records.push("customer.test TXT v=spf1 include:_spf.provider.test ip4:192.0.2.25 ip6:2001:db8::25 -all".into());
    for host in 0..300 {
        records.push(format!("customer.test MX 10 h{host}.provider.test"));
    }
    records.push("h0.provider.test A 192.0.2.1".into());
    for text in 0..40 {
        records.push(format!("customer.test TXT {text} {}", "x".repeat(200)));
    }
    lab.dns.serve_records(&records)?;
    let mut config = good_config();
    config.insert(("lock_down".into(), "mx_hosts".into()), "[\"*.provider.test\"]".into());
    let (found, _) = findings(&write_config(&lab.dir, &config)?, &["dns"])?;
    let of = |check: &str| found.iter().filter(|finding| finding.check == check).collect::<Vec<_>>();
    let told = of("mx-hosts").iter().any(|finding| finding.seen == "300 MX hosts; only 20 were looked up");
    if !told || of("mx-hosts").len() > 21 || of("spf").first().is_none_or(|finding| finding.status != "pass") {
        return Err(found.iter().map(Finding::line).collect::<Vec<_>>().join("\n").into());
    }
    let domains: Vec<String> = (0..200).map(|number| format!("\"d{number}.test\"")).collect();
    config.insert((String::new(), "domains".into()), format!("[{}]", domains.join(", ")));
    let (found, code) = findings(&write_config(&lab.dir, &config)?, &["dns"])?;
    let subjects: Vec<&str> =
        found.iter().filter(|finding| finding.check == "mx").map(|finding| finding.subject.as_str()).collect();
    let in_order = subjects.iter().enumerate().all(|(number, subject)| *subject == format!("d{number}.test"));
    if subjects.len() == 200 && in_order && code == 1 { Ok(()) } else { Err(format!("{subjects:?}").into()) }
}
