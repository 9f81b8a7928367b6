//! Whether Sendmail runs, and by the configuration that is on the disk.

use super::Inspection;
use crate::finding::Status;
use crate::mta::postfix::quoted;
use crate::mta::sendmail::service;

impl Inspection<'_> {
    /// Looks for the daemon, and when it read its configuration.
    pub(super) fn running(&mut self) {
        const CHECK: &str = "running";
        let daemon = match service::running(&self.examined.config.sendmail) {
            Ok(daemon) => daemon,
            Err(error) => return self.add(CHECK, "", Status::Unknown, format!("{error}; run doctor as root")),
        };
        let Some(daemon) = daemon else {
            return self.mend(Status::Fail, (CHECK, ""), "Sendmail does not run", "systemctl start sendmail");
        };
        self.pass(CHECK, "", format!("process {}", daemon.pid));
        if daemon.is_older_than_cf {
            let seen = format!("{} changed since Sendmail read it", self.cf_file.display());
            let mend = self.restart();
            self.mend(Status::Warn, ("reload", ""), seen, mend);
        } else {
            self.pass("reload", "", "Sendmail has read its configuration since it changed");
        }
    }

    /// The command that puts a new sendmail.cf in force.
    pub(super) fn restart(&self) -> String {
        let file = self.cf.option("PidFile").unwrap_or("/var/run/sendmail.pid");
        format!("kill -HUP $(head -n 1 {})", quoted(file))
    }
}
