//! Who may send mail of a domain (SPF, RFC 7208).

mod expansion;
mod record;

use self::expansion::Expansion;
use self::record::{Kind, Record};
use super::{NoRecord, Survey, absence, finding, unknown, zone};
use crate::finding::{Finding, Status};
use crate::probe::resolver::Txt;
use crate::probe::shown;

/// Look-ups that a record may cost a receiver (RFC 7208, section 4.6.4).
const MAX_LOOK_UPS: usize = 10;

/// Those of them that may find nothing (the same section).
const MAX_VOID: usize = 2;

/// Longest record that surely fits into an answer over UDP, in bytes (RFC 7208, section 3.4).
const MAX_LENGTH: usize = 450;

/// Whether there is one record, whether receivers can evaluate it, whom it lets in, and whether the site's mail passes.
pub async fn examine(survey: &Survey, domain: &str) -> Vec<Finding> {
    let records = match survey.resolver.txt(domain).await {
        Ok(records) => records,
        Err(NoRecord::Unknown(why)) => return vec![unknown("spf", domain, "the SPF record", &why)],
        Err(missing) => return vec![none(survey, domain, &format!("no SPF record: {}", absence(&missing)))],
    };
    let (spf, other): (Vec<&Txt>, Vec<&Txt>) = records.iter().partition(|record| record::is_spf(&record.text()));
    let [txt] = spf[..] else {
        return vec![match spf.len() {
            0 => match other.iter().find(|record| record.text().to_ascii_lowercase().contains("spf1")) {
                Some(near) => {
                    none(survey, domain, &format!("no SPF record; this is none: \"{}\"", shown(&near.text())))
                }
                None => none(survey, domain, "no SPF record among the TXT records"),
            },
            count => several(survey, domain, &spf, count),
        }];
    };
    let text = txt.text();
    let record = match Record::parse(&text) {
        Ok(record) => record,
        Err(wrong) => return vec![malformed(domain, txt, &wrong)],
    };
    let mut found = vec![finding("spf", domain, Status::Pass, shown(&text))];
    found.extend(length(domain, &text));
    found.extend(openness(domain, &record));
    let expansion = Expansion::of(&survey.resolver, domain, &record).await;
    found.push(limits(domain, &expansion));
    found.extend(sources(survey, domain, &record, &expansion));
    found
}

fn none(survey: &Survey, domain: &str, seen: &str) -> Finding {
    let record = ["v=spf1".to_owned(), "mx".to_owned()].into_iter().chain(survey.wanted.spf_terms());
    let text: Vec<String> = record.chain(["-all".to_owned()]).collect();
    finding("spf", domain, Status::Fail, seen).mended_by(zone::txt(domain, &text.join(" ")))
}

/// More than one record is an error to receivers (RFC 7208, section 4.5): one that holds what all of them hold mends it.
fn several(survey: &Survey, domain: &str, records: &[&Txt], count: usize) -> Finding {
    let mut terms: Vec<String> = Vec::new();
    let texts: Vec<String> = records.iter().map(|record| record.text()).collect();
    for term in texts.iter().flat_map(|text| text.split_ascii_whitespace().skip(1).map(str::to_owned)) {
        if !terms.iter().any(|known| known.eq_ignore_ascii_case(&term)) {
            terms.push(term);
        }
    }
    let (mut all, mut others): (Vec<String>, Vec<String>) = terms
        .into_iter()
        .partition(|term| matches!(term.to_ascii_lowercase().as_str(), "-all" | "~all" | "?all" | "all" | "+all"));
    all.sort_by_key(|term| "-~?".find(term.as_str().chars().next().unwrap_or('+')).unwrap_or(3));
    others.extend(survey.wanted.spf_terms().into_iter().filter(|term| !others.contains(term)).collect::<Vec<_>>());
    others.push(all.into_iter().next().unwrap_or_else(|| "-all".into()));
    let seen = format!("{count} SPF records; to receivers that is an error (RFC 7208, 4.5), as if all failed");
    let mend = format!("in place of all {count}:\n{}", zone::txt(domain, &format!("v=spf1 {}", others.join(" "))));
    finding("spf", domain, Status::Fail, seen).mended_by(mend)
}

fn malformed(domain: &str, txt: &Txt, wrong: &record::Malformed) -> Finding {
    let mut seen =
        format!("\"{}\" {}; receivers take the whole record for an error", shown(&wrong.term), wrong.problem);
    let split = txt.0.windows(2).any(|pair| match pair {
        [one, next] => !one.ends_with(' ') && !next.starts_with(' '),
        _ => false,
    });
    if split {
        seen.push_str("; its strings are put together without a space between them (RFC 7208, 3.3)");
        let spaced: Vec<&str> = txt.0.iter().map(|string| string.trim()).collect();
        return finding("spf", domain, Status::Fail, seen).mended_by(zone::txt(domain, &spaced.join(" ")));
    }
    let text = txt.text();
    let corrected = text.split_ascii_whitespace().filter_map(|term| match term == wrong.term {
        true => wrong.instead.clone(),
        false => Some(term.to_owned()),
    });
    let corrected: Vec<String> = corrected.collect();
    finding("spf", domain, Status::Fail, seen).mended_by(zone::txt(domain, &corrected.join(" ")))
}

fn length(domain: &str, text: &str) -> Option<Finding> {
    (text.len() > MAX_LENGTH).then(|| {
        let seen = format!("the record has {} bytes; answers of more than 512 do not reach everybody", text.len());
        let mend = format!(
            "move mechanisms into a record of their own, such as _spf.{domain}, and write include:_spf.{domain}"
        );
        finding("spf-length", domain, Status::Warn, seen).mended_by(mend)
    })
}

/// Whether the record says anything at all about everybody else, and whether it asks for what nobody should (5.5).
fn openness(domain: &str, record: &Record) -> Vec<Finding> {
    let check = "spf-policy";
    let ending = record.terms.iter().find(|term| term.kind == Kind::All);
    let mut found = Vec::new();
    let with = |old: Option<&str>, new: &str| {
        let terms = record.text.split_ascii_whitespace().filter(|term| Some(*term) != old);
        let terms: Vec<&str> = terms.chain((!new.is_empty()).then_some(new)).collect();
        zone::txt(domain, &terms.join(" "))
    };
    match ending {
        Some(all) if all.passes => {
            let seen = format!("\"{}\" lets everybody send as {domain}", all.text);
            found.push(finding(check, domain, Status::Fail, seen).mended_by(with(Some(&all.text), "-all")));
        }
        Some(all) if all.text.starts_with('?') => {
            let seen = format!("\"{}\" says nothing about forged mail", all.text);
            found.push(finding(check, domain, Status::Warn, seen).mended_by(with(Some(&all.text), "-all")));
        }
        Some(_) => {}
        None if record.redirect().is_some() => {}
        None => {
            let seen = "the record has no \"all\", and says nothing about forged mail";
            found.push(finding(check, domain, Status::Warn, seen).mended_by(with(None, "-all")));
        }
    }
    if let Some(ptr) = record.terms.iter().find(|term| term.kind == Kind::Ptr) {
        let seen = format!("\"{}\" is slow and unreliable, and should not be used (RFC 7208, 5.5)", ptr.text);
        found.push(finding(check, domain, Status::Warn, seen).mended_by(with(Some(&ptr.text), "")));
    }
    found
}

/// Whether receivers give up before the end of the record.
fn limits(domain: &str, expansion: &Expansion) -> Finding {
    let check = "spf-limits";
    if let Some((target, problem)) = expansion.broken.first() {
        let seen = format!("\"{target}\" makes the record an error to receivers: {problem}");
        return finding(check, domain, Status::Fail, seen).mended_by(format!(
            "remove \"{target}\" from the TXT record of {domain}., or have its owner publish one SPF record"
        ));
    }
    let count = expansion.look_ups;
    if count > MAX_LOOK_UPS {
        let more = if expansion.cut_short { "more than " } else { "" };
        let seen = format!(
            "evaluating the record takes {more}{count} look-ups; receivers stop at {MAX_LOOK_UPS} (RFC 7208, 4.6.4)"
        );
        let costly: Vec<String> = expansion.costs.iter().map(|(term, cost)| format!("{term} ({cost})")).collect();
        let mend =
            format!("write addresses (ip4:, ip6:) for some of these, or remove them: {}", shown(&costly.join(", ")));
        return finding(check, domain, Status::Fail, seen).mended_by(mend);
    }
    if expansion.void.len() > MAX_VOID {
        let seen =
            format!("{} look-ups find nothing; receivers stop at {MAX_VOID} (RFC 7208, 4.6.4)", expansion.void.len());
        return finding(check, domain, Status::Fail, seen)
            .mended_by(format!("remove what does not exist: {}", shown(&expansion.void.join(", "))));
    }
    if let Some((name, why)) = expansion.unknown.first() {
        return unknown(check, domain, &format!("the records of {name}, which the record needs,"), why);
    }
    finding(check, domain, Status::Pass, format!("{count} of {MAX_LOOK_UPS} look-ups"))
}

/// Whether what the relay sends, and what leaves the site past it, comes from whom the record names.
fn sources(survey: &Survey, domain: &str, record: &Record, expansion: &Expansion) -> Vec<Finding> {
    let (doctor, mut found) = (&survey.wanted.doctor, Vec::new());
    let with = |term: &str| zone::txt(domain, &record.with(term));
    let missing: Vec<&String> = doctor.spf_include.iter().filter(|name| !expansion.includes.contains(*name)).collect();
    for name in &missing {
        let seen = format!("the record does not include {name}, from which the relay sends");
        found.push(finding("spf-relay", domain, Status::Fail, seen).mended_by(with(&format!("include:{name}"))));
    }
    if doctor.spf_include.is_empty() {
        let seen = "what the record must include for the relay is not known";
        let mend = "[doctor] spf_include = [\"spf.example.net\"], with the name that the provider has given you";
        found.push(finding("spf-relay", domain, Status::Unknown, seen).mended_by(mend));
    } else if missing.is_empty() {
        let names = doctor.spf_include.join(", ");
        found.push(finding("spf-relay", domain, Status::Pass, format!("includes {names}")));
    }
    match &survey.wanted.direct {
        Err(why) => {
            let seen = format!("from which public addresses exempt mail leaves is not known: {why}");
            let mend = "[doctor] direct_addresses = [\"192.0.2.25\"], with the addresses that receivers see";
            found.push(finding("spf-direct", domain, Status::Unknown, seen).mended_by(mend));
        }
        Ok(addresses) => {
            let outside: Vec<_> = addresses.iter().filter(|address| !expansion.lets(address)).collect();
            let unclear = expansion.has_macros || !expansion.unknown.is_empty();
            for address in &outside {
                let shown = record::written(address);
                let (status, seen) = if unclear {
                    let seen =
                        format!("whether exempt mail from {shown} passes depends on what could not be evaluated");
                    (Status::Unknown, seen)
                } else {
                    (Status::Fail, format!("exempt mail goes out from {shown}, which the record does not name"))
                };
                found.push(finding("spf-direct", domain, status, seen).mended_by(with(&record::of(address))));
            }
            if outside.is_empty() {
                let addresses: Vec<String> = addresses.iter().map(record::of).collect();
                found.push(finding(
                    "spf-direct",
                    domain,
                    Status::Pass,
                    format!("names {}", shown(&addresses.join(", "))),
                ));
            }
        }
    }
    found
}

impl super::Wanted {
    /// What an SPF record needs for the relay and for exempt mail, as far as that is known.
    fn spf_terms(&self) -> Vec<String> {
        let includes = self.doctor.spf_include.iter().map(|name| format!("include:{name}"));
        includes.chain(self.direct.iter().flatten().map(record::of)).collect()
    }
}
