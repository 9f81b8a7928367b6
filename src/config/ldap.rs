//! Section `[ldap]`.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::keys::{plain, size};
use super::reader::Reader;
use super::{files, notation};

/// The longest password, in bytes.
const PASSWORD_MAX: u64 = 1024;

/// The attributes that hold e-mail addresses in the common schemas.
const MAIL_ATTRIBUTES: [&str; 6] = [
    "mail",
    "mailPrimaryAddress",
    "mailAlternateAddress",
    "mailAlternativeAddress",
    "mailLocalAddress",
    "proxyAddresses",
];

const SERVERS: &str = r#"["ldaps://ldap.example.com"]"#;
const BASE: &str = r#""dc=example,dc=com""#;
const READER: &str = r#""cn=reader,dc=example,dc=com""#;

/// The directory that knows who is in a group.
///
/// Holds no password, only where it is: see [`Self::password`].
#[derive(Debug, Clone, PartialEq)]
pub struct Ldap {
    /// `ldap.servers`: tried in this order; not empty.
    pub servers: Vec<LdapServer>,
    /// `ldap.base`: name of the entry below which groups and people are looked up.
    pub base: String,
    /// `ldap.plaintext`: what may go over a connection without TLS, default nothing.
    pub plaintext: Plaintext,
    /// `ldap.ca_file`: trust anchors for the servers' certificates; `None` means the system's.
    pub ca_file: Option<PathBuf>,
    /// `ldap.bind_dn`: the account by which the directory is read; `None`: anonymous.
    pub bind_dn: Option<String>,
    /// `ldap.password_file`: file with its password; there if and only if `bind_dn` is.
    pub password_file: Option<PathBuf>,
    /// `ldap.mail_attributes`: attributes that hold addresses; not empty.
    pub mail_attributes: Vec<String>,
    /// `ldap.membership`: how members are found, default by what the group says.
    pub membership: Membership,
    /// `ldap.page_size`: entries a page, default 500, 1 to 100000.
    pub page_size: u32,
    /// `ldap.connect_timeout`: for each address of a server, and again for TLS and bind; default 5 s, 1 to 60.
    pub connect_timeout: Duration,
    /// `ldap.timeout`: for each request, default 30 s, 1 to 600.
    pub timeout: Duration,
    /// `ldap.max_members`: the most that a group may have, nested ones counted; default 200,000, 1 to 1,000,000.
    pub max_members: usize,
}

/// A directory server: `ldaps://host`, or `ldap://host` with StartTLS (RFC 4511, section 4.14).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LdapServer {
    /// Name or address, which its certificate must carry.
    pub host: String,
    /// TCP port; 636 and 389 if none is written.
    pub port: u16,
    /// TLS from the first byte.
    pub ldaps: bool,
}

/// `ldap.plaintext`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plaintext {
    /// `"refused"`: TLS always.
    Refused,
    /// `"anonymous"`: `ldap://` servers are asked without TLS and without a password.
    Anonymous,
    /// `"with-password"`: `ldap://` servers are asked without TLS, and the password goes over the wire readably.
    WithPassword,
}

/// `ldap.membership`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// `"members"`: by the group's `member` and `uniqueMember`.
    Members,
    /// `"member-of"`: by the members' `memberOf`, which the server must maintain.
    MemberOf,
}

impl fmt::Display for LdapServer {
    /// As URI, with the port where it is not the usual one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.ldaps { ("ldaps", 636) } else { ("ldap", 389) };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == usual { write!(f, "{scheme}://{host}") } else { write!(f, "{scheme}://{host}:{}", self.port) }
    }
}

impl Ldap {
    /// Everything that answers depend on, on one line: servers, base, attributes, and how members are found.
    pub fn description(&self) -> String {
        let servers: Vec<String> = self.servers.iter().map(ToString::to_string).collect();
        let membership = match self.membership {
            Membership::Members => "members",
            Membership::MemberOf => "member-of",
        };
        format!("{} {:?} {} {membership}", servers.join(","), self.base, self.mail_attributes.join(","))
    }

    /// The password of `bind_dn`, read from its file now, so that a new one needs no reload; without the newline at the
    /// file's end. `None` if there is no `bind_dn`.
    ///
    /// # Errors
    /// Which file, what is wrong with it, and what to do. The password is in no message.
    pub fn password(&self) -> Result<Option<String>, String> {
        let Some(path) = &self.password_file else { return Ok(None) };
        read_password(path).map(Some).map_err(|problem| format!("ldap.password_file {} {problem}", path.display()))
    }
}

/// Asks `reader` for the section's keys; `None` if the file has no such section.
pub fn read(reader: &mut Reader, folder: &Path) -> Option<Ldap> {
    let plaintexts = [
        ("refused", Plaintext::Refused),
        ("anonymous", Plaintext::Anonymous),
        ("with-password", Plaintext::WithPassword),
    ];
    let memberships = [("members", Membership::Members), ("member-of", Membership::MemberOf)];
    let servers = reader.string_or_strings("ldap.servers", SERVERS, server);
    let mail_attributes = reader.strings("ldap.mail_attributes", r#"["mail"]"#, attribute);
    let mut integer = |key, least, most, unit, default| reader.integer(key, least..=most, unit).unwrap_or(default);
    let page_size = integer("ldap.page_size", 1, 100_000, "entries", 500);
    let connect_timeout = integer("ldap.connect_timeout", 1, 60, "seconds", 5);
    let timeout = integer("ldap.timeout", 1, 600, "seconds", 30);
    let max_members = integer("ldap.max_members", 1, 1_000_000, "members", 200_000);
    let ldap = Ldap {
        servers: plain(servers),
        base: reader.string("ldap.base", BASE, notation::entry_name).unwrap_or_default(),
        plaintext: reader.choice("ldap.plaintext", &plaintexts).unwrap_or(Plaintext::Refused),
        ca_file: reader.string("ldap.ca_file", r#""/etc/ssl/ldap-ca.pem""#, |written| files::readable(folder, written)),
        bind_dn: reader.string("ldap.bind_dn", READER, account),
        password_file: reader
            .string("ldap.password_file", r#""ldap-password""#, |written| password_file(folder, written)),
        mail_attributes: match mail_attributes {
            Some(list) => plain(Some(list)),
            None => MAIL_ATTRIBUTES.map(str::to_owned).into(),
        },
        membership: reader.choice("ldap.membership", &memberships).unwrap_or(Membership::Members),
        page_size: u32::try_from(page_size).unwrap_or(u32::MAX),
        connect_timeout: Duration::from_secs(connect_timeout),
        timeout: Duration::from_secs(timeout),
        max_members: size(Some(max_members)).unwrap_or(usize::MAX),
    };
    if !reader.has("ldap") {
        return None;
    }
    reader.require("ldap.servers", SERVERS);
    reader.require("ldap.base", BASE);
    if reader.has("ldap.mail_attributes") {
        reader.require("ldap.mail_attributes", r#"["mail"]"#);
    }
    secrecy(reader, &ldap);
    Some(ldap)
}

/// A password and the way it goes must fit each other.
fn secrecy(reader: &mut Reader, ldap: &Ldap) {
    if !reader.has("ldap.password_file") {
        reader.wrong_value("ldap.bind_dn", "is of no use without its password; add ldap.password_file");
    }
    if !reader.has("ldap.bind_dn") {
        reader.wrong_value("ldap.password_file", "is nobody's password; add ldap.bind_dn");
    }
    if ldap.plaintext == Plaintext::Anonymous {
        reader.wrong_value(
            "ldap.bind_dn",
            "has a password, which ldap.plaintext = \"anonymous\" would not send; remove one of the two, or write \
             ldap.plaintext = \"with-password\" if everybody on the network may read it",
        );
    }
    if ldap.plaintext != Plaintext::Refused
        && !ldap.servers.is_empty()
        && ldap.servers.iter().all(|server| server.ldaps)
    {
        reader.wrong_value("ldap.plaintext", "has no effect, as every server is ldaps://; remove it");
    }
}

fn server(written: &str) -> Result<LdapServer, String> {
    const WRONG: &str = "is not a directory server; write one such as \"ldaps://ldap.example.com\"";
    let Some((scheme, rest)) = written.split_once("://") else {
        return Err(match notation::domain(written) {
            Ok(host) => format!("has no scheme; write \"ldaps://{host}\", or \"ldap://{host}\" for StartTLS"),
            Err(_) => WRONG.into(),
        });
    };
    let ldaps = match scheme.to_ascii_lowercase().as_str() {
        "ldaps" => true,
        "ldap" => false,
        _ => return Err("has an unknown scheme; write \"ldaps://\", or \"ldap://\" for StartTLS".into()),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?']) {
        return Err("holds more than a server; write where to search as ldap.base".into());
    }
    let (host, port) = match rest.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((host, port))) => (host, port),
        Some(None) => return Err(WRONG.into()),
        None if rest.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) => {
            return Err(format!("has an IPv6 address without brackets; write \"{scheme}://[{rest}]\""));
        }
        None => rest.split_at(rest.find(':').unwrap_or(rest.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => notation::port(port).ok_or("has no port from 1 to 65535 after its \":\"")?,
        None if port.is_empty() => {
            if ldaps {
                636
            } else {
                389
            }
        }
        None => return Err(WRONG.into()),
    };
    let host = match host.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => notation::domain(host).map_err(|_| WRONG)?,
    };
    Ok(LdapServer { host, port, ldaps })
}

/// Active Directory takes a user principal name or `DOMAIN\user` too.
fn account(written: &str) -> Result<String, String> {
    if written.trim() != written || written.is_empty() || written.chars().any(char::is_control) {
        return Err("is not an account; write the name of its entry, such as \"cn=reader,dc=example,dc=com\"".into());
    }
    Ok(written.to_owned())
}

/// An attribute's short name (RFC 4512, section 1.4: keystring).
fn attribute(written: &str) -> Result<String, String> {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if !written.starts_with(|letter: char| letter.is_ascii_alphabetic()) || !written.bytes().all(rest) {
        return Err("is not the name of an attribute; write one such as \"mail\"".into());
    }
    Ok(written.to_owned())
}

/// A name alone is first looked for among the service's credentials (systemd.exec(5)).
fn password_file(folder: &Path, written: &str) -> Result<PathBuf, String> {
    let forbidden = |error: std::io::Error| error.kind() == ErrorKind::PermissionDenied;
    // systemd names the folder to ExecReload= too, which until version 252 at least may not look into it.
    let is_open = |folder: &PathBuf| !std::fs::metadata(folder).err().is_some_and(forbidden);
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).filter(is_open);
    let credential = credentials.as_ref().filter(|_| Path::new(written).is_relative()).map(|at| at.join(written));
    if let Some(path) = credential.filter(|path| path.exists()) {
        // What SetCredential= of the unit says where the file that LoadCredential= names is missing.
        if std::fs::read(&path).is_ok_and(|content| content.trim_ascii().is_empty()) {
            return Err("is empty among the credentials of the service; write the password into the file that \
                        LoadCredential= of the unit names (as packaged /etc/conbool-milter/ldap-password, owner root, \
                        mode 0600), and restart the service"
                .into());
        }
        return read_password(&path).map(|_| path);
    }
    let path = files::resolve(folder, written)?;
    if credentials.is_none() && !written.contains('/') && is_hidden(&path) {
        // A credential, which only the service sees: not a mistake when an administrator runs `check`, or the service
        // manager does, before a reload and without credentials.
        return Ok(path);
    }
    read_password(&path).map(|_| path)
}

/// True if a file is not there, or not for this process.
fn is_hidden(path: &Path) -> bool {
    let error = File::open(path).err().map(|error| error.kind());
    error.is_some_and(|kind| matches!(kind, ErrorKind::NotFound | ErrorKind::PermissionDenied))
}

/// The password in a file, or what is wrong with the file, as a phrase that follows its name.
fn read_password(path: &Path) -> Result<String, String> {
    let unreadable = |error: &std::io::Error| {
        format!(
            "cannot be read: {}; a name alone is looked for in $CREDENTIALS_DIRECTORY if that is set, else beside this \
             file",
            files::reason(error)
        )
    };
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(&error))?;
    if !metadata.is_file() {
        return Err("is not a file; write the path of a file that holds the password".into());
    }
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err("is open to every user of this host; take that away with chmod o-rwx".into());
    }
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(PASSWORD_MAX + 2).read_to_string(&mut text));
    match read {
        Err(error) if error.kind() == ErrorKind::InvalidData => return Err("is not UTF-8".into()),
        Err(error) => return Err(unreadable(&error)),
        Ok(_) => {}
    }
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        // A bind with a name and no password succeeds on many servers, and proves nothing (RFC 4513, section 5.1.2).
        return Err("is empty; write the password of ldap.bind_dn into it".into());
    }
    if password.contains(['\n', '\0']) || password.len() as u64 > PASSWORD_MAX {
        return Err(format!("is not one line of at most {PASSWORD_MAX} bytes; write the password alone into it"));
    }
    Ok(password.to_owned())
}
