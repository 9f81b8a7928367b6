//! A machine with Debian, started by its own systemd, in a lab's network: what the lab's relay and name service are to a
//! site, they are to the machine.
//!
//! Its file system is a layer in memory over one of the systems that `make-roots` has made, so that each machine begins as
//! new. systemd-nspawn boots it; everything runs below the lab's first process, and ends with it at the latest.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};

use super::built;
use super::lab::namespace::{NAME_SERVER, need};
use super::lab::process::{Process, run, wait_at_most};
use super::lab::{Error, Lab};

/// Longest time that a start of the machine or of something on it may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the machines need, and the Debian package that brings it.
const PROGRAMS: [(&str, &str); 2] =
    [("/usr/bin/systemd-nspawn", "systemd-container"), ("/usr/bin/nsenter", "util-linux")];

/// Where systemd keeps account of processes: one hierarchy or, where the kernel's older interface is in use, two.
const CGROUPS: [&str; 3] = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// The systems that `make-roots` has made.
#[derive(Debug, Clone, Copy)]
pub enum System {
    /// Without a mail server; Postfix's packages lie in `/opt/postfix`.
    Plain,
    /// With Postfix, which takes mail on [`MAIL_SERVER`](super::lab::MAIL_SERVER).
    Postfix,
}

impl System {
    fn directory(self) -> Result<PathBuf, Error> {
        let script = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/packages/make-roots"))?;
        let hash: String = Sha256::digest(&script).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let name = match self {
            Self::Plain => "plain",
            Self::Postfix => "postfix",
        };
        let directory = built::directory().join(format!("roots-{hash}")).join(name);
        if directory.exists() {
            return Ok(directory);
        }
        Err(format!("no {}: run `make test-packages`, or as root tests/packages/make-roots", directory.display())
            .into())
    }
}

/// A running machine. It ends when dropped.
pub struct Machine {
    running: Option<Running>,
    cgroups: Cgroups,
    root: Root,
    name: String,
    /// When it was up, as journalctl(1) wants it.
    started: String,
    /// The network that it is in.
    pub lab: Lab,
}

impl Machine {
    /// Starts a machine, with the lab's authority among those it trusts. The calling thread is then in its network.
    pub fn start(name: &str, system: System) -> Result<Self, Error> {
        need(&PROGRAMS)?;
        let system = system.directory()?;
        let lab = Lab::start(name)?;
        let root = Root::mount(&system, &lab.dir)?;
        fs::write(root.0.join("etc/resolv.conf"), format!("nameserver {NAME_SERVER}\n"))?;
        fs::copy(lab.authority.file(), root.0.join("usr/local/share/ca-certificates/lab.crt"))?;
        run(Command::new("chroot").arg(&root.0).arg("update-ca-certificates"))?;
        let cgroups = Cgroups::new(name)?;
        let mut machine =
            Self { running: None, cgroups, root, name: name.replace('_', "-"), started: String::new(), lab };
        machine.boot()?;
        Ok(machine)
    }

    /// Shuts the machine down and starts it again.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.run("systemctl poweroff")?;
        if let Some(running) = &mut self.running {
            wait_at_most(PATIENCE, "the machine to shut down", || running.nspawn.ended().then_some(()))?;
        }
        self.boot()
    }

    fn boot(&mut self) -> Result<(), Error> {
        let mut command = Command::new("sh");
        command.args(["-c", r#"for group in $0; do echo $$ >"$group/cgroup.procs" || exit; done; exec "$@""#]);
        command.arg(self.cgroups.0.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>().join(" "));
        command.args(["systemd-nspawn", "--quiet", "--boot", "--keep-unit", "--register=no", "--link-journal=no"]);
        command.args(["--resolv-conf=off", "--timezone=off", "--console=pipe", "--suppress-sync=yes"]);
        command.arg(format!("--machine={}", self.name)).arg("--hostname=mail").arg("--directory").arg(&self.root.0);
        let log = self.lab.dir.join("console.log");
        let mut nspawn = Process::start(&mut command, &log)?;
        let words = || fs::read_to_string(&log).unwrap_or_default();
        let init = wait_at_most(PATIENCE, "the machine's first process", || match nspawn.ended() {
            true => Some(Err(words())),
            false => first_process(nspawn.id()).map(Ok),
        })??;
        self.running = Some(Running { nspawn, init });
        // Before systemd listens it is "offline" or no answer at all.
        let state = wait_at_most(PATIENCE, "the machine's start", || {
            let output = self.output("systemctl is-system-running").ok()?;
            let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            matches!(state.as_str(), "running" | "degraded" | "maintenance").then_some(state)
        })
        .map_err(|error| format!("{error}\n{}", words()))?;
        if self.started.is_empty() {
            self.started = self.now()?;
        }
        match state.as_str() {
            "running" => Ok(()),
            _ => Err(format!("it came up {state}\n{}", self.run("systemctl --failed --no-pager")?).into()),
        }
    }

    fn init(&self) -> Result<Pid, Error> {
        Ok(self.running.as_ref().ok_or("the machine does not run")?.init)
    }

    /// Runs a shell script on the machine to its end.
    pub fn output(&self, script: &str) -> Result<Output, Error> {
        let mut command = Command::new("nsenter");
        command.args(["--all", "--target", &self.init()?.to_string(), "env", "--ignore-environment"]);
        command.args([
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            "LANG=C.UTF-8",
        ]);
        Ok(command.args(["DEBIAN_FRONTEND=noninteractive", "sh", "-c", script]).output()?)
    }

    /// What a shell script on the machine says on standard output, without the last line's end.
    ///
    /// # Errors
    /// Everything it says, when it fails.
    pub fn run(&self, script: &str) -> Result<String, Error> {
        let output = self.output(script)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
        }
        Err(format!("{script}: {}\n{}", output.status, said(&output)).into())
    }

    /// Waits until a shell script on the machine succeeds.
    pub fn wait_until(&self, script: &str) -> Result<(), Error> {
        let succeeds = || self.output(script).is_ok_and(|output| output.status.success());
        wait_at_most(PATIENCE, script, || succeeds().then_some(()))?;
        Ok(())
    }

    /// A file of the running machine, as it is seen from outside.
    pub fn path(&self, inside: &str) -> Result<PathBuf, Error> {
        Ok(Path::new("/proc").join(self.init()?.to_string()).join("root").join(inside.trim_start_matches('/')))
    }

    /// The time there, as journalctl(1) wants it.
    pub fn now(&self) -> Result<String, Error> {
        self.run("date +@%s.%6N")
    }

    /// The end of the machine's journal, from its start on.
    pub fn journal(&self) -> String {
        let show = "journalctl --no-pager --output short-precise --since";
        self.run(&format!("journalctl --sync; {show} {} | tail -n 200", self.started))
            .unwrap_or_else(|error| error.to_string())
    }
}

struct Running {
    nspawn: Process,
    /// The machine's first process.
    init: Pid,
}

impl Drop for Running {
    fn drop(&mut self) {
        // With the first process, all of the machine's end. nspawn then has nothing to wait for.
        let _ = kill(self.init, Signal::SIGKILL);
        let _ = wait_at_most(PATIENCE, "the machine's end", || self.nspawn.ended().then_some(()));
    }
}

/// What a command has said, on standard output and error.
pub fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

/// The process that systemd-nspawn has started as the first one of a machine.
fn first_process(nspawn: u32) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
    children.split_whitespace().find_map(|child| {
        let status = fs::read_to_string(format!("/proc/{child}/status")).ok()?;
        let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        let is_first = ids.split_whitespace().count() > 1 && ids.split_whitespace().last() == Some("1");
        // Before that, the machine's name and file system are not there yet.
        let comm = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
        (is_first && comm.trim() == "systemd").then(|| child.parse().ok().map(Pid::from_raw))?
    })
}

/// A system with a layer over it that takes what is written.
struct Root(PathBuf);

impl Root {
    fn mount(system: &Path, dir: &Path) -> Result<Self, Error> {
        let [root, upper, work] = ["root", "upper", "work"].map(|name| dir.join(name));
        for directory in [&root, &upper, &work] {
            fs::create_dir_all(directory)?;
        }
        let [lower, upper, work] = [system, &upper, &work].map(Path::display);
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
        Ok(Self(root))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // It ends with the lab's file system anyhow.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// Groups of processes for one machine alone: its systemd thinks that they are all there are.
struct Cgroups(Vec<PathBuf>);

impl Cgroups {
    fn new(name: &str) -> Result<Self, Error> {
        let hierarchies = CGROUPS.iter().map(Path::new).filter(|path| path.join("cgroup.procs").exists());
        // Of several runs, each has a namespace of process ids.
        let namespace = fs::metadata("/proc/self/ns/pid")?.ino();
        let name = format!("conbool-lab-{namespace}-{name}");
        let groups = Self(hierarchies.map(|path| path.join(&name)).collect());
        for group in &groups.0 {
            fs::create_dir_all(group)?;
        }
        Ok(groups)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        self.0.iter().for_each(|group| remove(group));
    }
}

/// Removes a group and those in it, as far as they are empty.
fn remove(group: &Path) {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).for_each(|entry| remove(&entry.path()));
    let _ = fs::remove_dir(group);
}
