//! The AppArmor profile: it parses, it allows what the daemon does, and nothing of what it has no business with.
//!
//! The daemon runs under strace(1) with a real Postfix, a real directory, and a service manager's sockets; everything that
//! it and the commands that it starts do with files is looked up in the compiled profile, at the place where the file is on a
//! host that has the package.

mod compiled;
#[path = "../lab/mod.rs"]
mod lab;
mod trace;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use compiled::{Access, FileRules};
use lab::daemon::{USER, program};
use lab::postfix::{Prepared, user_id};
use lab::process::{Process, run, wait_for};
use lab::slapd::{self, BASE, READER, Slapd, group, group_dn, person, person_dn};
use lab::{Error, Lab, namespace, trial};

fn main() -> ExitCode {
    lab::main(|| {
        Ok(vec![
            trial("the_daemon_may_do_what_it_does", the_daemon_may_do_what_it_does),
            trial("the_daemon_may_do_nothing_else", the_daemon_may_do_nothing_else),
            trial("only_the_unit_enters_the_profile", only_the_unit_enters_the_profile),
        ])
    })
}

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn rules() -> Result<FileRules, Error> {
    FileRules::of(&file("packaging/apparmor/conbool-milter"))
}

/// What the daemon and its unit do that the lab has no part for.
const ELSEWHERE: [(&str, Access); 6] = [
    // Its log (systemd-journald.service(8)).
    ("/run/systemd/journal/socket", Access::Write),
    // The credential of the unit.
    ("/run/credentials/conbool-milter.service/ldap-password", Access::Read),
    // What Sendmail is asked for, and its configuration.
    ("/run/conbool-milter/socketmap.sock", Access::Write),
    ("/etc/mail/sendmail.cf", Access::Read),
    // ExecReload=.
    ("/usr/bin/kill", Access::Map),
    // A further instance of Postfix.
    ("/var/spool/postfix-out/conbool/milter.sock", Access::Write),
];

/// What would make the profile worth little.
const FORBIDDEN: [(&str, Access); 16] = [
    ("/etc/shadow", Access::Read),
    ("/etc/passwd", Access::Write),
    ("/etc/ssl/private/server.key", Access::Read),
    ("/etc/postfix/main.cf", Access::Write),
    ("/etc/postfix/sasl_passwd", Access::Read),
    ("/etc/conbool-milter/conbool-milter.toml", Access::Write),
    ("/usr/sbin/conbool-milter", Access::Write),
    ("/usr/sbin/sendmail", Access::Execute),
    ("/usr/sbin/postdrop", Access::Execute),
    ("/usr/bin/sh", Access::Execute),
    ("/usr/bin/dash", Access::Execute),
    ("/var/lib/conbool-milter/x", Access::Execute),
    ("/var/spool/postfix/maildrop/x", Access::Write),
    ("/var/spool/postfix/active/x", Access::Read),
    ("/home/alice/x", Access::Write),
    ("/root/.ssh/id_ed25519", Access::Read),
];

fn the_daemon_may_do_nothing_else() -> Result<(), Error> {
    let rules = rules()?;
    let allowed: Vec<_> = FORBIDDEN.iter().filter(|(path, access)| rules.allow(*access, path)).collect();
    if allowed.is_empty() { Ok(()) } else { Err(format!("the profile allows {allowed:?}").into()) }
}

/// An administrator's commands are the same program, and write what the daemon must not.
fn only_the_unit_enters_the_profile() -> Result<(), Error> {
    let profile = fs::read_to_string(file("packaging/apparmor/conbool-milter"))?;
    let head = profile.lines().find(|line| line.starts_with("profile ")).ok_or("no profile")?;
    assert_eq!(head, "profile conbool-milter {", "a path would attach it to commands too");
    let unit = fs::read_to_string(file("packaging/systemd/conbool-milter.service"))?;
    assert!(unit.lines().any(|line| line == "AppArmorProfile=-conbool-milter"), "{unit}");
    Ok(())
}

fn the_daemon_may_do_what_it_does() -> Result<(), Error> {
    namespace::need(&[("/usr/bin/strace", "strace"), ("/usr/sbin/apparmor_parser", "apparmor")])?;
    let rules = rules()?;
    let host = Host::new()?;
    let done = host.run()?;
    let mut missing: Vec<String> = Vec::new();
    let elsewhere = ELSEWHERE.iter().map(|(path, access)| ((*path).to_owned(), *access));
    for (path, access) in done.into_iter().map(|(path, access)| (host.installed(&path), access)).chain(elsewhere) {
        if !rules.allow(access, &path) {
            missing.push(format!("  {path} {},", access.letter()));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("packaging/apparmor/conbool-milter lacks:\n{}", missing.join("\n")).into())
}

/// A host with the daemon, a Postfix, and a directory.
struct Host {
    lab: Lab,
    _slapd: Slapd,
    _postfix: Prepared,
    notified: UnixDatagram,
}

const CONFIG: &str = "\
provider = \"conbool\"
domains = [\"customer.test\", \"second.test\"]
relay_networks = [\"127.0.3.1\"]
internal_networks = [\"127.0.5.0/24\"]
socket = [\"unix:@lab@/queue/conbool/milter.sock\", \"unix:@lab@/own/milter.sock\", \"inet:127.0.0.1:8891\"]
state_directory = \"@lab@/state\"
[relay]
host = \"relay.conbool.test\"
[scope]
mode = \"sections\"
sections = [\"few\", \"people\"]
refresh = 5
[scope.few]
mode = \"list\"
files = [\"senders\"]
[scope.people]
mode = \"group\"
groups = [\"relay\"]
[ldap]
servers = \"ldap://ldap.customer.test\"
base = \"@base@\"
ca_file = \"ca.pem\"
bind_dn = \"@reader@\"
password_file = \"ldap-password\"
[lock_down]
mode = \"auto\"
mx_hosts = [\"*.provider.test\"]
interval = 1
settle_time = 0
[policy]
socket = \"unix:@lab@/queue/conbool/policy.sock\"
[socketmap]
socket = \"unix:@lab@/own/socketmap.sock\"
[telemetry]
socket = \"unix:@lab@/own/telemetry.sock\"
[postfix]
config_directory = \"@lab@/etc\"
[log]
format = \"json\"
";

impl Host {
    /// The calling thread is then in its network.
    fn new() -> Result<Self, Error> {
        let mut lab = Lab::start("apparmor")?;
        lab.dns.serve(&[("customer.test", "a.provider.test"), ("second.test", "a.provider.test")])?;
        let postfix = Prepared::new(&lab, "")?;
        let (server, address) = slapd::HOSTS[0];
        let identity = lab.authority.issue(server, server)?;
        let slapd = Slapd::start(&lab.dir.join("slapd"), address, &lab.authority, &identity, "")?;
        slapd.add(&person("alice", "mail: alice@customer.test"))?;
        slapd.add(&group("relay", &[person_dn("alice")]))?;
        for name in ["own", "config", "credentials"] {
            fs::create_dir_all(lab.dir.join(name))?;
        }
        let user = user_id(USER)?;
        chown(lab.dir.join("own"), Some(user), None)?;
        let config = lab.fill_in(CONFIG).replace("@base@", BASE).replace("@reader@", READER.0);
        fs::write(
            lab.dir.join("config/conbool-milter.toml"),
            config.replace("\"relay\"", &format!("{:?}", group_dn("relay"))),
        )?;
        fs::write(lab.dir.join("config/senders"), "bob@customer.test\n")?;
        fs::copy(lab.authority.file(), lab.dir.join("config/ca.pem"))?;
        let password = lab.dir.join("credentials/ldap-password");
        fs::write(&password, READER.1)?;
        fs::set_permissions(&password, fs::Permissions::from_mode(0o400))?;
        chown(&password, Some(user), None)?;
        let notified = UnixDatagram::bind(lab.dir.join("notify"))?;
        fs::set_permissions(lab.dir.join("notify"), fs::Permissions::from_mode(0o666))?;
        Ok(Self { lab, _slapd: slapd, _postfix: postfix, notified })
    }

    fn config(&self) -> PathBuf {
        self.lab.dir.join("config/conbool-milter.toml")
    }

    /// Starts a command of the program by the daemon's user, with strace's files named after `trace`.
    fn traced(&self, trace: &str, arguments: &[&str]) -> Result<Process, Error> {
        let mut command = Command::new("strace");
        command.args(trace::OPTIONS).arg("-o").arg(self.lab.dir.join(trace));
        command.args(["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "--"]);
        command.arg(program()?).args(arguments).arg("--config").arg(self.config()).current_dir("/");
        command.env("NOTIFY_SOCKET", self.lab.dir.join("notify"));
        command.env("CREDENTIALS_DIRECTORY", self.lab.dir.join("credentials"));
        Ok(Process::start(&mut command, &self.lab.dir.join(format!("{trace}.log")))?)
    }

    /// Has the daemon do everything, and tells what it did with files.
    fn run(&self) -> Result<Vec<(String, Access)>, Error> {
        let mut daemon = self.traced("run", &["run"])?;
        let log = || fs::read_to_string(self.lab.dir.join("run.log")).unwrap_or_default();
        let logged = |text: &str, times: usize| {
            wait_for(text, || (log().matches(text).count() >= times).then_some(()))
                .map_err(|error| Error::from(format!("{error}\n{}", log())))
        };
        logged("sender table written", 1)?;
        logged("\"ready\"", 1)?;
        logged("lock-down is enforced", 2)?;
        run(Command::new(program()?).arg("status").arg("--config").arg(self.config()))?;
        fs::write(self.lab.dir.join("config/senders"), "carol@customer.test\n")?;
        logged("sender table written", 2)?;
        let pid = fs::read_to_string(format!("/proc/{0}/task/{0}/children", daemon.id()))?;
        run(Command::new("kill").args(["-s", "HUP", pid.trim()]))?;
        logged("configuration reloaded", 1)?;
        run(Command::new("kill").args(["-s", "TERM", pid.trim()]))?;
        wait_for("the daemon's end", || daemon.ended().then_some(()))?;
        let mut check = self.traced("check", &["check"])?;
        wait_for("the end of the check", || check.ended().then_some(()))?;
        self.notified.set_nonblocking(true)?;
        assert!(self.notified.recv(&mut [0; 64]).is_ok(), "the service manager was told nothing");
        let mut done = trace::accesses(&self.lab.dir.join("run"), &program()?)?;
        done.extend(trace::accesses(&self.lab.dir.join("check"), &program()?)?);
        // Each of these must be among it, or the trace was not understood.
        let has = |name: &str, access| done.iter().any(|(path, found)| *found == access && path.ends_with(name));
        for (name, access) in [
            ("/postmap", Access::Execute),
            ("/postconf", Access::Execute),
            ("/conbool-milter.toml", Access::Read),
            ("/ldap-password", Access::Read),
            ("/own/telemetry.sock", Access::Write),
            ("/queue/conbool/milter.sock", Access::Write),
            ("/state/conbool_senders", Access::Write),
            ("/notify", Access::Write),
            (".so", Access::Map),
        ] {
            assert!(has(name, access), "{name} {}: not traced: {done:#?}", access.letter());
        }
        Ok(done.into_iter().collect())
    }

    /// Where a file of the lab is on a host with the package.
    fn installed(&self, path: &str) -> String {
        let lab = self.lab.dir.display();
        for (here, there) in [
            (format!("{lab}/config"), "/etc/conbool-milter"),
            (format!("{lab}/credentials"), "/run/credentials/conbool-milter.service"),
            (format!("{lab}/state"), "/var/lib/conbool-milter"),
            (format!("{lab}/own"), "/run/conbool-milter"),
            (format!("{lab}/queue"), "/var/spool/postfix"),
            (format!("{lab}/etc"), "/etc/postfix"),
            (format!("{lab}/notify"), "/run/systemd/notify"),
            (format!("{}/conbool-milter", namespace::ROOT), "/usr/sbin/conbool-milter"),
        ] {
            match path.strip_prefix(&here) {
                Some(rest) if rest.is_empty() || rest.starts_with(['/', '.']) => return format!("{there}{rest}"),
                _ => {}
            }
        }
        path.to_owned()
    }
}
