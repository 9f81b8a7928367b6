//! A directory: slapd with data of its own, on the addresses of [`HOSTS`].
//!
//! What is in it is LDIF (RFC 2849), added and changed as an administrator does it. [`READER`] may read everything and
//! find everything; nobody else may read anything unless the settings say so.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::certificates::{Authority, Identity};
use super::process::{Process, run, wait_for};
use super::{Error, namespace};

/// Names and addresses that the directories of a lab may have.
pub const HOSTS: [(&str, Ipv4Addr); 2] =
    [("ldap.customer.test", Ipv4Addr::new(127, 0, 6, 1)), ("ldap2.customer.test", Ipv4Addr::new(127, 0, 6, 2))];

/// Where the directory's tree begins. Below it are `ou=people` and `ou=groups`, empty at first.
pub const BASE: &str = "dc=customer,dc=test";

/// Name and password by which the directory can be read.
pub const READER: (&str, &str) = ("cn=reader,dc=customer,dc=test", "reader's password");

/// Name and password by which it is changed.
const ADMIN: (&str, &str) = ("cn=admin,dc=customer,dc=test", "secret");

/// What is in every directory: the tree, and its reader.
const TREE: &str = "dn: dc=customer,dc=test
objectClass: domain
dc: customer

dn: ou=people,dc=customer,dc=test
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=customer,dc=test
objectClass: organizationalUnit
ou: groups

dn: cn=reader,dc=customer,dc=test
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: reader's password
";

/// Attributes that mail systems add to people, under numbers of the range for private use.
const SCHEMA: &str = "
attributetype ( 1.3.6.1.4.1.99999.1.1 NAME 'mailAlternateAddress' EQUALITY caseIgnoreIA5Match
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.26 )
attributetype ( 1.3.6.1.4.1.99999.1.2 NAME 'proxyAddresses' EQUALITY caseIgnoreMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
objectclass ( 1.3.6.1.4.1.99999.2.1 NAME 'mailUser' SUP top AUXILIARY
  MAY ( mailAlternateAddress $ proxyAddresses ) )
";

/// A directory server on ports 389 and 636 of one of [`HOSTS`]; it is killed when dropped.
pub struct Slapd {
    process: Option<Process>,
    address: Ipv4Addr,
    dir: PathBuf,
}

impl Slapd {
    /// Starts a directory whose files lie in `dir`, with the certificate of `identity`. `settings` are lines of
    /// slapd.conf(5) that are added to the database's, such as `limits` or `access`.
    ///
    /// Group membership shows in `memberOf` too (slapo-memberof(5)).
    pub fn start(
        dir: &Path,
        address: Ipv4Addr,
        authority: &Authority,
        identity: &Identity,
        settings: &str,
    ) -> Result<Self, Error> {
        namespace::need(&[("/usr/sbin/slapd", "slapd"), ("/usr/bin/ldapmodify", "ldap-utils")])?;
        fs::create_dir_all(dir.join("data"))?;
        fs::write(dir.join("mail.schema"), SCHEMA)?;
        let at = dir.display();
        let ((base, reader), (admin, password)) = ((BASE, READER.0), ADMIN);
        let (ca, certificate, key) =
            (authority.file(), identity.certificate_file.display().to_string(), identity.key_file.display());
        let config = format!(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/inetorgperson.schema\ninclude /etc/ldap/schema/nis.schema\n\
             include {at}/mail.schema\n\
             modulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload memberof\n\
             TLSCACertificateFile {}\nTLSCertificateFile {certificate}\nTLSCertificateKeyFile {key}\n\
             database mdb\nmaxsize 268435456\nsuffix {base}\nrootdn {admin}\nrootpw {password}\n\
             directory {at}/data\nenvflags nosync\n\
             index objectClass,uid,cn,member,uniqueMember,memberUid,memberOf eq\n\
             overlay memberof\nmemberof-dangling ignore\n{settings}\n\
             access to attrs=userPassword by anonymous auth by * none\n\
             access to * by dn.exact={reader} read by * none\n",
            ca.display(),
        );
        fs::write(dir.join("slapd.conf"), config)?;
        let mut slapd = Self { process: None, address, dir: dir.to_owned() };
        slapd.resume()?;
        slapd.add(TREE)?;
        Ok(slapd)
    }

    /// Stops the server; what is in it stays.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again.
    pub fn resume(&mut self) -> Result<(), Error> {
        let log = self.dir.join("slapd.log");
        let mut command = Command::new("/usr/sbin/slapd");
        command.args(["-d", "stats", "-f"]).arg(self.dir.join("slapd.conf"));
        command.args(["-h", &format!("ldap://{0} ldaps://{0} {1}", self.address, self.local())]);
        let mut process = Process::start(&mut command, &log)?;
        let listens = |port| TcpStream::connect((self.address, port)).is_ok();
        wait_for("slapd", || (process.ended() || listens(389) && listens(636)).then_some(()))?;
        if process.ended() {
            return Err(format!("slapd ended at once:\n{}", fs::read_to_string(log)?).into());
        }
        self.process = Some(process);
        Ok(())
    }

    /// Adds entries.
    pub fn add(&self, ldif: &str) -> Result<(), Error> {
        self.change(&["-a"], ldif)
    }

    /// Carries out change records.
    pub fn modify(&self, ldif: &str) -> Result<(), Error> {
        self.change(&[], ldif)
    }

    /// What the server wrote since it was started last: one line for each operation.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.join("slapd.log")).unwrap_or_default()).into_owned()
    }

    fn change(&self, options: &[&str], ldif: &str) -> Result<(), Error> {
        let file = self.dir.join("change.ldif");
        fs::write(&file, ldif)?;
        let mut command = Command::new("ldapmodify");
        command.args(["-x", "-H", &self.local(), "-D", ADMIN.0, "-w", ADMIN.1]).args(options).arg("-f").arg(file);
        Ok(run(&mut command).map(drop)?)
    }

    /// Its unix socket, as LDAP URI.
    fn local(&self) -> String {
        format!("ldapi://{}", self.dir.join("ldapi").to_string_lossy().replace('/', "%2F"))
    }
}

/// An entry below `ou=people`, with further lines (`mail: …`).
pub fn person(uid: &str, lines: &str) -> String {
    format!(
        "dn: {}\nobjectClass: inetOrgPerson\nobjectClass: mailUser\nuid: {uid}\ncn: {uid}\nsn: {uid}\n{lines}\n\n",
        person_dn(uid)
    )
}

/// The name of a person's entry.
pub fn person_dn(uid: &str) -> String {
    format!("uid={uid},ou=people,{BASE}")
}

/// A groupOfNames below `ou=groups`, whose members are given by name of entry.
pub fn group(cn: &str, members: &[String]) -> String {
    let members: String = members.iter().map(|member| format!("member: {member}\n")).collect();
    format!("dn: {}\nobjectClass: groupOfNames\ncn: {cn}\n{members}\n", group_dn(cn))
}

/// The name of a group's entry.
pub fn group_dn(cn: &str) -> String {
    format!("cn={cn},ou=groups,{BASE}")
}
