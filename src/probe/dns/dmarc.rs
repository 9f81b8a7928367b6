//! What receivers are asked to do with forged mail (DMARC, RFC 9989; reports, RFC 9990).

use mail_auth::common::parse::TxtRecordParser;
use mail_auth::dmarc::{Dmarc, Policy};

use super::{NoRecord, Survey, finding, tags, unknown, zone};
use crate::finding::{Finding, Status};
use crate::probe::shown;

const CHECK: &str = "dmarc";

/// Most names that receivers try on their way up (RFC 9989, section 4.10).
const MAX_STEPS: usize = 8;

/// Most addresses for reports that are looked at.
const MAX_ADDRESSES: usize = 10;

/// Whether there is one record, here or above, what it asks for, and whether its reports arrive.
pub async fn examine(survey: &Survey, domain: &str) -> Vec<Finding> {
    let own = format!("_dmarc.{domain}");
    let mut place = domain;
    for _ in 0..MAX_STEPS {
        let name = format!("_dmarc.{place}");
        let records = match survey.resolver.txt(&name).await {
            Ok(records) => records.iter().map(|record| record.text()).filter(|text| is_dmarc(text)).collect(),
            Err(NoRecord::Unknown(why)) => return vec![unknown(CHECK, domain, &format!("the record {name}"), &why)],
            Err(NoRecord::NoName | NoRecord::NoData) => Vec::new(),
        };
        match records.as_slice() {
            [] => {}
            [text] => return one(survey, domain, place, text).await,
            more => {
                let seen =
                    format!("{} DMARC records at {name}; receivers take that for none (RFC 9989, 4.10)", more.len());
                let mend = format!("in place of all {}:\n{}", more.len(), zone::txt(&name, more[0].as_str()));
                return vec![finding(CHECK, domain, Status::Fail, seen).mended_by(mend)];
            }
        }
        match place.split_once('.') {
            // A top-level domain has none for others.
            Some((_, above)) if above.contains('.') => place = above,
            _ => break,
        }
    }
    let seen = "no DMARC record, here or above: receivers are not asked to refuse forged mail";
    let record = format!("v=DMARC1; p=none; rua=mailto:postmaster@{domain}");
    vec![finding(CHECK, domain, Status::Warn, seen).mended_by(zone::txt(&own, &record))]
}

/// Whether a TXT record is a DMARC record: others are passed over.
fn is_dmarc(text: &str) -> bool {
    let version = text.split(';').next().and_then(|tag| tag.split_once('='));
    version.is_some_and(|(name, value)| name.trim() == "v" && value.trim() == "DMARC1")
}

/// The only record, found at `place`, which is the domain or one above.
async fn one(survey: &Survey, domain: &str, place: &str, text: &str) -> Vec<Finding> {
    let name = format!("_dmarc.{place}");
    let fail = |seen: String, corrected: String| {
        vec![finding(CHECK, domain, Status::Fail, seen).mended_by(zone::txt(&name, &corrected))]
    };
    let default = || format!("v=DMARC1; p=none; rua=mailto:postmaster@{place}");
    let list = match tags::parse(text) {
        Ok(list) => list,
        Err(part) => {
            return fail(format!("\"{}\" is not a name and a value, in: {}", shown(part), shown(text)), default());
        }
    };
    if let Some(tag) = tags::twice(&list) {
        return fail(format!("the tag {tag}= is there twice, in: {}", shown(text)), default());
    }
    let with = |tag: &str, value: &str| {
        let mut tags: Vec<String> = Vec::new();
        for (name, old) in &list {
            tags.push(format!("{name}={}", if name == tag { value } else { old }));
        }
        if tags::value(&list, tag).is_none() {
            tags.insert(1, format!("{tag}={value}"));
        }
        tags.join("; ")
    };
    let Ok(record) = Dmarc::parse(text.as_bytes()) else {
        let policies = ["none", "quarantine", "reject"];
        for tag in ["p", "sp", "np"] {
            let value = tags::value(&list, tag);
            if let Some(value) = value.filter(|value| !policies.iter().any(|known| known.eq_ignore_ascii_case(value))) {
                return fail(
                    format!("{tag}={} is no policy; receivers take the record for an error", shown(value)),
                    with(tag, "quarantine"),
                );
            }
        }
        return fail(format!("receivers cannot read it: {}", shown(text)), default());
    };
    let inherited = place != domain;
    let policy = if inherited { record.sp } else { record.p };
    let whence = if inherited { format!(" (from {name})") } else { String::new() };
    let tag = if inherited && tags::value(&list, "sp").is_some() { "sp" } else { "p" };
    let mut found = vec![match policy {
        Policy::Unspecified => {
            let seen = format!("no p= in it{whence}: {}", shown(text));
            finding(CHECK, domain, Status::Fail, seen).mended_by(zone::txt(&name, &with("p", "quarantine")))
        }
        Policy::None => {
            let seen = format!("{tag}=none{whence}: receivers only report forged mail");
            finding(CHECK, domain, Status::Warn, seen).mended_by(format!(
                "once the reports show that your own mail passes:\n{}",
                zone::txt(&name, &with(tag, "quarantine"))
            ))
        }
        Policy::Quarantine | Policy::Reject => finding(CHECK, domain, Status::Pass, format!("{}{whence}", shown(text))),
    }];
    if let Some(percent) = tags::value(&list, "pct").filter(|percent| *percent != "100") {
        let seen = format!(
            "pct={}: a part of the forged mail passes, and newer receivers ignore pct (RFC 9989)",
            shown(percent)
        );
        let mend = zone::txt(&name, &with("pct", "100"));
        found.push(finding(CHECK, domain, Status::Warn, seen).mended_by(mend));
    }
    if record.t {
        let seen = "t=y says that the policy is a test";
        found.push(finding(CHECK, domain, Status::Warn, seen).mended_by(zone::txt(&name, &with("t", "n"))));
    }
    found.extend(reports(survey, domain, place, &list).await);
    found
}

/// Whether the addresses for aggregate reports can be used, and those elsewhere have agreed (RFC 9990, section 4).
async fn reports(survey: &Survey, domain: &str, place: &str, list: &[(String, &str)]) -> Vec<Finding> {
    const REPORTS: &str = "dmarc-reports";
    let Some(addresses) = tags::value(list, "rua") else { return Vec::new() };
    let mut found = Vec::new();
    for address in addresses.split(',').map(str::trim).take(MAX_ADDRESSES) {
        let mailbox = address.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("mailto:")).and(address.get(7..));
        // A greatest size may follow (RFC 7489, section 6.2).
        let mailbox = mailbox.map(|mailbox| mailbox.split('!').next().unwrap_or_default());
        let host = mailbox.and_then(|mailbox| mailbox.rsplit_once('@')).map(|(_, host)| host.to_ascii_lowercase());
        let Some(host) = host.filter(|host| host.contains('.')) else {
            let seen = format!("rua={} is no address; reports go to mailto: addresses only", shown(address));
            let mend = zone::txt(&format!("_dmarc.{place}"), &format!("v=DMARC1; …; rua=mailto:postmaster@{place}"));
            found.push(finding(REPORTS, domain, Status::Fail, seen).mended_by(mend));
            continue;
        };
        let within =
            |one: &str, other: &str| one == other || one.strip_suffix(other).is_some_and(|rest| rest.ends_with('.'));
        if within(&host, place) || within(place, &host) {
            continue;
        }
        let permission = format!("{place}._report._dmarc.{host}");
        match survey.resolver.txt(&permission).await {
            Ok(records) if records.iter().any(|record| is_dmarc(&record.text())) => {}
            Err(NoRecord::Unknown(why)) => {
                found.push(unknown(REPORTS, domain, &format!("whether {host} takes the reports"), &why));
            }
            _ => {
                let seen = format!("{host} has not agreed to take reports, so none are sent there");
                let mend = format!("{host} must publish: {}", zone::txt(&permission, "v=DMARC1"));
                found.push(finding(REPORTS, domain, Status::Warn, seen).mended_by(mend));
            }
        }
    }
    if found.is_empty() {
        found.push(finding(REPORTS, domain, Status::Pass, format!("reports go to {}", shown(addresses))));
    }
    found
}
