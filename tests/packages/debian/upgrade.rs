//! A newer build over an older one, while mail comes in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::host::{Host, POSTFIX_SOCKET, RELAY};
use crate::built;
use crate::lab::Error;
use crate::lab::process::{run, wait_for};

/// How many clients send at a time.
const CLIENTS: usize = 3;

const CONFIG: &str = "/etc/conbool-milter/conbool-milter.toml";

pub fn under_load(host: &mut Host) -> Result<(), Error> {
    host.set_up()?;
    let config = fs::read(host.machine.path(CONFIG)?)?;
    let socket = format!(
        "stat -c %i {POSTFIX_SOCKET}; systemctl show --value \
        --property ActiveEnterTimestampMonotonic conbool-milter.socket conbool-milter-postfix.socket"
    );
    let sockets = host.machine.run(&socket)?;
    let newer = [("0.1.1-1", ""), ("0.1.2-1", "# A comment that the next version has.\n")];
    let newer = newer.map(|(version, line)| (version, repack(&host.machine.lab.dir, version, line)));
    let (numbers, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| -> Result<(), Error> {
        let client = || -> Result<(), String> {
            host.machine.lab.enter().map_err(|error| error.to_string())?;
            while !stop.load(Ordering::Relaxed) {
                let subject = subject(numbers.fetch_add(1, Ordering::Relaxed));
                let sent =
                    host.send(&subject, "carol@remote.test", "").map_err(|error| format!("{subject}: {error}"))?;
                if sent.queue_id.is_none() {
                    return Err(format!("{subject}: not taken: {sent:?}"));
                }
            }
            Ok(())
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let some_more = || {
            let sent = numbers.load(Ordering::Relaxed);
            wait_for("messages meanwhile", || (numbers.load(Ordering::Relaxed) >= sent + 15).then_some(()))
        };
        let upgrades = newer.into_iter().try_for_each(|(version, package)| -> Result<(), Error> {
            some_more()?;
            let daemon = host.daemon()?;
            host.add_package(&package?)?;
            host.machine
                .run("dpkg --install --force-confdef --force-confold /opt/conbool-milter.deb </dev/null 2>&1")?;
            host.expect("dpkg-query --show --showformat '${Version}' conbool-milter", version)?;
            if host.daemon()? == daemon {
                return Err(format!("{version}: the daemon was not restarted").into());
            }
            Ok(some_more()?)
        });
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().map_err(|_| "a client panicked")??;
        }
        upgrades
    })?;
    let sent = numbers.into_inner();
    for number in 0..sent {
        host.arrived(RELAY, &subject(number))?;
    }
    println!("{sent} messages during two upgrades: each arrived once");
    host.expect(&socket, &sockets)?;
    host.expect_active(&["conbool-milter.service"])?;
    if fs::read(host.machine.path(CONFIG)?)? != config {
        return Err("the configuration is not as it was edited".into());
    }
    host.expect(&format!("tail -n 1 {CONFIG}.dpkg-dist"), "# A comment that the next version has.")?;
    host.expect_no_warning()
}

fn subject(number: usize) -> String {
    format!("during the upgrade, {number}")
}

/// The package with another version, and a line more in its configuration file.
fn repack(dir: &Path, version: &str, line: &str) -> Result<PathBuf, Error> {
    let (tree, package) = (dir.join(version), dir.join(format!("{version}.deb")));
    run(Command::new("dpkg-deb").arg("--raw-extract").arg(built::package(".deb")?).arg(&tree))?;
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    let is_version = |text: &&str| text.starts_with("Version: ");
    let old = text.lines().find(is_version).ok_or("a package without a version")?;
    fs::write(&control, text.replace(old, &format!("Version: {version}")))?;
    let config = tree.join(CONFIG.trim_start_matches('/'));
    fs::write(&config, fs::read_to_string(&config)? + line)?;
    run(Command::new("dpkg-deb").args(["-Zgzip", "-z1", "--build"]).arg(&tree).arg(&package))?;
    Ok(package)
}
