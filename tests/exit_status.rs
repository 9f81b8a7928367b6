//! How `run` ends where it cannot go on: 78 if somebody has to mend something, 1 if trying again may help, 2 for wrong
//! usage. The unit has systemd try again after 1 alone.

mod running;

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use running::configuration;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("conbool-milter-{}-exit-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// Has the daemon run with these lines besides the least configuration; exit status and standard error.
    fn run(&self, more: &str) -> (Option<i32>, String) {
        fs::write(self.0.join("m.toml"), configuration(&self.0, "customer.test", more)).unwrap();
        run(&["run", "--config"], &self.0.join("m.toml"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn run(arguments: &[&str], config: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conbool-milter"));
    let output = command.args(arguments).arg(config).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn what_somebody_has_to_mend() {
    let folder = Folder::new("lasting");
    fs::write(folder.0.join("wrong.sieve"), "keeep;\n").unwrap();
    fs::write(folder.0.join("wrong-list"), "alice@elsewhere.test\n").unwrap();
    fs::write(folder.0.join("file"), "").unwrap();
    for (more, message) in [
        ("sockt = 1\n", "m.toml:6: sockt"),
        ("[rules]\nsite_script = \"wrong.sieve\"\n", "wrong.sieve:1"),
        ("[rules]\nsite_script = \"no.sieve\"\n", "rules.site_script"),
        ("[scope]\nmode = \"list\"\nfiles = [\"wrong-list\"]\n", "wrong-list:1"),
        ("[telemetry]\nsocket = \"unix:@folder@/file\"\n", "that is no socket"),
        ("[telemetry]\nsocket = \"unix:@folder@/none/t.sock\"\n", "does not exist; make it with"),
    ] {
        let (code, errors) = folder.run(more);
        assert_eq!(code, Some(78), "{more}{errors}");
        assert!(errors.contains(message), "{message}: {errors}");
    }
    let (code, errors) = run(&["run", "--config"], &folder.0.join("none.toml"));
    assert!(code == Some(78) && errors.contains("cannot be read"), "{code:?} {errors}");
}

#[test]
fn what_may_pass() {
    let folder = Folder::new("passing");
    let _taken = UnixListener::bind(folder.0.join("taken.sock")).unwrap();
    // Port 1 of this host answers nobody.
    let group = "state_directory = \"@folder@/state\"\n[ldap]\nservers = \"ldap://127.0.0.1:1\"\nbase = \"o=x\"\n\
                 [scope]\nmode = \"group\"\ngroups = [\"cn=relay,o=x\"]\n";
    for (more, message) in [
        ("[telemetry]\nsocket = \"unix:@folder@/taken.sock\"\n", "another process listens there"),
        (group, "there is no snapshot of its members"),
    ] {
        let (code, errors) = folder.run(more);
        assert_eq!(code, Some(1), "{more}{errors}");
        assert!(errors.contains(message), "{message}: {errors}");
    }
    // With a mistake besides, trying again is of no use.
    let (code, errors) = folder.run(&format!("{group}files = [\"@folder@/none\"]\n"));
    assert_eq!(code, Some(78), "{errors}");
}

#[test]
fn wrong_usage_and_other_commands() {
    let folder = Folder::new("others");
    let file = folder.0.join("m.toml");
    fs::write(&file, "sockt = 1\n").unwrap();
    assert_eq!(run(&["run", "--configuration"], &file).0, Some(2));
    assert_eq!(run(&["check", "--config"], &file).0, Some(1));
}
