//! TLS with whatever certificate comes, so that it can be looked at; it is judged afterwards, part by part.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::rustls::client::ResolvesClientCert;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};

use super::finding;
use crate::config;
use crate::finding::{Finding, Status};

/// What the relay's certificate is held against, and what this side shows.
pub struct Settings {
    /// The name that the certificate must carry.
    pub name: ServerName<'static>,
    /// The same for people.
    pub written_name: String,
    /// The trust anchors that the mail server verifies by.
    pub anchors: Arc<RootCertStore>,
    /// Where these come from.
    pub anchors_from: String,
    provider: Arc<CryptoProvider>,
    identity: Option<Arc<CertifiedKey>>,
}

impl Settings {
    /// Reads the trust anchors, and the client certificate where there is one. `mail_servers_anchors` are the files and
    /// directories that the mail server has its trust anchors in; without any, it does as the configuration says.
    ///
    /// # Errors
    /// A finding, if the relay cannot be examined without. Other findings come with the settings.
    pub fn read(
        relay: &config::Relay,
        name: &str,
        mail_servers_anchors: &[PathBuf],
    ) -> Result<(Self, Vec<Finding>), Finding> {
        let provider = Arc::new(ring::default_provider());
        let Ok(server_name) = ServerName::try_from(name.to_owned()) else {
            let seen = "is no name that a certificate can carry";
            return Err(finding("certificate-name", name, Status::Fail, seen)
                .mended_by("[relay] tls_name = \"mail.example.net\""));
        };
        let (anchors, anchors_from) = match (mail_servers_anchors, &relay.ca_file) {
            ([], Some(file)) => (anchors(file)?, file.display().to_string()),
            ([], None) => (systems_anchors()?, "the system's authorities".to_owned()),
            (places, _) => {
                (anchors_at(places)?, places.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", "))
            }
        };
        let mut found = Vec::new();
        let identity = match (&relay.client_certificate, &relay.client_key) {
            (Some(certificate), Some(key)) => match identity(certificate, key, &provider) {
                Ok(identity) => Some(Arc::new(identity)),
                Err(finding) => {
                    found.push(finding);
                    None
                }
            },
            _ => None,
        };
        let anchors = Arc::new(anchors);
        let written_name = name.to_owned();
        Ok((Self { name: server_name, written_name, anchors, anchors_from, provider, identity }, found))
    }

    /// Whether this side has a certificate to show.
    pub fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// Settings for one connection, and what will be seen there.
    ///
    /// # Errors
    /// If the library lacks what it always has.
    pub fn client(&self) -> Result<(Arc<ClientConfig>, Arc<Witness>), Error> {
        let witness = Arc::new(Witness {
            provider: self.provider.clone(),
            identity: self.identity.clone(),
            asked: AtomicBool::new(false),
            seen: Mutex::default(),
        });
        let config =
            ClientConfig::builder_with_provider(self.provider.clone()).with_safe_default_protocol_versions()?;
        let config = config.dangerous().with_custom_certificate_verifier(witness.clone());
        Ok((Arc::new(config.with_client_cert_resolver(witness.clone())), witness))
    }

    /// The algorithms by which certificates may be signed.
    pub fn provider(&self) -> &CryptoProvider {
        &self.provider
    }
}

fn anchors(file: &Path) -> Result<RootCertStore, Finding> {
    let subject = file.display().to_string();
    let wrong = |seen: String| {
        finding("trust-anchors", &subject, Status::Fail, seen)
            .mended_by("[relay] ca_file = \"/etc/ssl/certs/ca-certificates.crt\"")
    };
    let certificates =
        CertificateDer::pem_file_iter(file).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let mut anchors = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(format!("is not PEM: {error}")))?;
        anchors
            .add(certificate)
            .map_err(|error| wrong(format!("holds what is no certificate of an authority: {error}")))?;
    }
    if anchors.is_empty() { Err(wrong("holds no certificate".into())) } else { Ok(anchors) }
}

/// What can be read of the certificates in these files, and in the files of these directories.
fn anchors_at(places: &[PathBuf]) -> Result<RootCertStore, Finding> {
    let mut anchors = RootCertStore::empty();
    for place in places {
        let files: Vec<PathBuf> = match place.read_dir() {
            // OpenSSL looks certificates up there by the hash of their names (c_rehash(1)): `0a1b2c3d.0`.
            Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|file| is_hash(file)).collect(),
            Err(_) => vec![place.clone()],
        };
        for file in files {
            let certificates = CertificateDer::pem_file_iter(file).into_iter().flatten().flatten();
            anchors.add_parsable_certificates(certificates);
        }
    }
    if anchors.is_empty() {
        let subject: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        let seen = "no certificate of an authority can be read there, so no certificate can be verified";
        return Err(finding("trust-anchors", &subject.join(", "), Status::Fail, seen)
            .mended_by("apt-get install ca-certificates"));
    }
    Ok(anchors)
}

fn is_hash(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).and_then(|name| name.split_once('.'));
    name.is_some_and(|(hash, number)| {
        hash.len() == 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()) && number.bytes().all(|b| b.is_ascii_digit())
    })
}

fn systems_anchors() -> Result<RootCertStore, Finding> {
    let mut anchors = RootCertStore::empty();
    // Some that cannot be read do not matter as long as the relay's chain ends at another.
    anchors.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if anchors.is_empty() {
        let seen = "the system has no certificate authorities, so no certificate can be verified";
        return Err(finding("trust-anchors", "", Status::Fail, seen).mended_by("apt-get install ca-certificates"));
    }
    Ok(anchors)
}

fn identity(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, Finding> {
    const CHECK: &str = "client-certificate";
    let unreadable = |file: &Path, error: &dyn std::fmt::Display| {
        finding(CHECK, &file.display().to_string(), Status::Unknown, format!("cannot be read: {error}"))
            .mended_by("run doctor as root")
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(certificate, &error))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
    CertifiedKey::from_der(chain, secret, provider).map_err(|error| {
        let seen = format!("does not go with the key in {}: {error}", key.display());
        finding(CHECK, &certificate.display().to_string(), Status::Fail, seen)
            .mended_by("[relay] client_certificate and client_key must be of one pair")
    })
}

/// Sees what the relay shows in one handshake, and lets all of it pass: the certificate is judged afterwards.
#[derive(Debug)]
pub struct Witness {
    provider: Arc<CryptoProvider>,
    identity: Option<Arc<CertifiedKey>>,
    asked: AtomicBool,
    seen: Mutex<Seen>,
}

/// What the relay has shown.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Its certificate and those that it sends along.
    pub chain: Vec<CertificateDer<'static>>,
    /// Why it did not prove to have the key.
    pub bad_signature: Option<Error>,
}

impl Witness {
    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the relay has asked for this side's certificate.
    pub fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.provider.signature_verification_algorithms
    }

    fn signature(&self, result: Result<HandshakeSignatureValid, Error>) -> Result<HandshakeSignatureValid, Error> {
        if let Err(error) = result {
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).bad_signature = Some(error);
        }
        Ok(HandshakeSignatureValid::assertion())
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(end_entity).chain(intermediates).map(|one| one.clone().into_owned()).collect();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).chain = chain;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(verify_tls12_signature(message, certificate, signed, self.algorithms()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(verify_tls13_signature(message, certificate, signed, self.algorithms()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        None
    }
}

impl ResolvesClientCert for Witness {
    fn resolve(&self, _root_hint_subjects: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.identity.clone()
    }

    fn has_certs(&self) -> bool {
        // So that it is asked at all.
        true
    }
}
