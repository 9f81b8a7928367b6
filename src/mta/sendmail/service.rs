//! Sendmail as a service: does it run, with which configuration, and does it take a new one.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Cf;
use crate::config;

/// Where Sendmail writes its process id unless sendmail.cf says otherwise.
const PID_FILE: &str = "/var/run/sendmail.pid";

/// The unit in which distributions have it.
const UNIT: &str = "sendmail.service";

/// How long it may take to read its configuration again.
const RESTART_TIME: Duration = Duration::from_secs(30);

/// The running daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// Its process.
    pub pid: i32,
    /// True if sendmail.cf has changed since it read it.
    pub is_older_than_cf: bool,
    /// How it was started, as it says itself; empty if it does not.
    pub command: String,
    /// When it read its configuration.
    started: SystemTime,
}

/// The running daemon, found by the PidFile of sendmail.cf; `None` if none runs.
///
/// # Errors
/// A sentence, if that cannot be told.
pub fn running(sendmail: &config::Sendmail) -> Result<Option<Daemon>, String> {
    Ok(last(sendmail)?.filter(|daemon| is_sendmail(daemon.pid, &sendmail.program)))
}

/// The daemon that wrote the PidFile of sendmail.cf, whether it still runs or not.
fn last(sendmail: &config::Sendmail) -> Result<Option<Daemon>, String> {
    let cf_file = sendmail.directory.join("sendmail.cf");
    let told = |path: &Path, error: &std::io::Error| format!("{}: {}", path.display(), config::reason(error));
    let text = fs::read(&cf_file).map_err(|error| told(&cf_file, &error))?;
    let pid_file = pid_file(&Cf::parse(&String::from_utf8_lossy(&text)));
    let text = match fs::read_to_string(&pid_file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| told(&pid_file, &error))?,
    };
    let mut lines = text.lines();
    let Some(pid) = lines.next().and_then(|pid| pid.trim().parse().ok()).filter(|pid| *pid > 1) else {
        return Ok(None);
    };
    // It writes the file whenever it starts, and has read sendmail.cf by then.
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).map_err(|e| told(path, &e));
    let started = changed(&pid_file)?;
    Ok(Some(Daemon {
        pid,
        is_older_than_cf: changed(&cf_file)? > started,
        command: lines.next().unwrap_or_default().to_owned(),
        started,
    }))
}

fn pid_file(cf: &Cf) -> PathBuf {
    cf.option("PidFile").filter(|path| !path.is_empty()).unwrap_or(PID_FILE).into()
}

/// True if the process is there and is a Sendmail: process ids are used again.
fn is_sendmail(pid: i32, program: &Path) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    // One that has ended and that nobody has asked about has no command line any more.
    if fs::read(process.join("cmdline")).is_ok_and(|words| words.is_empty()) {
        return false;
    }
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    // "sendmail-mta" in Debian, "sendmail.sendmai" (cut) in Red Hat's.
    name.starts_with("sendmail")
        || fs::read_link(process.join("exe"))
            .is_ok_and(|exe| fs::canonicalize(program).is_ok_and(|program| exe == program))
}

/// Has the daemon read its configuration again, and waits until it has. One that has ended is started as it was before;
/// nothing is done where none was.
///
/// # Errors
/// A sentence, if it does not.
pub fn reload(sendmail: &config::Sendmail) -> Result<(), String> {
    let Some(before) = last(sendmail)? else { return Ok(()) };
    let runs = is_sendmail(before.pid, &sendmail.program);
    // By SIGHUP it starts itself anew, by the name by which it was started.
    let by_signal = runs && before.command.starts_with('/');
    if by_signal {
        kill(Pid::from_raw(before.pid), Signal::SIGHUP).map_err(|error| refused(before.pid, error))?;
    } else if !restart_unit(runs)? {
        if runs {
            return Err(format!(
                "Sendmail was started as \"{}\", not by its whole path, so that it cannot read its configuration again: \
                 restart it by hand",
                before.command
            ));
        }
        start(&before.command)?;
    }
    let end = Instant::now() + RESTART_TIME;
    while Instant::now() < end {
        sleep(Duration::from_millis(100));
        // Between the old and the new process of a unit there is none.
        match running(sendmail)? {
            Some(daemon) if daemon.started > before.started => return Ok(()),
            None if by_signal => {
                return Err("Sendmail ended when it was to read its configuration again; its log says why".to_owned());
            }
            _ => {}
        }
    }
    Err("Sendmail did not start again when it was to read its configuration; its log says why".to_owned())
}

/// Starts it by the command line that it has noted.
fn start(command: &str) -> Result<(), String> {
    let mut words = command.split_whitespace();
    let program =
        words.next().ok_or("Sendmail does not run, and has not noted how it was started: start it by hand")?;
    let mut command = Command::new(program);
    command.args(words).process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Whether it stays in the foreground or not, it is not waited for.
    command.spawn().map(drop).map_err(|error| format!("cannot start {program}: {}", config::reason(&error)))
}

fn refused(pid: i32, error: Errno) -> String {
    format!("process {pid} takes no SIGHUP: {}", error.desc())
}

/// Restarts the systemd unit, if that is what runs Sendmail, or where none runs what is to do so; false if not.
fn restart_unit(runs: bool) -> Result<bool, String> {
    let systemctl = |arguments: &[&str]| {
        Command::new("systemctl").args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).output()
    };
    let question = if runs { "is-active" } else { "cat" };
    if !systemctl(&["--quiet", question, UNIT]).is_ok_and(|output| output.status.success()) {
        return Ok(false);
    }
    let output = systemctl(&["restart", UNIT]).map_err(|error| format!("systemctl: {}", config::reason(&error)))?;
    match output.status.success() {
        true => Ok(true),
        false => Err(format!("systemctl restart {UNIT}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(name: &str) -> config::Sendmail {
        let directory = std::env::temp_dir().join(format!("conbool-milter-service-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let pid = directory.join("pid");
        fs::write(directory.join("sendmail.cf"), format!("O PidFile={}\n", pid.display())).unwrap();
        config::Sendmail { directory, program: "/nonexistent/sendmail".into(), ..config::Sendmail::default() }
    }

    #[test]
    fn a_process_id_that_is_anothers_now_is_no_daemon() {
        let mut places = places("other");
        let file = places.directory.join("pid");
        assert_eq!(running(&places), Ok(None));
        for text in ["", "nonsense\n", "1\n/usr/sbin/sendmail -bd\n", "999999999\n"] {
            fs::write(&file, text).unwrap();
            assert_eq!(running(&places), Ok(None), "{text}");
        }
        fs::write(&file, format!("{}\n/usr/sbin/sendmail -bd\n", std::process::id())).unwrap();
        assert_eq!(running(&places), Ok(None));
        places.program = std::env::current_exe().unwrap();
        let daemon = running(&places).unwrap().unwrap();
        assert_eq!(daemon.command, "/usr/sbin/sendmail -bd");
        assert!(!daemon.is_older_than_cf);
        let later = SystemTime::now() + Duration::from_secs(60);
        fs::File::open(places.directory.join("sendmail.cf")).unwrap().set_modified(later).unwrap();
        assert!(running(&places).unwrap().unwrap().is_older_than_cf);
        fs::remove_dir_all(&places.directory).unwrap();
    }
}
