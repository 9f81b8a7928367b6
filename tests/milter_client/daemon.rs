//! The built program as a daemon whose configuration can be rewritten.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Client;

/// A running daemon for `customer.test`, internal clients in 10.0.0.0/8; it is killed when dropped.
pub struct Daemon {
    /// Of its own: holds `m.toml`, `milter.sock` and `log`.
    pub folder: PathBuf,
    process: Child,
}

impl Daemon {
    /// Starts it with `more` at the end of the configuration, in which `FOLDER` stands for its folder.
    pub fn start(name: &str, more: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("conbool-milter-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("m.toml"), configuration(&folder, "customer.test", more)).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_conbool-milter"))
            .args(["run", "--config"])
            .arg(folder.join("m.toml"))
            .stderr(fs::File::create(folder.join("log")).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Self { folder, process };
        daemon.wait_for_log("\"ready\"", 1);
        daemon
    }

    /// Writes another configuration, which it does not read before it is told to.
    pub fn configure(&self, domain: &str, more: &str) {
        // In one step, as an editor should: the daemon must not read half a file.
        let new = self.folder.join("m.toml.new");
        fs::write(&new, configuration(&self.folder, domain, more)).unwrap();
        fs::rename(new, self.folder.join("m.toml")).unwrap();
    }

    /// Sends a signal such as `HUP` or `TERM`.
    pub fn signal(&self, name: &str) {
        let done = Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// Waits until the log has `text` so often.
    pub fn wait_for_log(&self, text: &str, times: usize) {
        let begin = Instant::now();
        while self.log().matches(text).count() < times {
            assert!(begin.elapsed() < Duration::from_secs(30), "{text} is not in the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A connection of a mail server, ready for messages from an internal client.
    pub fn client(&self) -> Client {
        Client::connect(&self.folder.join("milter.sock")).ready()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn configuration(folder: &Path, domain: &str, more: &str) -> String {
    let folder = folder.display().to_string();
    let more = more.replace("FOLDER", &folder);
    format!(
        "provider = \"conbool\"\ndomains = [\"{domain}\"]\nrelay_networks = [\"192.0.2.0/24\"]\n\
         internal_networks = [\"10.0.0.0/8\"]\nsocket = \"unix:{folder}/milter.sock\"\n{more}"
    )
}
