//! What systemd makes of a daemon that dies or hangs.

use super::host::{Host, RELAY, UNITS};
use crate::lab::Error;

pub fn killed(host: &mut Host) -> Result<(), Error> {
    host.set_up()?;
    let daemon = host.daemon()?;
    host.machine.run("systemctl kill --signal KILL conbool-milter")?;
    // Postfix finds the socket, and waits for the next daemon.
    host.expect_at(RELAY, "while it is down", "")?;
    expect_another(host, daemon)
}

pub fn hung(host: &mut Host) -> Result<(), Error> {
    host.set_up()?;
    let folder = "/etc/systemd/system/conbool-milter.service.d";
    host.machine.run(&format!(
        "mkdir {folder} && printf '[Service]\\nWatchdogSec=2\\n' >{folder}/watchdog.conf &&
         systemctl daemon-reload && systemctl restart conbool-milter"
    ))?;
    let daemon = host.daemon()?;
    host.machine.run(&format!("kill -STOP {daemon}"))?;
    host.machine.wait_until(
        "journalctl --unit conbool-milter --grep 'Watchdog timeout' &&
         systemctl show --property NRestarts conbool-milter | grep -v '=0$' && systemctl is-active conbool-milter",
    )?;
    host.expect_at(RELAY, "after it hung", "")?;
    expect_another(host, daemon)
}

fn expect_another(host: &Host, daemon: u32) -> Result<(), Error> {
    host.expect_active(&UNITS)?;
    if host.daemon()? == daemon { Err("it is the same daemon".into()) } else { Ok(()) }
}
