//! The built program in a process of its own, with a configuration that can be rewritten.

// Every test program uses some of it.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The built program with a configuration that can be rewritten.
pub struct Daemon {
    /// Its configuration, log and sockets.
    pub folder: PathBuf,
    process: Child,
}

impl Daemon {
    /// Starts the daemon with a socket `milter.sock` in its folder, and waits until it is ready.
    pub fn start(name: &str) -> Self {
        Self::start_with(name, "")
    }

    /// Starts the daemon with these additional lines in its configuration; `@folder@` stands for its folder.
    pub fn start_with(name: &str, more: &str) -> Self {
        Self::start_configured(name, |folder| configuration(folder, "customer.test", more))
    }

    /// Starts the daemon with what `configuration` gives for its folder, where all its sockets have to be.
    pub fn start_configured(name: &str, configuration: impl FnOnce(&Path) -> String) -> Self {
        let daemon = Self::spawn(name, &[], configuration);
        daemon.wait_for_log("\"ready\"", 1);
        daemon
    }

    /// The same with these environment variables, and without waiting.
    pub fn spawn(name: &str, environment: &[(&str, &str)], configuration: impl FnOnce(&Path) -> String) -> Self {
        let folder = std::env::temp_dir().join(format!("conbool-milter-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("m.toml"), configuration(&folder)).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_conbool-milter"))
            .args(["run", "--config"])
            .arg(folder.join("m.toml"))
            .envs(environment.iter().copied())
            .stderr(fs::File::create(folder.join("log")).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { folder, process }
    }

    /// Writes the configuration anew.
    pub fn configure(&self, domain: &str, more: &str) {
        // In one step, as an editor should: the daemon must not read half a file.
        let new = self.folder.join("m.toml.new");
        fs::write(&new, configuration(&self.folder, domain, more)).unwrap();
        fs::rename(new, self.folder.join("m.toml")).unwrap();
    }

    /// Has it read the configuration.
    pub fn reload(&self) {
        self.signal("HUP");
    }

    /// Sends a signal such as `TERM`.
    pub fn signal(&self, name: &str) {
        let done = Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Waits for its end; true if it ended well.
    pub fn wait(&mut self) -> bool {
        self.exit_code() == Some(0)
    }

    /// Waits for its end; its exit status, if it was not killed.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// Waits until this text has been logged so many times.
    pub fn wait_for_log(&self, text: &str, times: usize) {
        let begin = Instant::now();
        while self.log().matches(text).count() < times {
            assert!(begin.elapsed() < Duration::from_secs(30), "{text} is not in the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The least configuration, for one hosted domain.
pub fn configuration(folder: &Path, domain: &str, more: &str) -> String {
    format!(
        "provider = \"conbool\"\ndomains = [\"{domain}\"]\nrelay_networks = [\"192.0.2.0/24\"]\n\
         internal_networks = [\"10.0.0.0/8\"]\nsocket = \"unix:@folder@/milter.sock\"\n{more}"
    )
    .replace("@folder@", &folder.to_string_lossy())
}
