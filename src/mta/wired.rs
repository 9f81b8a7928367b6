//! Whether the configuration of a mail server leads to the daemon, whoever wrote it: without the daemon, what does so would
//! end in temporary errors, and what is routed for the relay would go past it.
//!
//! Nothing is generated and compared here, and nothing of ours has to be in order: what is looked for is names, in any
//! place. One too many costs an administrator a look; one too few, mail.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use crate::config::{self, Config, Socket};
use crate::verdict::{DIRECT_PSEUDO_DOMAIN, RELAY_PSEUDO_DOMAIN};

/// A place in a mail server's configuration that leads to the daemon, or to what only it makes work.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wire {
    /// The file.
    pub file: PathBuf,
    /// What in it: a setting, a service, a line.
    pub what: String,
    /// What that names.
    pub names: String,
}

impl fmt::Display for Wire {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} names {}", self.file.display(), self.what, self.names)
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wires {
    /// What leads to us.
    pub found: BTreeSet<Wire>,
    /// Why there may be more, a sentence each.
    pub doubts: BTreeSet<String>,
}

impl Wires {
    /// Adds what a text of a file says, once; `what` is the setting or line that it belongs to.
    pub fn look(&mut self, names: &Names, file: &Path, what: &str, text: &str) {
        let is_known = self.found.iter().any(|wire| wire.file == file && wire.what == what);
        if let Some(word) = names.first_in(text).filter(|_| !is_known) {
            self.found.insert(Wire { file: file.to_owned(), what: what.to_owned(), names: word.to_owned() });
        }
    }

    /// The same for a setting that lists milters, each of which might be ours as long as our sockets are not known.
    pub fn look_at_milters(&mut self, names: &Names, file: &Path, what: &str, text: &str) {
        self.look(names, file, what, text);
        let unknown = names.sockets.is_none() && names.first_in(text).is_none();
        if let Some(socket) = words(text).find(|word| unknown && address(word).is_some()) {
            self.doubts.insert(format!(
                "{}: {what} names {socket}; whether that is conbool-milter cannot be told, for its configuration does not say \
                 on which sockets it listens",
                file.display()
            ));
        }
    }

    /// The text of a file; `None` if there is none, or it cannot be read, which is a doubt.
    pub fn text_of(&mut self, file: &Path) -> Option<String> {
        match fs::read(file) {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
            Err(error) => {
                self.doubts.insert(format!("{}: cannot be read: {}", file.display(), config::reason(&error)));
                None
            }
        }
    }

    /// Takes over what another look has found.
    pub fn extend(&mut self, other: Self) {
        self.found.extend(other.found);
        self.doubts.extend(other.doubts);
    }
}

/// What is ours wherever it stands: transports, services, a restriction class.
const NAMES: [&str; 6] =
    ["conbool-relay", "conbool-direct", "conbool-split", "conbool-cleanup", "conbool-filtered", "conbool_handback"];

/// How the names of tables of ours begin in the configuration directory of Postfix.
pub const TABLE: &str = "conbool_";

/// Directories that are ours, wherever they are: of sockets, of the state, of the configuration.
const DIRECTORIES: [&str; 2] = ["conbool", "conbool-milter"];

/// By what a mail server's configuration can name the daemon.
#[derive(Debug, Clone)]
pub struct Names {
    /// Where it listens; `None` if that is not known.
    sockets: Option<Vec<Socket>>,
    state_directory: PathBuf,
}

impl Names {
    /// Those of a configuration; `are_sockets_known` is false if what it says of them could not be understood.
    pub fn new(config: &Config, are_sockets_known: bool) -> Self {
        let sockets = [&config.milter.sockets, &config.policy.sockets, &config.socketmap.sockets];
        let sockets = sockets.into_iter().flatten().cloned().collect();
        Self { sockets: are_sockets_known.then_some(sockets), state_directory: config.state_directory.clone() }
    }

    /// The first word of a text that names the daemon or something of its own.
    fn first_in<'t>(&self, text: &'t str) -> Option<&'t str> {
        words(text).find(|word| self.is_ours(word))
    }

    fn is_ours(&self, word: &str) -> bool {
        if NAMES.contains(&word.split(':').next().unwrap_or_default())
            || [RELAY_PSEUDO_DOMAIN, DIRECT_PSEUDO_DOMAIN].iter().any(|domain| word.contains(domain))
        {
            return true;
        }
        match address(word) {
            Some(Address::Path(path)) => self.is_our_path(path),
            Some(Address::Port(host, port)) => self.sockets.iter().flatten().any(|socket| match socket {
                Socket::Inet(address, listens) => is_same_port(port, *listens) && may_be(host, *address),
                Socket::Unix(_) => false,
            }),
            // The path of a table, with its type before it.
            None => {
                word.rsplit(':').next().is_some_and(|path| path.starts_with('/') && self.is_our_path(Path::new(path)))
            }
        }
    }

    fn is_our_path(&self, path: &Path) -> bool {
        let is_ours = |component: Component<'_>| DIRECTORIES.iter().any(|name| component.as_os_str() == *name);
        let is_table = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(TABLE));
        // Within the queue directory, whether it is written relative to that or as a chroot has it.
        let below = path.strip_prefix("/").unwrap_or(path);
        let is_socket =
            |socket: &Socket| matches!(socket, Socket::Unix(socket) if socket == path || socket.ends_with(below));
        is_table
            || path.components().any(is_ours)
            || path.starts_with(&self.state_directory)
            || self.sockets.iter().flatten().any(is_socket)
    }
}

/// Where a socket is, as main.cf or sendmail.cf names it.
enum Address<'w> {
    Path(&'w Path),
    /// Host and port.
    Port(&'w str, &'w str),
}

/// What a word says if it is a socket: Postfix's `unix:path` and `inet:host:port`, Sendmail's `local:path` and
/// `inet:port@host`.
fn address(word: &str) -> Option<Address<'_>> {
    match word.split_once(':')? {
        ("unix" | "local", path) => Some(Address::Path(Path::new(path))),
        ("inet" | "inet6", place) => match place.split_once('@') {
            Some((port, host)) => Some(Address::Port(host, port)),
            None => {
                Some(place.rsplit_once(':').map_or(Address::Port("", place), |(host, port)| Address::Port(host, port)))
            }
        },
        _ => None,
    }
}

/// True if the port is this one; one with a name may be any. What is still to be expanded is looked at when it is.
fn is_same_port(written: &str, port: u16) -> bool {
    written.parse::<u16>().map_or(!written.contains('$'), |written| written == port)
}

/// True if a connection to `host` may end at a socket that listens on `address`: names are not looked up.
fn may_be(host: &str, address: IpAddr) -> bool {
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Err(_) => true,
        Ok(host) => host == address || host.is_unspecified() || address.is_unspecified(),
    }
}

/// The words of a line of any of these files.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let ends = |character: char| character.is_whitespace() || ",;={}()<>|`'\"".contains(character);
    text.split(ends).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sockets: &[&str]) -> Names {
        let sockets = sockets.iter().map(|socket| config::socket(socket).unwrap()).collect();
        Names { sockets: Some(sockets), state_directory: "/srv/state".into() }
    }

    #[test]
    fn names_of_ours() {
        let names = names(&["unix:/var/spool/postfix/filters/a.sock", "inet:127.0.0.1:8895", "inet:[::]:8896"]);
        for ours in [
            "{ unix:filters/a.sock, default_action=tempfail }",
            "unix:/var/spool/postfix/filters/a.sock",
            "unix:/filters/a.sock",
            "inet:rspamd.test:11332,inet:localhost:8895",
            "inet:127.0.0.1:8895",
            "inet:192.0.2.1:8896",
            "inet:localhost:conbool",
            "check_policy_service { inet:127.0.0.1:8895, timeout=5s }",
            "regexp:/etc/postfix/conbool_senders",
            "proxy:hash:/srv/state/senders",
            "unix:conbool/milter.sock",
            "/^X-Away:/ FILTER conbool-split:[127.0.0.1]:25035",
            "example.com conbool-relay:[mail.example.com]:25",
            "Xconbool, S=inet:8895@127.0.0.1, F=T",
            "INPUT_MAIL_FILTER(`other', `S=local:/run/conbool-milter/milter.sock, F=T')",
            "R$* < @ $+ .conbool-relay.invalid. > $*",
        ] {
            assert!(names.first_in(ours).is_some(), "{ours}");
        }
        for other in [
            "",
            "inet:127.0.0.1:8891, unix:opendkim/opendkim.sock",
            "inet:192.0.2.1:8895",
            "unix:other/a.sock",
            "[mail.conbool.com]:25",
            "conbool-customer.test, conbool.test",
            "hash:/etc/postfix/transport",
            "/srv/statement",
        ] {
            assert_eq!(names.first_in(other), None, "{other}");
        }
    }

    #[test]
    fn any_milter_may_be_ours_if_our_sockets_are_not_known() {
        let unknown = Names { sockets: None, ..names(&[]) };
        let look = |names: &Names, text: &str| {
            let mut wires = Wires::default();
            wires.look_at_milters(names, Path::new("/etc/postfix/main.cf"), "smtpd_milters", text);
            (wires.found.len(), wires.doubts.len())
        };
        assert_eq!(look(&unknown, "inet:localhost:8891"), (0, 1));
        assert_eq!(look(&unknown, "inet:localhost:8891 unix:conbool/milter.sock"), (1, 0));
        assert_eq!(look(&unknown, ""), (0, 0));
        assert_eq!(look(&names(&["unix:/run/a"]), "inet:localhost:8891"), (0, 0));
    }
}
