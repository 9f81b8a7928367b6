//! What a real Postfix makes of it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use conbool_milter::config::{Config, Direct, Socket};
use conbool_milter::mta::postfix::{Existing, generate};

use super::*;

/// A Postfix instance of its own, never started.
pub struct Instance {
    pub config: PathBuf,
    queue: PathBuf,
}

impl Instance {
    pub fn new(name: &str, main_cf: &str) -> Self {
        let base = directory(name);
        let (config, queue, data) = (base.join("config"), base.join("queue"), base.join("data"));
        for directory in [&config, &queue, &data] {
            fs::create_dir(directory).unwrap();
        }
        run(Command::new("chown").arg("postfix").arg(&data));
        let basics = format!(
            "compatibility_level = 3.6\nqueue_directory = {}\ndata_directory = {}\ninet_interfaces = loopback-only\n\
             myhostname = mx.customer.test\nmydestination = customer.test\nmynetworks = 127.0.0.0/8\nalias_maps =\n",
            queue.display(),
            data.display()
        );
        fs::write(config.join("main.cf"), basics + main_cf).unwrap();
        fs::copy("/etc/postfix/master.cf", config.join("master.cf"))
            .or_else(|_| fs::copy("/usr/share/postfix/master.cf.dist", config.join("master.cf")))
            .unwrap();
        Self { config, queue }
    }

    fn milter_socket(&self) -> Socket {
        Socket::Unix(self.queue.join("conbool/milter.sock"))
    }

    fn generate(&self, config: &Config) -> Fragments {
        generate(&request(config, &self.config, Existing::read(&self.config).unwrap())).unwrap()
    }

    /// As the administrator does it.
    fn apply(&self, fragments: &Fragments) {
        for (option, names) in [("-#", &fragments.replaced_settings), ("-M#", &fragments.replaced_services)] {
            if !names.is_empty() {
                run(self.command("postconf").arg(option).args(names));
            }
        }
        for (name, text) in [("main.cf", &fragments.main_cf), ("master.cf", &fragments.master_cf)] {
            let mut file = fs::OpenOptions::new().append(true).open(self.config.join(name)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
        for (name, text) in &fragments.tables {
            fs::write(self.config.join(name), text).unwrap();
        }
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(Path::new("/usr/sbin").join(name));
        command.arg("-c").arg(&self.config);
        command
    }

    fn postconf(&self, arguments: &[&str]) -> String {
        let output = run(self.command("postconf").args(arguments));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Those of the keys that the table knows, with their values.
    pub fn look_up(&self, kind: &str, table: &str, keys: &[&str]) -> Vec<(String, String)> {
        let table = format!("{kind}:{}", self.config.join(table).display());
        let mut child = self
            .command("postmap")
            .args(["-q", "-", &table])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("postmap");
        child.stdin.take().unwrap().write_all((keys.join("\n") + "\n").as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        let found = String::from_utf8(output.stdout).unwrap();
        found.lines().map(|line| line.rsplit_once('\t').map(|(k, v)| (k.into(), v.into())).unwrap()).collect()
    }
}

fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn postfix_accepts_it() {
    let instance = Instance::new(
        "accepts",
        "smtpd_milters = inet:localhost:8891\nsmtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination\n\
         default_transport = smtp",
    );
    let config = Config {
        direct: Direct { next_hop: Some("[smart.isp.test]:587".into()) },
        milter: Milter { sockets: vec![instance.milter_socket()], ..config().milter },
        ..config()
    };
    let made = instance.generate(&config);
    assert!(made.main_cf.contains("unix:conbool/milter.sock"), "{}", made.main_cf);
    assert!(made.main_cf.contains("smtpd_forbid_bare_newline = "), "{}", made.main_cf);
    instance.apply(&made);
    run(instance.command("postfix").arg("check"));
    instance.postconf(&["-n"]);
    assert_eq!(instance.postconf(&["-h", "default_transport"]), "smtp\n");
    let services = instance.postconf(&["-M"]);
    for service in
        ["conbool-relay", "conbool-direct", "conbool-split", "conbool-cleanup", "127.0.0.1:25035", "127.0.0.1:25036"]
    {
        assert!(services.lines().any(|line| line.split_whitespace().next() == Some(service)), "{service}: {services}");
    }
    let filter = instance.postconf(&["-P", "127.0.0.1:25035/inet/smtpd_recipient_restrictions"]);
    assert!(filter.contains("static:{FILTER conbool-direct:[smart.isp.test]:587}"), "{filter}");
    // Done twice, it is what it was.
    let again = instance.generate(&config);
    assert_eq!((&again.main_cf, &again.master_cf, &again.tables), (&made.main_cf, &made.master_cf, &made.tables));
    instance.apply(&again);
    run(instance.command("postfix").arg("check"));
    assert_eq!(instance.postconf(&["-M"]), services);
}

#[test]
fn an_instance_that_is_not_there_and_one_that_is_broken() {
    let empty = directory("empty");
    assert!(!Existing::read(&empty).unwrap().is_known());
    fs::write(empty.join("main.cf"), "smtpd_milters = a\nthis is no setting\n").unwrap();
    let error = Existing::read(&empty).unwrap_err().to_string();
    assert!(error.contains("main.cf"), "{error}");
}

#[test]
fn tables_say_who_goes_where() {
    let instance = Instance::new("tables", "");
    instance.apply(&instance.generate(&config()));
    let relay = "conbool-relay:[mail.conbool.com]:25";
    let in_scope = [
        "alice@customer.test",
        "ALICE+x@CUSTOMER.TEST",
        "a b@customer.test",
        "a@remote.test@customer.test",
        "jürgen@xn--mller-kva.test",
        "jürgen@müller.test",
        "jürgen@MÜLLER.test",
    ];
    let others = [
        "<>",
        "alice@sub.customer.test",
        "alice@customerxtest",
        "alice@xcustomer.test",
        "alice@customer.test.remote.test",
        "alice@customer.test@remote.test",
        "customer.test",
        "@remote.test",
    ];
    let found = instance.look_up("regexp", "conbool_senders", &[&in_scope[..], &others[..]].concat());
    assert_eq!(found, in_scope.map(|key| (key.to_owned(), relay.to_owned())));
    let found = instance.look_up("regexp", "conbool_hosted", &["alice@customer.test", "alice@remote.test", "<>"]);
    assert_eq!(found, [("alice@customer.test".to_owned(), "permit".to_owned())]);
    let headers = [
        "X-Conbool-Route: direct",
        "x-conbool-route: relay",
        "X-Conbool-Route: direct relay",
        "X-Conbool-Router: direct",
        "Subject: X-Conbool-Route: direct",
    ];
    let found = instance.look_up("regexp", "conbool_routes", &headers);
    let filters: Vec<&str> = found.iter().map(|(_, filter)| filter.as_str()).collect();
    assert_eq!(filters, ["FILTER conbool-split:[127.0.0.1]:25035", "FILTER conbool-split:[127.0.0.1]:25036"]);
    let clients = ["192.0.2.7", "192.0.3.7", "2001:db8::7", "::1"];
    let found = instance.look_up("cidr", "conbool_clients", &clients);
    assert_eq!(found.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["192.0.2.7", "2001:db8::7"]);
    let unknown = "5.4.4 Host or domain name not found. Name service error for name=a type=A: Host not found";
    let found = instance.look_up("regexp", "conbool_status", &[unknown, "5.1.1 User unknown"]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1, unknown.replace("5.4.4", "4.4.4"));
}

#[test]
fn the_command_writes_whole_files() {
    let instance = Instance::new("command", "");
    let output = instance.config.with_file_name("out put").join("new");
    let configuration = instance.config.with_file_name("milter.toml");
    let text = "provider = \"conbool\"\ndomains = [\"customer.test\"]\nrelay_networks = [\"192.0.2.0/24\"]\n\
                socket = \"unix:/var/spool/postfix/conbool/milter.sock\"\n";
    fs::write(&configuration, text).unwrap();
    // The second time replaces the files of the first.
    for _ in 0..2 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conbool-milter"));
        command.args(["setup", "postfix", "--config"]).arg(&configuration);
        command.arg("--postfix-config").arg(&instance.config).arg("--output").arg(&output);
        let run = command.output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    }
    let config = Config::parse(text, &configuration).unwrap();
    let made = instance.generate(&config);
    let mut names = vec!["main.cf", "master.cf"];
    names.extend(made.tables.iter().map(|(name, _)| name.as_str()));
    assert_eq!(fs::read_to_string(output.join("main.cf")).unwrap(), made.main_cf);
    for entry in fs::read_dir(&output).unwrap() {
        let entry = entry.unwrap();
        let at = names.iter().position(|name| entry.file_name() == *name);
        names.remove(at.unwrap_or_else(|| panic!("{:?}", entry.file_name())));
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    }
    assert_eq!(names, Vec::<&str>::new());
}
