//! The package removed, when mail no longer needs it, and everything of it gone.

use super::host::{DIRECT, Host, RELAY, UNITS};
use crate::lab::Error;

/// Files that have our name in theirs, but for what dpkg, apt and the journal note of every package.
const REMAINS: &str = "find / -xdev \\( -path /proc -o -path /sys -o -path /var/log -o -path /usr/share/doc \\) -prune -o \
    -name '*conbool*' -print; find /run /var/spool/postfix -name '*conbool*'";

pub fn removed(host: &mut Host) -> Result<(), Error> {
    host.set_up()?;
    for command in ["apt-get remove --quiet --yes conbool-milter", "apt-get purge --quiet --yes conbool-milter"] {
        host.expect_failure(command, "conbool-milter setup --rollback --apply")?;
        host.expect("dpkg-query --show --showformat '${db:Status-Status}' conbool-milter", "installed")?;
        host.expect_active(&UNITS)?;
        host.expect_at(RELAY, &format!("after {command}"), "")?;
    }

    // What is gone back to, systemd has given to nobody else with the directory that it is in.
    host.machine.run("systemctl restart conbool-milter")?;
    host.expect("stat -c '%U %a' /var/lib/conbool-milter/backups", "root 700")?;
    host.machine.run("conbool-milter setup --rollback --apply")?;
    host.expect_mail_server_untouched()?;
    host.machine.run("apt-get remove --quiet --yes conbool-milter 2>&1")?;
    host.expect("pgrep conbool-milter || :", "")?;
    host.expect("ls /etc/conbool-milter/conbool-milter.toml", "/etc/conbool-milter/conbool-milter.toml")?;
    host.expect_at(DIRECT, "removed", "")?;

    host.machine.run("apt-get purge --quiet --yes conbool-milter 2>&1 && rm /opt/conbool-milter.deb")?;
    host.expect(REMAINS, "")?;
    host.expect("getent passwd conbool-milter; getent group conbool-milter; :", "")?;
    host.expect("systemctl list-units --all --plain --no-legend 'conbool*'", "")?;
    host.expect("systemctl is-system-running", "running")?;
    host.expect_mail_server_untouched()?;
    host.expect_at(DIRECT, "purged", "")?;
    Ok(())
}
