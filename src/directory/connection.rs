//! A connection to one server: address, TLS, bind, and messages with their answers.

use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{
    LdapBindCred, LdapBindRequest, LdapExtendedRequest, LdapMsg, LdapOp, LdapResult, LdapResultCode,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use tokio_util::bytes::BytesMut;

use super::{Problem, wire};
use crate::config::{Ldap, LdapServer, Plaintext};

/// The name of the StartTLS operation (RFC 4511, section 4.14.1).
const START_TLS: &str = "1.3.6.1.4.1.1466.20037";

/// The most that is read from one connection, in bytes.
const TOTAL_MAX: usize = 1024 * 1024 * 1024;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection that is ready for searches; dropped, it is closed.
pub struct Connection {
    stream: Box<dyn Stream>,
    received: BytesMut,
    total: usize,
    last_id: i32,
    timeout: Duration,
}

impl Connection {
    /// Connects to a server, makes sure of it and of secrecy, and binds.
    ///
    /// # Errors
    /// What stands in the way, and what to do.
    pub async fn open(settings: &Ldap, server: &LdapServer) -> Result<Self, Problem> {
        let password = settings.password()?;
        let stream = connect(server, settings.connect_timeout).await?;
        let rest = async {
            let mut connection = Self {
                stream: Box::new(stream),
                received: BytesMut::new(),
                total: 0,
                last_id: 0,
                timeout: settings.timeout,
            };
            if server.ldaps || settings.plaintext == Plaintext::Refused {
                if !server.ldaps {
                    connection.ask_for_tls().await?;
                }
                connection = connection.secured(settings, server).await?;
            }
            if let (Some(name), Some(password)) = (&settings.bind_dn, password) {
                connection.bind(name, password).await?;
            }
            Ok(connection)
        };
        within(settings.connect_timeout, "TLS and the bind", rest).await
    }

    /// Sends a request; gives its message id.
    ///
    /// # Errors
    /// If the connection is broken.
    pub async fn send(&mut self, op: LdapOp, ctrl: Vec<LdapControl>) -> Result<i32, Problem> {
        self.last_id += 1;
        let bytes = wire::encode(LdapMsg { msgid: self.last_id, op, ctrl })?;
        let sent = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| format!("broke off: {error}"))?;
        Ok(self.last_id)
    }

    /// The next message that the server sends.
    ///
    /// # Errors
    /// If there is none, or it is none of LDAP's, or the server takes its leave.
    pub async fn receive(&mut self) -> Result<LdapMsg, Problem> {
        loop {
            if let Some(message) = wire::decode(&mut self.received)? {
                // Unsolicited notification (RFC 4511, section 4.4): the server ends the connection.
                if message.msgid == 0 {
                    return Err("ended the connection".into());
                }
                return Ok(message);
            }
            let count = self.stream.read_buf(&mut self.received).await;
            match count.map_err(|error| format!("broke off: {error}"))? {
                0 => return Err("closed the connection".into()),
                count => self.total += count,
            }
            if self.total > TOTAL_MAX {
                return Err(format!("sent more than {TOTAL_MAX} bytes in all"));
            }
        }
    }

    /// The time that one request may take (`ldap.timeout`).
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    async fn ask_for_tls(&mut self) -> Result<(), Problem> {
        let request = LdapExtendedRequest { name: START_TLS.into(), value: None };
        let id = self.send(LdapOp::ExtendedRequest(request), vec![]).await?;
        match self.receive().await? {
            LdapMsg { msgid, op: LdapOp::ExtendedResponse(response), .. } if msgid == id => match response.res.code {
                LdapResultCode::Success => {}
                _ => {
                    return Err(format!(
                        "refuses StartTLS: {}; write ldaps:// if it has that, or give the server a certificate",
                        described(&response.res)
                    ));
                }
            },
            _ => return Err("does not answer StartTLS".into()),
        }
        // What came before TLS could be anybody's.
        if self.received.is_empty() { Ok(()) } else { Err("sent more before TLS than it may".into()) }
    }

    async fn secured(self, settings: &Ldap, server: &LdapServer) -> Result<Self, Problem> {
        let name = ServerName::try_from(server.host.clone()).map_err(|error| format!("has no usable name: {error}"))?;
        let connector = TlsConnector::from(tls(settings.ca_file.as_deref())?);
        let stream = connector.connect(name, self.stream).await.map_err(|error| {
            let anchors = match &settings.ca_file {
                Some(file) => file.display().to_string(),
                None => "the system's authorities (ldap.ca_file names others)".to_owned(),
            };
            format!("TLS: {error}; its certificate must carry the name {} and come from {anchors}", server.host)
        })?;
        Ok(Self { stream: Box::new(stream), ..self })
    }

    async fn bind(&mut self, name: &str, password: String) -> Result<(), Problem> {
        let request = LdapBindRequest { version: 3, dn: name.to_owned(), cred: LdapBindCred::Simple(password) };
        let id = self.send(LdapOp::BindRequest(request), vec![]).await?;
        match self.receive().await? {
            LdapMsg { msgid, op: LdapOp::BindResponse(response), .. } if msgid == id => match response.res.code {
                LdapResultCode::Success => Ok(()),
                LdapResultCode::InvalidCredentials => Err(format!(
                    "does not take ldap.bind_dn {name} with the password in ldap.password_file: {}",
                    described(&response.res)
                )),
                _ => Err(format!("bind as {name}: {}", described(&response.res))),
            },
            _ => Err("does not answer the bind".into()),
        }
    }
}

/// What a server says of an operation that failed: the result's name, its number, and its own words.
pub fn described(result: &LdapResult) -> String {
    // The crate's names are those of RFC 4511, but for the first letter.
    let name = format!("{:?}", result.code);
    let (first, rest) = name.split_at(1);
    let mut text = format!("{}{rest} ({})", first.to_ascii_lowercase(), result.code.clone() as i64);
    let words: String = result.message.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if !words.trim().is_empty() {
        text += ": ";
        text.extend(words.trim().chars().take(200));
    }
    text
}

/// Gives up after `time`.
pub async fn within<T>(
    time: Duration,
    what: &str,
    work: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    match tokio::time::timeout(time, work).await {
        Ok(result) => result,
        Err(_) => Err(format!("{what} took more than {} s", time.as_secs())),
    }
}

/// Tries each address of a server's name.
async fn connect(server: &LdapServer, timeout: Duration) -> Result<TcpStream, Problem> {
    let look_up = async {
        let found = lookup_host((server.host.as_str(), server.port)).await;
        found.map(Vec::from_iter).map_err(|error| format!("its name cannot be looked up: {error}"))
    };
    let mut last = "its name has no address".to_owned();
    for address in within(timeout, "looking up its name", look_up).await? {
        let attempt = async { TcpStream::connect(address).await.map_err(|error| reason(&error)) };
        match within(timeout, "connecting", attempt).await {
            Ok(stream) => return Ok(stream),
            Err(problem) => last = format!("{problem} ({address})"),
        }
    }
    Err(last)
}

fn reason(error: &Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "nothing listens there".into(),
        _ => format!("cannot be reached: {error}"),
    }
}

/// TLS settings that verify the server's certificate and name.
fn tls(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, Problem> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            let wrong = |error: String| format!("ldap.ca_file {}: {error}", file.display());
            let certificates = CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
                roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(wrong("holds no certificate in PEM form".into()));
            }
        }
        None => {
            // Some that cannot be read do not matter as long as the server's chain ends at another.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(
                    "the system has no certificate authorities; install ca-certificates, or set ldap.ca_file".into()
                );
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}
