//! The units, user and directories that packages install, as systemd's own programs judge them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const SERVICE: &str = "packaging/systemd/conbool-milter.service";

/// The greatest exposure that is allowed, in tenths.
const EXPOSURE: &str = "20";

/// A root directory of its own; gone when dropped.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("conbool-milter-{}-{name}", std::process::id()));
        fs::create_dir_all(root.join("etc")).unwrap();
        Self(root)
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs one of systemd's programs on this root.
    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.arg(format!("--root={}", self.0.display())).args(arguments);
        command.output().unwrap_or_else(|error| panic!("{program} (apt-get install systemd): {error}"))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A file of this project.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap()
}

fn expect_silence(output: &Output) {
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}: {}", output.status, String::from_utf8_lossy(&said));
}

fn security(arguments: &[&str]) -> Output {
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=true", "--no-pager"]).args(arguments).arg(file(SERVICE));
    command.output().expect("systemd-analyze is needed (apt-get install systemd)")
}

#[test]
fn the_service_is_exposed_little() {
    let judged = security(&[&format!("--threshold={EXPOSURE}")]);
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
}

#[test]
fn what_the_service_may_do_has_a_reason() {
    let unit = read(SERVICE);
    let comments: String = unit.lines().filter(|line| line.starts_with('#')).collect();
    let has_reason = |setting: &str| {
        let lines: Vec<&str> = unit.lines().collect();
        let above = |at: usize| at > 0 && lines[at - 1].starts_with('#');
        comments.contains(setting) || (0..lines.len()).any(|at| lines[at].starts_with(setting) && above(at))
    };
    let judged: Vec<Value> = serde_json::from_slice(&security(&["--json=short"]).stdout).unwrap();
    let relaxed: Vec<&str> =
        judged.iter().filter(|check| !check["exposure"].is_null()).filter_map(|check| check["name"].as_str()).collect();
    assert!(relaxed.iter().any(|name| name.starts_with("PrivateNetwork=")), "{relaxed:?}");
    for name in relaxed {
        let setting = &name[..=name.find('=').unwrap()];
        assert!(has_reason(setting), "{name}: no comment in {SERVICE} says why {setting} is as it is");
    }
}

#[test]
fn systemd_finds_no_fault_with_the_units() {
    let root = Root::new("units");
    let units: Vec<PathBuf> = fs::read_dir(file("packaging/systemd"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    let names: Vec<&str> = units.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    for name in &names {
        root.put(&format!("usr/lib/systemd/system/{name}"), &read(&format!("packaging/systemd/{name}")));
    }
    for target in ["basic", "multi-user", "network", "nss-lookup", "shutdown", "sockets", "sysinit"] {
        root.put(&format!("usr/lib/systemd/system/{target}.target"), "[Unit]\nDescription=of systemd\n");
    }
    for program in ["usr/sbin/conbool-milter", "usr/bin/install", "bin/kill"] {
        root.put(program, "#!/bin/sh\n");
    }
    assert!(names.len() >= 4, "{names:?}");
    expect_silence(&root.run("systemd-analyze", &[&["verify", "--man=no"], names.as_slice()].concat()));
    // It would have told.
    root.put("usr/lib/systemd/system/conbool-milter.socket", "[Socket]\nListenStream=/run/s\nSocketModus=0660\n");
    let told = root.run("systemd-analyze", &["verify", "--man=no", "conbool-milter.socket"]);
    assert!(String::from_utf8_lossy(&told.stderr).contains("SocketModus"), "{told:?}");
}

#[test]
fn a_socket_unit_names_the_door_that_it_is_for() {
    for (unit, door) in [("", "milter"), ("-postfix", "milter"), ("-socketmap", "socketmap")] {
        let unit = format!("conbool-milter{unit}.socket");
        let name = format!("FileDescriptorName={door}");
        assert!(read(&format!("packaging/systemd/{unit}")).lines().any(|line| line == name), "{unit}: {name}");
        let sockets = read(SERVICE).lines().find_map(|line| line.strip_prefix("Sockets=").map(str::to_owned)).unwrap();
        assert!(sockets.split(' ').any(|socket| socket == unit), "{unit} is not in Sockets={sockets}");
    }
}

#[test]
fn user_and_directory_are_made() {
    let root = Root::new("user");
    let sysusers = file("packaging/sysusers.d/conbool-milter.conf");
    let made = root.run("systemd-sysusers", &[sysusers.to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    let passwd = fs::read_to_string(root.0.join("etc/passwd")).unwrap();
    let user: Vec<&str> = passwd.lines().find(|line| line.starts_with("conbool-milter:")).unwrap().split(':').collect();
    assert_eq!(user[4..], ["conbool-milter daemon", "/var/lib/conbool-milter", "/usr/sbin/nologin"]);
    let group = fs::read_to_string(root.0.join("etc/group")).unwrap();
    assert!(group.lines().any(|line| line == format!("conbool-milter:x:{}:", user[3])), "{group}");
    // Nobody logs in as it.
    assert!(fs::read_to_string(root.0.join("etc/shadow")).unwrap().contains("conbool-milter:!*:"));
    // A second time changes nothing.
    expect_silence(&root.run("systemd-sysusers", &[sysusers.to_str().unwrap()]));

    let tmpfiles = file("packaging/tmpfiles.d/conbool-milter.conf");
    expect_silence(&root.run("systemd-tmpfiles", &["--create", tmpfiles.to_str().unwrap()]));
    let owner = [2, 3].map(|field: usize| user[field].parse::<u32>().unwrap());
    for path in ["run/conbool-milter", "var/lib/conbool-milter"] {
        let directory = fs::metadata(root.0.join(path)).unwrap();
        assert_eq!(([directory.uid(), directory.gid()], directory.mode() & 0o7777), (owner, 0o755), "{path}");
    }
}
