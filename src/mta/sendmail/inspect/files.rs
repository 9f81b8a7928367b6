//! The files that TLS needs: trust anchors, and the certificates and keys of both sides.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Inspection;
use crate::finding::Status;
use crate::mta::postfix::quoted;

impl Inspection<'_> {
    /// Looks at the files that the options of sendmail.cf name.
    pub(super) fn tls_files(&mut self) {
        if self.examined.provider.relay.is_some() {
            self.trust_anchors();
            self.pair("client-certificate", "ClientCertFile", "ClientKeyFile", "the relay does not see who sends");
        }
        if self.examined.provider.hands_in.inbound || self.examined.provider.hands_in.back {
            self.tls_offered();
        }
    }

    /// What the relay's certificate is verified by: whether the files that the options name are there.
    fn trust_anchors(&mut self) {
        const CHECK: &str = "trust-anchors";
        for option in ["CACertFile", "CACertPath"] {
            let Some(place) = self.cf.option(option).filter(|value| !value.is_empty()).map(str::to_owned) else {
                continue;
            };
            match fs::metadata(&place) {
                Ok(_) => self.pass(CHECK, place, "is there"),
                Err(error) => {
                    let seen =
                        format!("{option}: {error}: the relay's certificate cannot be verified, and mail for it waits");
                    let mend = "apt-get install ca-certificates, then setup again; or set relay.ca_file";
                    self.mend(Status::Fail, (CHECK, &place), seen, mend);
                }
            }
        }
    }

    /// A certificate and its key. A key that others can read Sendmail does not use, and goes on without TLS.
    fn pair(&mut self, check: &'static str, certificate: &str, key: &str, consequence: &str) -> bool {
        let (Some(certificate), Some(key)) = (self.cf.option(certificate), self.cf.option(key)) else { return true };
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        for file in [&certificate, &key] {
            if let Err(error) = fs::File::open(file) {
                let status = match error.kind() {
                    std::io::ErrorKind::PermissionDenied => Status::Unknown,
                    _ => Status::Fail,
                };
                let seen = format!("{error}: {consequence}");
                self.mend(status, (check, file), seen, "put the file there, or name another in sendmail.mc");
                return false;
            }
        }
        let allowed = self.cf.option("DontBlameSendmail").unwrap_or_default().to_ascii_lowercase();
        let bits = if allowed.contains("groupreadablekeyfile") { 0o037 } else { 0o077 };
        match fs::metadata(Path::new(&key)) {
            Ok(found) if found.mode() & bits != 0 => {
                let seen = format!(
                    "mode {:04o}: Sendmail uses no key that others than its owner can read; {consequence}",
                    found.mode() & 0o7777
                );
                let mend = format!("chmod 600 {} && {}", quoted(&key), self.restart());
                self.mend(Status::Fail, (check, &key), seen, mend);
                false
            }
            _ => {
                self.pass(check, certificate, format!("is there, and so is {key}"));
                true
            }
        }
    }

    /// Without TLS the relay is not believed, and is refused.
    fn tls_offered(&mut self) {
        const CHECK: &str = "tls-offered";
        const CONSEQUENCE: &str = "the relay finds no TLS, and is refused without";
        let is_set = |option: &str| self.cf.option(option).is_some_and(|value| !value.is_empty());
        if !is_set("ServerCertFile") || !is_set("ServerKeyFile") {
            let seen = format!("no certificate is set (ServerCertFile, ServerKeyFile): {CONSEQUENCE}");
            let mend = format!(
                "define(`confSERVER_CERT', `/etc/mail/tls/server.pem')dnl and define(`confSERVER_KEY', \
                 `/etc/mail/tls/server.key')dnl in sendmail.mc, then {}",
                self.rebuild()
            );
            return self.mend(Status::Fail, (CHECK, ""), seen, mend);
        }
        self.pair(CHECK, "ServerCertFile", "ServerKeyFile", CONSEQUENCE);
        let options = self.cf.option("TLSSrvOptions").unwrap_or_default();
        if options.contains('V') && !self.examined.config.relay.certificates.is_empty() {
            let seen = format!(
                "TLSSrvOptions={options}: the relay's certificate is not asked for, and its mail is a stranger's"
            );
            let mend = format!("take V out of confTLS_SRV_OPTIONS in sendmail.mc, then {}", self.rebuild());
            self.mend(Status::Fail, ("client-certificate", "TLSSrvOptions"), seen, mend);
        }
    }
}
