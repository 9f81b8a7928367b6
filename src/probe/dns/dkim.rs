//! The keys by which receivers check signatures (DKIM, RFC 6376, section 3.6).

use mail_auth::Error;
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::dkim::DkimError;
use mail_parser::decoders::base64::base64_decode;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::{NoRecord, Survey, absence, finding, tags, unknown};
use crate::finding::{Finding, Status};
use crate::probe::shown;

const CHECK: &str = "dkim";

/// Shorter RSA keys are not even looked at (RFC 8301, section 3.2), in bits.
const LEAST_BITS: usize = 1024;

/// What signers should use (the same section), in bits.
const GOOD_BITS: usize = 2048;

/// Whether each selector of the site has a key that receivers take.
pub async fn examine(survey: &Survey, domain: &str) -> Vec<Finding> {
    let selectors = &survey.wanted.doctor.dkim_selectors;
    if selectors.is_empty() {
        let seen = "with which selector the site's mail is signed is not known, and DNS does not tell";
        let mend = "[doctor] dkim_selectors = [\"SELECTOR\"], with the s= of a DKIM-Signature in mail of yours";
        return vec![finding(CHECK, domain, Status::Unknown, seen).mended_by(mend)];
    }
    let mut found = Vec::new();
    for selector in selectors {
        let name = format!("{selector}._domainkey.{domain}");
        found.push(match survey.resolver.txt(&name).await {
            Err(NoRecord::Unknown(why)) => unknown(CHECK, &name, "the key", &why),
            Err(missing) => {
                let seen = format!("no key: {}", absence(&missing));
                finding(CHECK, &name, Status::Fail, seen).mended_by(publish(&name))
            }
            Ok(records) => match records.as_slice() {
                [record] => key(&name, &record.text()),
                more => {
                    let seen =
                        format!("{} TXT records; which of them counts is not defined (RFC 6376, 3.6.2.2)", more.len());
                    finding(CHECK, &name, Status::Fail, seen).mended_by(format!("leave one: {}", publish(&name)))
                }
            },
        });
    }
    found
}

fn publish(name: &str) -> String {
    format!("{name}. IN TXT \"v=DKIM1; k=rsa; p=PUBLIC-KEY\", with the public key of your signer or of the provider")
}

/// What is to be said of one record.
fn key(name: &str, text: &str) -> Finding {
    let fail = |seen: String| finding(CHECK, name, Status::Fail, seen).mended_by(publish(name));
    let tags = match tags::parse(text) {
        Ok(tags) => tags,
        Err(part) => return fail(format!("\"{}\" is not a name and a value; seen: \"{}\"", shown(part), shown(text))),
    };
    if let Some(tag) = tags::twice(&tags) {
        return fail(format!("the tag {tag}= is there twice"));
    }
    let version = tags.iter().position(|(tag, _)| tag == "v");
    if version.is_some_and(|at| at > 0) || tags::value(&tags, "v").is_some_and(|version| version != "DKIM1") {
        return fail("v= must come first and be DKIM1; receivers pass over this record".into());
    }
    let list = |tag: &str| tags::value(&tags, tag).map(|value| value.split(':').map(str::trim).collect::<Vec<_>>());
    if list("h").is_some_and(|hashes| !hashes.contains(&"sha256")) {
        return fail("h= does not allow sha256, the one hash that signatures may have (RFC 8301)".into());
    }
    if list("s").is_some_and(|services| !services.contains(&"*") && !services.contains(&"email")) {
        return fail("s= does not allow e-mail".into());
    }
    match tags::value(&tags, "p") {
        None => return fail(format!("no key in it: \"{}\"", shown(text))),
        Some("") => return fail("the key is revoked: p= is empty".into()),
        Some(_) => {}
    }
    let key_type = tags::value(&tags, "k").unwrap_or("rsa");
    if let Err(problem) = DomainKey::parse(text.as_bytes()) {
        return fail(match problem {
            Error::Dkim(DkimError::UnsupportedKeyType) => {
                format!("k={} is no type of key that receivers know", shown(key_type))
            }
            _ => format!("p= holds no {} key", shown(key_type)),
        });
    }
    let strength = strength(key_type, tags::value(&tags, "p").unwrap_or_default());
    let testing = list("t").is_some_and(|flags| flags.contains(&"y"));
    match strength {
        Err(problem) => fail(problem),
        Ok((Status::Pass, kind)) if testing => {
            let seen = format!("{kind}; t=y says that it is a test, and receivers may ignore bad signatures");
            finding(CHECK, name, Status::Warn, seen).mended_by(format!("the same record without t=y: {name}. IN TXT"))
        }
        Ok((Status::Pass, kind)) => finding(CHECK, name, Status::Pass, kind),
        Ok((status, kind)) => {
            let seen = format!("{kind}; {GOOD_BITS} are what RFC 8301 wants");
            finding(CHECK, name, status, seen)
                .mended_by(format!("make a new key of {GOOD_BITS} bits with a new selector, and publish it"))
        }
    }
}

/// What a key is, and whether that is enough.
fn strength(key_type: &str, encoded: &str) -> Result<(Status, String), String> {
    let compact: String = encoded.split_ascii_whitespace().collect();
    let bytes = base64_decode(compact.as_bytes()).ok_or("p= is not base64")?;
    if key_type.eq_ignore_ascii_case("ed25519") {
        return match bytes.len() {
            32 => Ok((Status::Pass, "Ed25519 key".into())),
            length => Err(format!("p= holds {length} bytes; an Ed25519 key has 32 (RFC 8463)")),
        };
    }
    let info = SubjectPublicKeyInfo::from_der(&bytes).map_err(|_| "p= holds no RSA key")?.1;
    let Ok(PublicKey::RSA(key)) = info.parsed() else { return Err("p= holds another key than an RSA key".into()) };
    let bits = key.key_size();
    let status = match bits {
        0..LEAST_BITS => Status::Fail,
        LEAST_BITS..GOOD_BITS => Status::Warn,
        _ => Status::Pass,
    };
    Ok((status, format!("RSA key of {bits} bits")))
}
