//! Section `[sendmail]`.

use std::path::{Path, PathBuf};

use super::reader::Reader;
use super::{files, keys};

/// Where the Sendmail configuration is looked for when `sendmail.directory` is not given.
pub const DEFAULT_SENDMAIL_DIRECTORY: &str = "/etc/mail";

const DEFAULT_PROGRAM: &str = "/usr/sbin/sendmail";

/// The mailers that deliver on this host, or not at all (sendmail's cf/mailer folder, and its built-in ones).
pub const LOCAL_MAILERS: [&str; 14] = [
    "local",
    "prog",
    "*file*",
    "*include*",
    "error",
    "discard",
    "cyrus",
    "cyrusbb",
    "cyrusv2",
    "procmail",
    "pop",
    "usenet",
    "fax",
    "qpage",
];

/// The Sendmail of this host.
#[derive(Debug, Clone, PartialEq)]
pub struct Sendmail {
    /// `sendmail.directory`: where `sendmail.mc`, `sendmail.cf` and `access` are; absolute, default `/etc/mail`.
    pub directory: PathBuf,
    /// `sendmail.program`: absolute, default `/usr/sbin/sendmail`.
    pub program: PathBuf,
    /// `sendmail.local_mailers`: mailers that deliver on this host, besides those that Sendmail's own configuration has.
    pub local_mailers: Vec<String>,
}

impl Default for Sendmail {
    fn default() -> Self {
        Self {
            directory: DEFAULT_SENDMAIL_DIRECTORY.into(),
            program: DEFAULT_PROGRAM.into(),
            local_mailers: Vec::new(),
        }
    }
}

/// Asks for every key of the section.
pub fn read(reader: &mut Reader, folder: &Path) -> Sendmail {
    let path = |written: &str| files::resolve(folder, written);
    let default = Sendmail::default();
    Sendmail {
        directory: reader.string("sendmail.directory", r#""/etc/mail""#, path).unwrap_or(default.directory),
        program: reader.string("sendmail.program", r#""/usr/sbin/sendmail""#, path).unwrap_or(default.program),
        local_mailers: keys::plain(reader.strings("sendmail.local_mailers", r#"["cyrusv2"]"#, mailer)),
    }
}

/// The name of a mailer, as the `M` lines of sendmail.cf and the macro `{rcpt_mailer}` have it: lower case.
fn mailer(written: &str) -> Result<String, String> {
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_*".contains(&byte);
    if written.is_empty() || !written.bytes().all(in_name) {
        return Err("is not the name of a mailer; write one such as \"cyrusv2\", as sendmail.cf has it after M".into());
    }
    Ok(written.to_ascii_lowercase())
}
