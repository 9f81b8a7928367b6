//! An Active Directory domain of its own: a Samba domain controller that serves LDAP and nothing else.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::certificates::{Authority, Identity};
use super::process::{Process, run, wait_for};
use super::{Error, namespace};

/// The domain controller's name and address. Samba listens on no loopback address.
pub const HOST: (&str, Ipv4Addr) = ("dc1.ad.test", Ipv4Addr::new(198, 51, 100, 3));

/// What it takes, and the Debian packages that bring it.
const PROGRAMS: [(&str, &str); 5] = [
    ("/usr/sbin/samba", "samba"),
    ("/usr/bin/samba-tool", "samba-common-bin"),
    ("/usr/share/samba/setup/provision.ldif", "samba-ad-provision"),
    ("/usr/lib/x86_64-linux-gnu/samba/ldb/samba_dsdb.so", "samba-dsdb-modules"),
    ("/usr/bin/ldapmodify", "ldap-utils"),
];

/// Where the domain's tree begins. Accounts and groups are in `CN=Users` below it.
pub const BASE: &str = "DC=ad,DC=test";

/// Name and password of the account that may do everything.
pub const ADMINISTRATOR: (&str, &str) = ("administrator@ad.test", "Passw0rd!admin");

/// A domain controller on ports 389 and 636 of [`HOST`]; it is killed when dropped.
pub struct Samba {
    _process: Process,
    dir: PathBuf,
    authority: PathBuf,
}

impl Samba {
    /// Makes a domain and starts its controller, with the certificate of `identity`. Takes some ten seconds, nearly all
    /// of them for the domain. The controller takes passwords without TLS too.
    pub fn start(dir: &Path, authority: &Authority, identity: &Identity) -> Result<Self, Error> {
        namespace::need(&PROGRAMS)?;
        run(Command::new("ip").args(["address", "add", &format!("{}/24", HOST.1), "dev", "lo"]))?;
        let sandbox = dir.join("system");
        fs::create_dir_all(&sandbox)?;
        // What Samba writes wherever its settings lead.
        for place in ["/run/samba", "/var/lib/samba", "/var/cache/samba", "/var/log/samba"] {
            let own = sandbox.join(place.replace('/', "_"));
            fs::create_dir_all(&own)?;
            if Path::new(place).exists() {
                namespace::bind(&own, Path::new(place))?;
            }
        }
        let key = sandbox.join("key.pem");
        fs::copy(&identity.key_file, &key)?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        let ours = sandbox.join("smb.conf");
        fs::write(&ours, "[global]\n")?;
        let domain = dir.join("domain");
        let mut provision = Command::new("samba-tool");
        provision.args(["domain", "provision", "--realm=AD.TEST", "--domain=AD", "--server-role=dc"]);
        provision.args(["--host-name=dc1", "--dns-backend=NONE", "--option=server services = ldap"]);
        provision.arg(format!("--configfile={}", ours.display())).arg(format!("--targetdir={}", domain.display()));
        provision.arg(format!("--host-ip={}", HOST.1)).arg(format!("--adminpass={}", ADMINISTRATOR.1));
        provision.arg(format!("--option=interfaces = {}/24", HOST.1)).arg("--option=bind interfaces only = yes");
        // The file system in memory has no extended attributes that Samba could use.
        provision.arg("--option=vfs objects = dfs_samba4 acl_xattr xattr_tdb");
        run(&mut provision)?;
        let log = dir.join("samba.log");
        let mut command = Command::new("/usr/sbin/samba");
        command.args(["--foreground", "--no-process-group", "--model=single", "--debug-stdout"]);
        command.arg(format!("--configfile={}", domain.join("etc/smb.conf").display()));
        for option in [
            "ldap server require strong auth = no".to_owned(),
            format!("tls cafile = {}", authority.file().display()),
            format!("tls certfile = {}", identity.certificate_file.display()),
            format!("tls keyfile = {}", key.display()),
        ] {
            command.arg(format!("--option={option}"));
        }
        let mut process = Process::start(&mut command, &log)?;
        let listens = |port| TcpStream::connect((HOST.1, port)).is_ok();
        wait_for("samba", || (process.ended() || listens(389) && listens(636)).then_some(()))?;
        if process.ended() {
            return Err(format!("samba ended at once:\n{}", fs::read_to_string(log)?).into());
        }
        Ok(Self { _process: process, dir: dir.to_owned(), authority: authority.file() })
    }

    /// Carries out change records; a record without `changetype` adds an entry.
    pub fn modify(&self, ldif: &str) -> Result<(), Error> {
        let file = self.dir.join("change.ldif");
        fs::write(&file, ldif)?;
        Ok(run(self.client("ldapmodify").arg("-a").arg("-f").arg(file)).map(drop)?)
    }

    /// The value of an attribute of one entry.
    pub fn value(&self, dn: &str, attribute: &str) -> Result<String, Error> {
        let output =
            run(self.client("ldapsearch").args(["-LLL", "-b", dn, "-s", "base", "(objectClass=*)", attribute]))?;
        let text = String::from_utf8(output.stdout)?;
        let value = text.lines().find_map(|line| line.strip_prefix(attribute)?.strip_prefix(": "));
        Ok(value.ok_or_else(|| format!("{dn} has no {attribute}:\n{text}"))?.to_owned())
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LDAPTLS_CACERT", &self.authority).args(["-x", "-ZZ", "-H", &format!("ldap://{}", HOST.0)]);
        command.args(["-D", ADMINISTRATOR.0, "-w", ADMINISTRATOR.1]);
        command
    }
}

/// The name of an entry below `CN=Users`.
pub fn dn(cn: &str) -> String {
    format!("CN={cn},CN=Users,{BASE}")
}
