//! The package for RHEL installed on a machine with systemd, upgraded, and removed. rpm(8) is Debian's.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use super::{contents, requirements};
use crate::lab::Error;
use crate::lab::namespace::need;
use crate::lab::process::run;
use crate::machine::{Machine, System, said};

const UNITS: [&str; 4] = [
    "conbool-milter.service",
    "conbool-milter.socket",
    "conbool-milter-postfix.socket",
    "conbool-milter-socketmap.socket",
];
const NAME: &str = "conbool-milter";
const CONFIGURATION: &str = "/etc/conbool-milter/conbool-milter.toml";

pub fn life() -> Result<(), Error> {
    let host = Host::start("rpm_life")?;
    let outcome = whole_life(&host);
    outcome.map_err(|error| format!("{error}\n\nThe machine's journal:\n{}", host.machine.journal()).into())
}

fn whole_life(host: &Host) -> Result<(), Error> {
    let [service, socket, postfix, socketmap] = UNITS;
    let package = contents::rhel()?;
    let refused = host.rpm("--install", &host.put(&package)?)?;
    for needed in ["libc.so.6(GLIBC_2.34)(64bit)", "shadow-utils", "systemd"] {
        let needs = format!("{needed} is needed by conbool-milter");
        if refused.status.success() || !said(&refused).contains(&needs) {
            return Err(format!("installed where nothing is known of {needed}\n{}", said(&refused)).into());
        }
    }

    host.install_what_it_needs(&package)?;
    host.succeeds("--install", &host.put(&package)?)?;
    host.succeeds("--verify", NAME)?;
    host.says("stat -c '%U:%G %a' /run/conbool-milter /var/lib/conbool-milter", {
        "conbool-milter:conbool-milter 755\nconbool-milter:conbool-milter 755"
    })?;
    host.says(
        "getent passwd conbool-milter | cut -d: -f 5-",
        "conbool-milter daemon:/var/lib/conbool-milter:/usr/sbin/nologin",
    )?;
    // As RHEL's presets say.
    for unit in UNITS {
        host.says(&format!("systemctl is-enabled {unit}; systemctl is-active {unit}; :"), "disabled\ninactive")?;
    }

    host.machine.run("systemctl enable --now conbool-milter")?;
    for unit in UNITS {
        host.says(&format!("systemctl is-enabled {unit}"), "enabled")?;
    }
    host.active(&[service, socket])?;
    host.says(&format!("systemctl is-active {postfix} {socketmap}; :"), "inactive\ninactive")?;

    // Postfix comes, here from Debian's package; what the distribution's own would start is a stub of this name.
    host.machine.run("dpkg --install /opt/postfix/*.deb 2>&1")?;
    host.succeeds("--install", &host.stub("postfix", &[])?)?;
    host.active(&[service, socket, postfix])?;
    host.says("stat -c '%U:%G %a' /var/spool/postfix/conbool", "conbool-milter:postfix 2750")?;

    host.machine.run(&format!("echo '# edited' >>{CONFIGURATION}"))?;
    let invocation = |unit: &str| host.machine.run(&format!("systemctl show --value --property InvocationID {unit}"));
    let next = host.next_release()?;
    let before = UNITS.map(invocation).into_iter().collect::<Result<Vec<_>, _>>()?;
    host.succeeds("--upgrade", &next)?;
    host.active(&[service, socket, postfix])?;
    let after = UNITS.map(invocation).into_iter().collect::<Result<Vec<_>, _>>()?;
    if before[0] == after[0] || before[1..] != after[1..] {
        return Err(format!("not the service alone has been started again: {before:?}, {after:?}").into());
    }
    host.says(&format!("tail -n 1 {CONFIGURATION} {CONFIGURATION}.rpmnew"), {
        "==> /etc/conbool-milter/conbool-milter.toml <==\n# edited\n\n\
         ==> /etc/conbool-milter/conbool-milter.toml.rpmnew <==\n# new in this release"
    })?;

    // What is asked by a mail server stays.
    host.machine.run("postconf -e smtpd_milters=unix:conbool/milter.sock")?;
    let refused = host.rpm("--erase", NAME)?;
    if refused.status.success() || !said(&refused).contains("conbool-milter setup --rollback --apply") {
        return Err(format!("erased while Postfix asks it\n{}", said(&refused)).into());
    }
    host.active(&[service, socket, postfix])?;
    let kept = host.rpm("--verify", NAME)?;
    if said(&kept).contains("missing") || said(&kept).contains("not installed") {
        return Err(said(&kept).into());
    }

    host.machine.run("postconf -e smtpd_milters= && echo kept >/var/lib/conbool-milter/state")?;
    host.succeeds("--erase", NAME)?;
    host.says("pgrep conbool-milter || :", "")?;
    host.says("systemctl list-units --all --plain --no-legend 'conbool*'", "")?;
    host.says("find /etc/systemd/system /run /usr /var/spool -xdev -name '*conbool*'", "")?;
    host.says("ls /etc/conbool-milter", "conbool-milter.toml.rpmnew\nconbool-milter.toml.rpmsave")?;
    host.says("tail -n 1 /etc/conbool-milter/conbool-milter.toml.rpmsave", "# edited")?;
    host.says(
        "cat /var/lib/conbool-milter/state && getent passwd conbool-milter | cut -d: -f 1",
        "kept\nconbool-milter",
    )
}

/// RHEL and Fedora have systemd-update-helper(8), which the scriptlets then ask, as systemd-rpm-macros do. A stub of it
/// writes down what it is asked.
pub fn update_helper() -> Result<(), Error> {
    let host = Host::start("rpm_update_helper")?;
    let helper = "/usr/lib/systemd/systemd-update-helper";
    host.machine.run(&format!("printf '#!/bin/sh\\necho \"$@\" >>/opt/asked\\n' >{helper} && chmod 755 {helper}"))?;
    let package = contents::rhel()?;
    host.install_what_it_needs(&package)?;
    host.succeeds("--install", &host.put(&package)?)?;
    host.succeeds("--upgrade", &host.next_release()?)?;
    host.succeeds("--erase", NAME)?;
    let units = UNITS.join(" ");
    let asked = ["install-system-units", &units, "mark-restart-system-units", UNITS[0], "remove-system-units", &units]
        .join(" ");
    host.says("tr '\\n' ' ' </opt/asked", &asked)
}

/// A machine that takes RPMs.
struct Host {
    machine: Machine,
}

impl Host {
    fn start(name: &str) -> Result<Self, Error> {
        need(&[("/usr/bin/rpmbuild", "rpm")])?;
        let machine = Machine::start(name, System::Plain)?;
        // As RHEL and Fedora have it; Debian enables what no preset names.
        machine.run(
            "mkdir -p /etc/systemd/system-preset && \
            echo 'disable *' >/etc/systemd/system-preset/99-default-disable.preset",
        )?;
        Ok(Self { machine })
    }

    /// Runs rpm(8) on the machine. Debian's asks to be told that Debian's packages are not what is meant.
    fn rpm(&self, action: &str, package: &str) -> Result<Output, Error> {
        self.machine.output(&format!("rpm --force-debian --dbpath /var/lib/rpm {action} {package}"))
    }

    /// Expects rpm(8) to succeed, and to say nothing but how the configuration was kept.
    fn succeeds(&self, action: &str, package: &str) -> Result<(), Error> {
        let output = self.rpm(action, package)?;
        let words = said(&output);
        let expected = |line: &str| line.starts_with(&format!("warning: {CONFIGURATION} "));
        match output.status.success() && words.lines().all(expected) {
            true => Ok(()),
            false => Err(format!("rpm {action} {package}: {}\n{words}", output.status).into()),
        }
    }

    /// Puts a package file on the machine, and gives back where.
    fn put(&self, package: &Path) -> Result<String, Error> {
        let name = package.file_name().unwrap_or_default().to_string_lossy();
        let place = format!("/opt/{name}");
        fs::copy(package, self.machine.path(&place)?)?;
        Ok(place)
    }

    /// Expects a script on the machine to say exactly this.
    fn says(&self, script: &str, words: &str) -> Result<(), Error> {
        let said = self.machine.run(script)?;
        if said == words { Ok(()) } else { Err(format!("{script}: {said:?}, not {words:?}").into()) }
    }

    fn active(&self, units: &[&str]) -> Result<(), Error> {
        units.iter().try_for_each(|unit| self.says(&format!("systemctl is-active {unit}; :"), "active"))
    }

    /// Installs a stub for what RHEL has and rpm's database of this machine does not know: nothing else is needed, and so
    /// no check of requirements is left out.
    fn install_what_it_needs(&self, package: &Path) -> Result<(), Error> {
        let needed = requirements(package)?;
        let others: Vec<_> = needed.iter().filter(|name| !name.starts_with("config(")).map(String::as_str).collect();
        self.succeeds("--install", &self.stub("rhel", &others)?)
    }

    /// Builds an empty package.
    fn stub(&self, name: &str, provides: &[&str]) -> Result<String, Error> {
        let directory = self.machine.lab.dir.join(name);
        fs::create_dir_all(&directory)?;
        let spec = directory.join("stub.spec");
        let provides: String = provides.iter().map(|provided| format!("Provides: {provided}\n")).collect();
        let head = format!("Name: {name}\nVersion: 1\nRelease: 1\nSummary: Stub\nLicense: none\nBuildArch: noarch\n");
        fs::write(&spec, format!("{head}{provides}%description\nStub\n%files\n"))?;
        let top = format!("_topdir {}", directory.display());
        run(Command::new("rpmbuild").args(["-bb", "--quiet", "--define", &top]).arg(&spec))?;
        self.put(&directory.join(format!("RPMS/noarch/{name}-1-1.noarch.rpm")))
    }

    /// Builds the package of a second release, with the installed program and a new default configuration.
    fn next_release(&self) -> Result<String, Error> {
        let tree = self.machine.lab.dir.join("tree");
        fs::create_dir_all(&tree)?;
        for entry in fs::read_dir(env!("CARGO_MANIFEST_DIR"))? {
            let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
            match name.to_str() {
                Some("packaging") => drop(run(Command::new("cp").arg("-R").args([&path, &tree]))?),
                Some(".git" | "target") | None => {}
                Some(name) => symlink(&path, tree.join(name))?,
            }
        }
        let configuration = tree.join("packaging/conbool-milter.toml");
        fs::write(&configuration, fs::read_to_string(&configuration)? + "# new in this release\n")?;
        let program = tree.join("program");
        fs::copy(self.machine.path("/usr/sbin/conbool-milter")?, &program)?;
        let mut build = Command::new(tree.join("packaging/build-rpm"));
        run(build.arg(tree.join("built")).env("RELEASE", "2").env("PROGRAM", program))?;
        self.put(
            &tree
                .join(format!("built/conbool-milter-{}-2.el9.x86_64.rpm", env!("CARGO_PKG_VERSION").replace('-', "~"))),
        )
    }
}
