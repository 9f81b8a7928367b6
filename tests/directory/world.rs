//! What each test has to itself, and what it asks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use conbool_milter::config::{Config, Ldap};
use conbool_milter::directory::{self, Members};

use super::lab::certificates::{Authority, Identity};
use super::lab::dns::Dns;
use super::lab::namespace::{self, Network};
use super::lab::slapd::{self, BASE, READER, Slapd};
use super::lab::{Error, MAIL_SERVER, samba};

/// A network with a name service, and no host yet.
pub struct World {
    /// Where its files are.
    pub dir: PathBuf,
    /// Signs the certificates of its hosts.
    pub authority: Authority,
    network: Network,
    _dns: Dns,
}

impl World {
    /// Moves the calling thread into a network of its own.
    pub fn new(name: &str) -> Result<Self, Error> {
        let network = Network::new(MAIL_SERVER.1)?;
        let dir = Path::new(namespace::ROOT).join(name);
        let authority = Authority::new(&dir.join("tls"))?;
        let dns = Dns::start(&dir, slapd::HOSTS.into_iter().chain([samba::HOST]))?;
        let world = Self { dir, authority, network, _dns: dns };
        world.write_password(READER.1)?;
        Ok(world)
    }

    /// Moves the calling thread into this world's network.
    pub fn enter(&self) -> Result<(), Error> {
        Ok(self.network.enter()?)
    }

    /// A network with one directory, in which is `ldif`.
    pub fn with(name: &str, ldif: &str) -> Result<(Self, Slapd), Error> {
        let world = Self::new(name)?;
        let slapd = world.slapd(0, "")?;
        slapd.add(ldif)?;
        Ok((world, slapd))
    }

    /// A directory on the host with this number.
    pub fn slapd(&self, host: usize, settings: &str) -> Result<Slapd, Error> {
        let (name, _) = slapd::HOSTS[host];
        self.slapd_with(host, &self.authority.issue(name, name)?, settings)
    }

    pub fn slapd_with(&self, host: usize, identity: &Identity, settings: &str) -> Result<Slapd, Error> {
        let (name, address) = slapd::HOSTS[host];
        Slapd::start(&self.dir.join(name), address, &self.authority, identity, settings)
    }

    pub fn write_password(&self, password: &str) -> Result<(), Error> {
        let file = self.dir.join("password");
        fs::write(&file, format!("{password}\n"))?;
        Ok(fs::set_permissions(file, fs::Permissions::from_mode(0o640))?)
    }

    /// The configuration with these lines for `[ldap]`; what they leave out is such that it works.
    pub fn settings(&self, lines: &str) -> Result<Ldap, Error> {
        let mut text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config/good/minimal.toml"))?;
        text += &format!("[ldap]\n{lines}\n");
        for (key, value) in [
            ("servers", "\"ldap://ldap.customer.test\""),
            ("base", &format!("{BASE:?}")),
            ("ca_file", &format!("{:?}", self.authority.file())),
            ("bind_dn", &format!("{:?}", READER.0)),
            ("password_file", &format!("{:?}", self.dir.join("password"))),
        ] {
            if !lines.contains(key) {
                text += &format!("{key} = {value}\n");
            }
        }
        let text = text.replace("bind_dn = \"\"\npassword_file = \"\"\n", "");
        let config = Config::parse(&text, &self.dir.join("x.toml")).map_err(|errors| format!("{errors}\n{text}"))?;
        config.ldap.ok_or_else(|| "no [ldap]".into())
    }

    /// The members of a group, by the configuration with these lines for `[ldap]`.
    pub fn members(&self, lines: &str, group: &str) -> Result<Members, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(directory::group(&self.settings(lines)?, group))?)
    }

    /// That a group has these addresses.
    pub fn expect(&self, lines: &str, group: &str, addresses: &[&str]) -> Result<Members, Error> {
        let members = self.members(lines, group).map_err(|error| format!("{group}: {error}"))?;
        if members.addresses != addresses {
            return Err(format!("{group} has {members:?}, not {addresses:?}").into());
        }
        Ok(members)
    }

    /// That a group's members cannot be found out, for a reason in which all of these words are.
    pub fn refuse(&self, lines: &str, group: &str, words: &[&str]) -> Result<String, Error> {
        match self.members(lines, group) {
            Ok(members) => Err(format!("{group} has {members:?}, where {words:?} was expected").into()),
            Err(error) => {
                let text = error.to_string();
                match words.iter().find(|word| !text.contains(*word)) {
                    Some(word) => Err(format!("{word:?} is not in: {text}").into()),
                    None => Ok(text),
                }
            }
        }
    }
}
