//! Whether Postfix runs, and by the configuration that is on the disk.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::Inspection;
use crate::finding::Status;

impl Inspection<'_> {
    /// Looks for the master process, and when it read its configuration last.
    pub(super) fn running(&mut self) {
        const CHECK: &str = "running";
        let file = self.existing().queue_directory().join("pid/master.pid");
        let shown = file.display().to_string();
        let start = self.then_reload("", "").replace(" reload", " start");
        let master = match fs::read_to_string(&file) {
            Ok(text) => text.trim().parse::<i32>().ok(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return self.add(CHECK, "", Status::Unknown, format!("{shown}: {error}; run doctor as root")),
        };
        // A process that is not ours to signal is there too.
        let runs = |id: &i32| !matches!(kill(Pid::from_raw(*id), None), Err(nix::errno::Errno::ESRCH));
        let Some(master) = master.filter(runs) else {
            return self.mend(Status::Fail, (CHECK, ""), "Postfix does not run", start);
        };
        self.pass(CHECK, "", format!("master process {master}"));
        let Some(read) = configuration_read(master) else { return };
        let directory = self.request.config_directory;
        let ours = self.needed.fragments.tables.iter().map(|(name, _)| name.as_str());
        let files = ["main.cf", "master.cf"].into_iter().chain(ours).map(|name| directory.join(name));
        let changed = |file: &PathBuf| fs::metadata(file).and_then(|file| file.modified()).is_ok_and(|at| at > read);
        let newer: Vec<String> = files.filter(changed).map(|file| file.display().to_string()).collect();
        if newer.is_empty() {
            self.pass("reload", "", "Postfix has read its configuration since it changed");
        } else {
            let seen = format!("changed since Postfix read its configuration: {}", newer.join(", "));
            let mend = self.then_reload("", "");
            self.mend(Status::Warn, ("reload", ""), seen, mend);
        }
    }
}

/// When the master process read its configuration last: it starts the queue manager anew then. Known on Linux only
/// (proc(5)).
fn configuration_read(master: i32) -> Option<SystemTime> {
    let stat = |id: &str| fs::read_to_string(format!("/proc/{id}/stat")).ok();
    let processes = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let queue_manager = processes.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).find_map(|id| {
        let stat = stat(&id)?;
        // The name stands in parentheses and may hold anything.
        let (head, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let is_it = head.ends_with("(qmgr") && fields.get(1)?.parse::<i32>().ok()? == master;
        is_it.then(|| fields.get(19)?.parse::<u64>().ok()).flatten()
    })?;
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot: u64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let after_boot = Duration::from_millis(queue_manager * 1000 / u64::try_from(ticks).ok()?);
    // The time of the boot is known to the second only.
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(boot) + after_boot + Duration::from_secs(1))
}
