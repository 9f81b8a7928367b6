//! A machine of one's own: the test program starts itself again in private namespaces, so that the host's mail system,
//! resolver and files are never touched, and nothing is left behind when it ends, however it ends.

use std::fs;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::sethostname;

use super::Error;
use super::process::run;

/// Everything the lab writes is below here: a file system in memory that only the lab's processes see.
pub const ROOT: &str = "/run/conbool-lab";

/// Address of the name server in every network of the lab.
pub const NAME_SERVER: &str = "127.0.0.53";

/// Host name of the lab's machine.
const HOST_NAME: &str = "host.customer.test";

const INSIDE: &str = "CONBOOL_LAB_INSIDE";

/// What the lab runs, and the Debian package that brings it.
const PROGRAMS: [(&str, &str); 7] = [
    ("/usr/sbin/postfix", "postfix"),
    ("/usr/sbin/dnsmasq", "dnsmasq-base"),
    ("/usr/sbin/saslpasswd2", "sasl2-bin"),
    ("/usr/lib/x86_64-linux-gnu/sasl2/libplain.so", "libsasl2-modules"),
    ("/usr/bin/unshare", "util-linux"),
    ("/usr/bin/setpriv", "util-linux"),
    ("/usr/bin/ip", "iproute2"),
];

/// Makes sure that the program runs inside its own namespaces; returns only there.
///
/// Outside, it replaces the process by the same program inside: processes, mounts, host name and (per lab, see [`Network`])
/// networks are its own.
///
/// # Errors
/// A sentence that says what to do, when the program is not run by root or something is not installed.
pub fn enter() -> Result<(), String> {
    if std::env::var_os(INSIDE).is_some() {
        return furnish().map_err(|error| format!("cannot set up the lab's own file system: {error}"));
    }
    if !nix::unistd::geteuid().is_root() {
        return Err("the lab makes its own network and mounts and needs root: run `make test`, which uses sudo".into());
    }
    need(&PROGRAMS)?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    // A shell is the first process: it reaps orphans and, unlike a first process, the test program dies of Ctrl-C.
    let error = Command::new("unshare")
        .args(["--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .args(["sh", "-c", r#""$0" "$@"; exit $?"#])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    Err(format!("cannot run unshare: {error}"))
}

/// An error that says what to install, unless all of these files are there; each with its Debian package.
pub fn need(files: &[(&str, &str)]) -> Result<(), String> {
    let missing: Vec<_> = files.iter().filter(|(path, _)| !installed(path)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("not installed: run `apt-get install --no-install-recommends {}`", missing.join(" ")))
}

/// The plug-in folder is named after the machine's architecture: any will do.
fn installed(path: &str) -> bool {
    match path.strip_prefix("/usr/lib/x86_64-linux-gnu/") {
        Some(rest) => fs::read_dir("/usr/lib")
            .is_ok_and(|mut list| list.any(|dir| dir.is_ok_and(|dir| dir.path().join(rest).exists()))),
        None => Path::new(path).exists() || Path::new(&path.replacen("/usr/bin", "/usr/sbin", 1)).exists(),
    }
}

/// Names the lab's machine, and mounts its files over the real one's: its own resolver, host names and Postfix defaults.
fn furnish() -> Result<(), Box<dyn std::error::Error>> {
    // Sendmail would look a minute long for the domain of a name without a dot.
    sethostname(HOST_NAME)?;
    fs::create_dir_all(ROOT)?;
    mount(Some("tmpfs"), ROOT, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))?;
    let root = Path::new(ROOT);
    fs::write(root.join("resolv.conf"), format!("nameserver {NAME_SERVER}\n"))?;
    fs::write(root.join("hosts"), "127.0.0.1 localhost\n")?;
    fs::write(root.join("nsswitch.conf"), "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n")?;
    for name in ["resolv.conf", "hosts", "nsswitch.conf"] {
        bind(&root.join(name), &Path::new("/etc").join(name))?;
    }
    // postdrop, being set-group-id, takes a configuration directory only if the default main.cf names it.
    let defaults = root.join("postfix-defaults");
    Command::new("cp").args(["-a", "/etc/postfix"]).arg(&defaults).status()?;
    fs::write(defaults.join("main.cf"), "compatibility_level = 3.6\n")?;
    bind(&defaults, Path::new("/etc/postfix"))?;
    Ok(())
}

/// Shows a file or directory at another place too, for the lab's processes only. The place must exist.
pub fn bind(what: &Path, place: &Path) -> nix::Result<()> {
    mount(Some(what), place, None::<&str>, MsFlags::MS_BIND, None::<&str>)
}

/// Gives the calling thread, and whatever it starts, a file system in which `/etc`, `/var/spool` and `/var/lib` are its own:
/// `/etc` is a copy without Postfix's main.cf, the others are empty. The copies are below `dir`.
pub fn own_system(dir: &Path) -> Result<(), Error> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    fs::create_dir_all(dir)?;
    run(Command::new("cp").arg("-a").arg("/etc").arg(dir.join("etc")))?;
    fs::remove_file(dir.join("etc/postfix/main.cf"))?;
    for (name, place) in [("etc", "/etc"), ("spool", "/var/spool"), ("lib", "/var/lib")] {
        fs::create_dir_all(dir.join(name))?;
        bind(&dir.join(name), Path::new(place))?;
    }
    Ok(())
}

/// Gives the calling thread, and whatever it starts, a `/run` of its own with nothing in it but the lab.
pub fn own_run() -> Result<(), Error> {
    const ASIDE: &str = "/mnt";
    // It becomes part of the lab when it is first asked for.
    super::daemon::program()?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let again =
        |from: &str, to: &str| mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>);
    again(ROOT, ASIDE)?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))?;
    fs::create_dir_all(ROOT)?;
    Ok(again(ASIDE, ROOT)?)
}

/// A network with nothing in it but a loopback device, on which every address 127.x.y.z and every port is free.
pub struct Network {
    namespace: File,
}

impl Network {
    /// Makes a network and moves the calling thread into it.
    ///
    /// Every loopback address can be used as it is; Postfix, however, listens only on one that the device has.
    pub fn new(mail_server: Ipv4Addr) -> Result<Self, Error> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
        run(Command::new("ip").args(["address", "add", &mail_server.to_string(), "dev", "lo"]))?;
        Ok(Self { namespace: File::open("/proc/thread-self/ns/net")? })
    }

    /// Gives this network's device one more address, for a Postfix to listen on. The calling thread is in the network.
    pub fn add_address(&self, address: Ipv4Addr) -> Result<(), String> {
        run(Command::new("ip").args(["address", "add", &address.to_string(), "dev", "lo"])).map(drop)
    }

    /// Moves the calling thread, and with it whatever it starts, into this network.
    pub fn enter(&self) -> std::io::Result<()> {
        Ok(setns(&self.namespace, CloneFlags::CLONE_NEWNET)?)
    }
}
