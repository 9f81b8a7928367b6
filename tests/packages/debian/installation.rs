//! What an installation leaves: everything ready, nothing changed.

use super::host::{DIRECT, Host, POSTFIX_SOCKET, RELAY, UNITS};
use crate::lab::Error;

/// Resident memory that the idle daemon may take, in kilobytes.
const MEMORY: u32 = 15 * 1000;

const SERVICE: &str = UNITS[0];

pub fn beside_postfix(host: &mut Host) -> Result<(), Error> {
    let words = host.install()?;
    if words.to_lowercase().contains("warning") {
        return Err(words.into());
    }
    expect_sockets(host)?;
    expect_status(host)?;
    host.expect("getent passwd conbool-milter | cut -d : -f 6-", "/var/lib/conbool-milter:/usr/sbin/nologin")?;
    host.expect("stat -c '%U:%G' /var/lib/conbool-milter", "conbool-milter:conbool-milter")?;
    host.expect("conbool-milter check >/dev/null; echo $?", "0")?;
    host.expect_mail_server_untouched()?;
    expect_small(host)?;
    tell_start(host)?;
    host.expect_at(DIRECT, "installed", "")?;
    host.expect_no_warning()?;

    host.machine.restart()?;
    expect_sockets(host)?;
    expect_status(host)?;
    host.expect_at(DIRECT, "started again", "")?;
    host.expect_no_warning()
}

pub fn before_postfix(host: &mut Host) -> Result<(), Error> {
    host.install()?;
    host.expect_active(&UNITS[..2])?;
    expect_status(host)?;
    host.expect("systemctl is-active conbool-milter-postfix.socket || :", "inactive")?;
    host.expect("ls -d /var/spool/postfix 2>/dev/null || :", "")?;
    host.expect_no_warning()?;

    host.machine.run(
        "echo postfix postfix/main_mailer_type select Local only | debconf-set-selections &&
         dpkg --install /opt/postfix/*.deb 2>&1",
    )?;
    host.expect_active(&["postfix@-.service"])?;
    expect_sockets(host)?;
    expect_status(host)?;
    host.expect_no_warning()?;

    host.machine.run(
        "postconf -e mydestination=customer.test inet_interfaces=127.0.1.1 inet_protocols=ipv4 myhostname=mail.customer.test &&
         systemctl restart postfix@-",
    )?;
    host.apply()?;
    host.expect_at(RELAY, "Postfix came later", "")?;
    Ok(())
}

/// The units are active and enabled; their sockets can be reached by those who need them, and by nobody else.
fn expect_sockets(host: &Host) -> Result<(), Error> {
    host.expect_active(&UNITS)?;
    host.expect(&format!("systemctl is-enabled {}", UNITS.join(" ")), "enabled\nenabled\nenabled")?;
    host.expect("systemctl is-active conbool-milter-socketmap.socket || :", "inactive")?;
    host.expect("systemctl is-system-running", "running")?;
    host.expect("systemctl show --value --property NeedDaemonReload conbool-milter.service", "no")?;
    let stat = |path: &str, words: &str| host.expect(&format!("stat -c '%U:%G %a' {path}"), words);
    stat("/run/conbool-milter", "conbool-milter:conbool-milter 755")?;
    stat("/run/conbool-milter/milter.sock", "conbool-milter:conbool-milter 660")?;
    stat("/var/spool/postfix/conbool", "conbool-milter:postfix 2750")?;
    stat(POSTFIX_SOCKET, "conbool-milter:postfix 660")
}

/// The daemon says that it is ready and changes nothing.
fn expect_status(host: &Host) -> Result<(), Error> {
    let status: serde_json::Value = serde_json::from_str(&host.machine.run("conbool-milter status --json")?)?;
    let is_ready = status["not_ready"].is_null() && status["mode"] == "monitor";
    if is_ready { Ok(()) } else { Err(status.to_string().into()) }
}

fn expect_small(host: &Host) -> Result<(), Error> {
    let resident = host.machine.run(&format!("ps -o rss= -p {}", host.daemon()?))?;
    println!("resident memory when idle: {} kB", resident.trim());
    if resident.trim().parse::<u32>()? < MEMORY { Ok(()) } else { Err(format!("{resident} kB resident").into()) }
}

/// Prints how long the last start took: `cargo test --test packages -- --nocapture beside_postfix`.
fn tell_start(host: &Host) -> Result<(), Error> {
    let time = |property| Ok::<u64, Error>(host.show(SERVICE, property)?.parse()?);
    let ready = time("ActiveEnterTimestampMonotonic")? - time("ExecMainStartTimestampMonotonic")?;
    println!("from start to ready: {:.1} ms", ready as f64 / 1000.0);
    Ok(())
}
