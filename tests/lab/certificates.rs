//! A certificate authority for one run, and the certificates of the lab's hosts.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The authority that all hosts of the lab trust.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    dir: PathBuf,
}

/// A certificate and its key, in memory and as PEM files.
pub struct Identity {
    /// The name in the certificate, as common name and as DNS name.
    pub name: String,
    /// PEM file of the certificate.
    pub certificate_file: PathBuf,
    /// PEM file of the key, readable by everybody in the lab.
    pub key_file: PathBuf,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// Whether a server asks for the client's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Not asked for.
    Ignored,
    /// Asked for, not needed.
    Requested,
    /// The handshake fails without one.
    Required,
}

impl Authority {
    /// Makes an authority whose files lie in `dir`, the root certificate as `ca.pem`.
    pub fn new(dir: &Path) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::CommonName, "Lab authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        fs::create_dir_all(dir)?;
        fs::write(dir.join("ca.pem"), certificate.pem())?;
        Ok(Self { issuer: Issuer::new(params, key), certificate: certificate.der().clone(), dir: dir.to_owned() })
    }

    /// PEM file of the root certificate.
    pub fn file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Issues a certificate that serves as server and as client certificate; files `<file>.pem` and `<file>.key`.
    pub fn issue(&self, file: &str, name: &str) -> Result<Identity> {
        self.issue_until(file, name, None)
    }

    /// As [`Self::issue`]; not valid any more from a time on.
    pub fn issue_until(&self, file: &str, name: &str, end: Option<SystemTime>) -> Result<Identity> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        if let Some(end) = end {
            params.not_after = end.into();
        }
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let (certificate_file, key_file) =
            (self.dir.join(file).with_extension("pem"), self.dir.join(file).with_extension("key"));
        fs::write(&certificate_file, certificate.pem())?;
        fs::write(&key_file, key.serialize_pem())?;
        let key = PrivateKeyDer::try_from(key.serialize_der())?;
        Ok(Identity { name: name.to_owned(), certificate_file, key_file, certificate: certificate.der().clone(), key })
    }

    fn roots(&self) -> Result<Arc<RootCertStore>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        Ok(Arc::new(roots))
    }

    /// TLS settings of a server.
    pub fn server(&self, identity: &Identity, client: ClientCertificate) -> Result<Arc<ServerConfig>> {
        let builder = ServerConfig::builder();
        let builder = match client {
            ClientCertificate::Ignored => builder.with_no_client_auth(),
            ClientCertificate::Requested => {
                let verifier = WebPkiClientVerifier::builder(self.roots()?).allow_unauthenticated().build()?;
                builder.with_client_cert_verifier(verifier)
            }
            ClientCertificate::Required => {
                builder.with_client_cert_verifier(WebPkiClientVerifier::builder(self.roots()?).build()?)
            }
        };
        Ok(Arc::new(builder.with_single_cert(vec![identity.certificate.clone()], identity.key.clone_key())?))
    }

    /// TLS settings of a client, which verifies the server and shows the certificate if there is one.
    pub fn client(&self, identity: Option<&Identity>) -> Result<Arc<ClientConfig>> {
        let builder = ClientConfig::builder().with_root_certificates(self.roots()?);
        Ok(Arc::new(match identity {
            Some(own) => builder.with_client_auth_cert(vec![own.certificate.clone()], own.key.clone_key())?,
            None => builder.with_no_client_auth(),
        }))
    }
}

impl Identity {
    /// SHA-256 of the certificate, as Postfix and openssl(1) write it.
    pub fn fingerprint(&self) -> String {
        Sha256::digest(&self.certificate).iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
    }

    /// True if this is the certificate that a peer has shown.
    pub fn is(&self, shown: &CertificateDer<'_>) -> bool {
        self.certificate == *shown
    }
}
