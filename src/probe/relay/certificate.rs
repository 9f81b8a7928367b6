//! Whether the relay's certificate is what the mail server will insist on: chain, name, time, strength.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_rustls::rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{CertificateError, Error};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use super::finding;
use super::tls::{Seen, Settings};
use crate::finding::{Finding, Status};
use crate::probe::shown;

/// A certificate that ends sooner than this has been forgotten: most are renewed a month before.
const RENEWAL: Duration = Duration::from_secs(14 * 24 * 3600);

/// RSA keys below this are weak (NIST SP 800-131A), in bits.
const GOOD_BITS: usize = 2048;

/// Findings about each part of a certificate.
pub fn judge(subject: &str, settings: &Settings, seen: &Seen) -> Vec<Finding> {
    let Some(leaf) = seen.chain.first() else {
        return vec![
            finding("certificate", subject, Status::Fail, "the relay shows no certificate").mended_by(PROVIDER),
        ];
    };
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else {
        let what = "the relay's certificate cannot be read";
        return vec![finding("certificate", subject, Status::Fail, what).mended_by(PROVIDER)];
    };
    let mut found = vec![
        chain(subject, settings, seen, &certificate),
        name(subject, settings, seen, &certificate),
        validity(subject, &certificate),
    ];
    found.extend(strength(subject, &certificate));
    if let Some(problem) = &seen.bad_signature {
        let what = format!("the relay does not prove that it has the certificate's key: {problem}");
        found.push(finding("certificate", subject, Status::Fail, what).mended_by(PROVIDER));
    }
    found
}

const PROVIDER: &str = "ask the provider; until it is mended, mail for the relay waits in the queue";

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A time in seconds since 1970 that may lie before that.
fn since_1970(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Whether the certificate comes from one of the trust anchors. That of one that has expired is looked at as it was
/// then: each fault is told once.
fn chain(subject: &str, settings: &Settings, seen: &Seen, certificate: &X509Certificate<'_>) -> Finding {
    let check = "certificate-chain";
    let validity = certificate.validity();
    let (from, to) = (since_1970(validity.not_before.timestamp()), since_1970(validity.not_after.timestamp()));
    let time = UnixTime::since_unix_epoch(now().min(to).max(from));
    let issuer = shown(&certificate.issuer().to_string());
    let algorithms = settings.provider().signature_verification_algorithms.all;
    let verified = seen.chain.split_first().ok_or(Error::NoCertificatesPresented).and_then(|(leaf, others)| {
        let leaf = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(&leaf, &settings.anchors, others, time, algorithms)
    });
    let from = &settings.anchors_from;
    match verified {
        Ok(()) => finding(check, subject, Status::Pass, format!("issued by {issuer}, known to {from}")),
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            let own = certificate.issuer() == certificate.subject();
            let what = match (own, seen.chain.len()) {
                (true, _) => format!("signed by itself, which {from} does not know: {issuer}"),
                (false, 1) => {
                    format!("issued by {issuer}, unknown to {from}; the relay sends no intermediate certificate")
                }
                (false, _) => format!("issued by {issuer}, unknown to {from}"),
            };
            finding(check, subject, Status::Fail, what).mended_by(
                "if that is the provider's authority: [relay] ca_file = \"/etc/conbool-milter/relay-ca.pem\"",
            )
        }
        Err(problem) => {
            let what = format!("issued by {issuer}; not verified: {}", explained(&problem));
            finding(check, subject, Status::Fail, what).mended_by(PROVIDER)
        }
    }
}

fn explained(problem: &Error) -> String {
    match problem {
        Error::InvalidCertificate(CertificateError::ExpiredContext { .. } | CertificateError::Expired) => {
            "an intermediate certificate has expired".into()
        }
        Error::InvalidCertificate(CertificateError::NotValidYetContext { .. } | CertificateError::NotValidYet) => {
            "an intermediate certificate is not valid yet".into()
        }
        problem => problem.to_string(),
    }
}

/// Whether the certificate is for the name that the mail server will look for.
fn name(subject: &str, settings: &Settings, seen: &Seen, certificate: &X509Certificate<'_>) -> Finding {
    let check = "certificate-name";
    let wanted = &settings.written_name;
    let leaf = seen.chain.first().ok_or(Error::NoCertificatesPresented).and_then(ParsedCertificate::try_from);
    if leaf.is_ok_and(|leaf| verify_server_name(&leaf, &settings.name).is_ok()) {
        return finding(check, subject, Status::Pass, format!("is for {wanted}"));
    }
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let names: Vec<String> = alternatives
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect();
    let first = names.first().cloned();
    let (whose, mend) = match first {
        Some(first) => (
            shown(&names.join(", ")),
            format!("if that is the relay: [relay] tls_name = \"{}\"", shown(first.trim_start_matches("*."))),
        ),
        None => (shown(&certificate.subject().to_string()), PROVIDER.to_owned()),
    };
    finding(check, subject, Status::Fail, format!("is for {whose}, not for {wanted}")).mended_by(mend)
}

fn validity(subject: &str, certificate: &X509Certificate<'_>) -> Finding {
    let check = "certificate-expiry";
    let (validity, now) = (certificate.validity(), now());
    let (from, to) = (since_1970(validity.not_before.timestamp()), since_1970(validity.not_after.timestamp()));
    let (status, what) = if now > to {
        (Status::Fail, format!("expired on {}", validity.not_after))
    } else if now < from {
        (Status::Fail, format!("not valid before {}; is this host's clock right?", validity.not_before))
    } else if to - now < RENEWAL {
        (Status::Warn, format!("expires soon, on {}", validity.not_after))
    } else {
        return finding(check, subject, Status::Pass, format!("valid until {}", validity.not_after));
    };
    finding(check, subject, status, what).mended_by("the provider must renew it; check this host's clock with: date -u")
}

fn strength(subject: &str, certificate: &X509Certificate<'_>) -> Option<Finding> {
    let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed() else { return None };
    let bits = key.key_size();
    (bits < GOOD_BITS).then(|| {
        let what = format!("the relay's RSA key has {bits} bits; fewer than {GOOD_BITS} are weak");
        finding("certificate", subject, Status::Warn, what).mended_by(PROVIDER)
    })
}
