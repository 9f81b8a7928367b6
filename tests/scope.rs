//! The sources of scopes with the real program: list files, groups of a real slapd, snapshots, and what is held back.

mod lab;
mod milter_client;

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::sync::atomic::{AtomicBool, Ordering};

use lab::certificates::Authority;
use lab::daemon::{Daemon, USER, program};
use lab::dns::Dns;
use lab::namespace::{self, Network};
use lab::process::wait_for;
use lab::slapd::{self, BASE, READER, Slapd, group_dn, person};
use lab::{Error, MAIL_SERVER, trial};
use milter_client::Client;
use serde_json::Value;

fn main() -> ExitCode {
    lab::main(|| {
        Ok(vec![
            trial("a_list_file_is_picked_up_when_it_changes", a_list_file_is_picked_up_when_it_changes),
            trial("a_list_file_is_read_at_a_reload", a_list_file_is_read_at_a_reload),
            trial("a_group_follows_the_directory", a_group_follows_the_directory),
            trial("the_directory_can_be_away", the_directory_can_be_away),
            trial("nothing_known_is_no_start", nothing_known_is_no_start),
            trial(
                "an_emptied_group_is_held_back_until_it_is_accepted",
                an_emptied_group_is_held_back_until_it_is_accepted,
            ),
            trial("scope_test_tells_why", scope_test_tells_why),
            trial("check_leaves_the_password_to_the_service", check_leaves_the_password_to_the_service),
            trial("no_message_sees_half_of_a_large_scope", no_message_sees_half_of_a_large_scope),
        ])
    })
}

/// A host with nothing but the daemon's files on it, and, where wanted, a directory.
struct Host {
    dir: PathBuf,
    slapd: Option<Slapd>,
    _network: Network,
    _dns: Dns,
}

impl Host {
    /// Moves the calling thread into a network of its own.
    fn new(name: &str, scopes: &str) -> Result<Self, Error> {
        let network = Network::new(MAIL_SERVER.1)?;
        let dir = Path::new(namespace::ROOT).join(name);
        fs::create_dir_all(dir.join("own"))?;
        own(&dir.join("own"))?;
        let hosts: &[(&str, Ipv4Addr)] = &slapd::HOSTS;
        let host = Self { _dns: Dns::start(&dir, hosts.iter().copied())?, slapd: None, dir, _network: network };
        host.configure(scopes)?;
        Ok(host)
    }

    /// The same with a directory, in which is this group of people.
    fn with_group(name: &str, scopes: &str, members: &[&str]) -> Result<Self, Error> {
        let mut host = Self::new(name, "")?;
        let authority = Authority::new(&host.dir.join("tls"))?;
        let (server, address) = slapd::HOSTS[0];
        let slapd = Slapd::start(&host.dir.join("slapd"), address, &authority, &authority.issue(server, server)?, "")?;
        for uid in ["alice", "bob", "carol"] {
            slapd.add(&person(uid, &format!("mail: {uid}@customer.test")))?;
        }
        slapd.add(&format!(
            "dn: {}\nobjectClass: posixGroup\ncn: relay\ngidNumber: 900\n{}",
            group_dn("relay"),
            lines("memberUid", members)
        ))?;
        let password = host.dir.join("password");
        fs::write(&password, READER.1)?;
        fs::set_permissions(&password, fs::Permissions::from_mode(0o400))?;
        own(&password)?;
        host.slapd = Some(slapd);
        host.configure(&format!(
            "{scopes}[ldap]\nservers = \"ldap://{server}\"\nbase = \"{BASE}\"\nca_file = \"{}\"\nbind_dn = \"{}\"\n\
             password_file = \"password\"\n",
            authority.file().display(),
            READER.0
        ))?;
        Ok(host)
    }

    /// Changes who is in the group.
    fn set_members(&self, members: &[&str]) -> Result<(), Error> {
        let slapd = self.slapd.as_ref().ok_or("no directory")?;
        let members = lines("memberUid", members);
        slapd.modify(&format!("dn: {}\nchangetype: modify\nreplace: memberUid\n{members}", group_dn("relay")))
    }

    fn configure(&self, scopes: &str) -> Result<(), Error> {
        let text = format!(
            "provider = \"conbool\"\ndomains = [\"customer.test\"]\nrelay_networks = [\"192.0.2.0/24\"]\n\
             internal_networks = [\"10.0.0.0/8\"]\nsocket = \"unix:{0}/own/milter.sock\"\n\
             state_directory = \"own/state\"\n{scopes}",
            self.dir.display()
        );
        Ok(fs::write(self.config(), text)?)
    }

    fn config(&self) -> PathBuf {
        self.dir.join("conbool-milter.toml")
    }

    /// Puts a file in place as an editor does.
    fn put(&self, name: &str, text: &str) -> Result<(), Error> {
        fs::write(self.dir.join("new"), text)?;
        Ok(fs::rename(self.dir.join("new"), self.dir.join(name))?)
    }

    fn start(&self, log: &str) -> Result<Daemon, Error> {
        Daemon::start(&self.config(), &self.dir.join(log))
    }

    fn client(&self) -> Client {
        Client::connect(&self.dir.join("own/milter.sock")).ready()
    }

    /// Whether the daemon takes a message of this sender for one that belongs on the relay.
    fn is_in(&self, daemon: &Daemon, sender: &str) -> bool {
        self.client().message(sender, &[("From", sender)]);
        daemon.verdict("QUEUEID1").is_some_and(|verdict| verdict["reason"] == "in-scope")
    }

    /// Waits until this sender is in scope.
    fn wait_in(&self, daemon: &Daemon, sender: &str) -> Result<(), Error> {
        Ok(wait_for(&format!("{sender} in scope"), || self.is_in(daemon, sender).then_some(()))?)
    }

    fn command(&self, arguments: &[&str]) -> Result<Output, Error> {
        Ok(Command::new(program()?).args(arguments).arg("--config").arg(self.config()).output()?)
    }

    /// What a command prints, and its exit code.
    fn run(&self, arguments: &[&str]) -> Result<(String, Option<i32>), Error> {
        let output = self.command(arguments)?;
        let text = [output.stdout, output.stderr].concat();
        Ok((String::from_utf8_lossy(&text).into_owned(), output.status.code()))
    }
}

/// Gives a file to the daemon's user.
fn own(path: &Path) -> Result<(), Error> {
    let user = nix::unistd::User::from_name(USER)?.ok_or("no such user")?;
    Ok(chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?)
}

fn lines(attribute: &str, values: &[&str]) -> String {
    values.iter().map(|value| format!("{attribute}: {value}\n")).collect()
}

fn wait_for_log(daemon: &Daemon, text: &str, times: usize) -> Result<(), Error> {
    let waited = wait_for(text, || (daemon.log().matches(text).count() >= times).then_some(()));
    waited.map_err(|error| format!("{error}\n{}", daemon.log()).into())
}

const LIST: &str = "[scope]\nmode = \"list\"\nfiles = [\"senders\"]\n";

const GROUP: &str = "[scope]\nmode = \"group\"\ngroups = [\"relay\"]\nrefresh = 5\n";

fn a_list_file_is_picked_up_when_it_changes() -> Result<(), Error> {
    let host = Host::new("list", "")?;
    host.put("senders", "alice@customer.test\n")?;
    host.configure(LIST)?;
    let daemon = host.start("log")?;
    assert!(host.is_in(&daemon, "alice@customer.test") && !host.is_in(&daemon, "bob@customer.test"));
    host.put("senders", "# now\r\nbob@customer.test\r\n")?;
    host.wait_in(&daemon, "bob@customer.test")?;
    assert!(!host.is_in(&daemon, "alice@customer.test"));
    // A mistake, and a file that is gone, change nothing and are told.
    host.put("senders", "carol@customer.test\ndave@remote.test\n")?;
    wait_for_log(&daemon, "senders:2: \\\"dave@remote.test\\\" is not of a hosted domain", 1)?;
    fs::remove_file(host.dir.join("senders"))?;
    wait_for_log(&daemon, "senders: cannot be read: No such file or directory", 1)?;
    assert!(host.is_in(&daemon, "bob@customer.test") && !host.is_in(&daemon, "carol@customer.test"));
    host.put("senders", "carol@customer.test\n")?;
    host.wait_in(&daemon, "carol@customer.test")
}

fn a_list_file_is_read_at_a_reload() -> Result<(), Error> {
    let host = Host::new("list-reload", "")?;
    host.put("senders", "alice@customer.test\n")?;
    host.configure(LIST)?;
    let daemon = host.start("log")?;
    host.put("senders", "bob@\n")?;
    daemon.signal("HUP")?;
    wait_for_log(&daemon, "configuration not reloaded", 1)?;
    assert!(daemon.log().contains("senders:1: "), "{}", daemon.log());
    assert!(host.is_in(&daemon, "alice@customer.test"));
    host.put("senders", "bob@customer.test\n")?;
    daemon.signal("HUP")?;
    wait_for_log(&daemon, "configuration reloaded", 1)?;
    assert!(host.is_in(&daemon, "bob@customer.test") && !host.is_in(&daemon, "alice@customer.test"));
    Ok(())
}

fn a_group_follows_the_directory() -> Result<(), Error> {
    let host = Host::with_group("group", GROUP, &["alice"])?;
    let daemon = host.start("log")?;
    assert!(host.is_in(&daemon, "alice@customer.test") && !host.is_in(&daemon, "bob@customer.test"));
    host.set_members(&["bob", "carol"])?;
    host.wait_in(&daemon, "bob@customer.test")?;
    assert!(host.is_in(&daemon, "carol@customer.test") && !host.is_in(&daemon, "alice@customer.test"));
    Ok(())
}

fn the_directory_can_be_away() -> Result<(), Error> {
    let mut host = Host::with_group("away", GROUP, &["alice"])?;
    let mut daemon = host.start("log")?;
    host.slapd.as_mut().ok_or("no directory")?.stop();
    wait_for_log(&daemon, "group not looked up; its last members stay in force", 2)?;
    assert!(host.is_in(&daemon, "alice@customer.test"));
    // A reload neither needs the directory nor loses the members.
    daemon.signal("HUP")?;
    wait_for_log(&daemon, "configuration reloaded", 1)?;
    assert!(host.is_in(&daemon, "alice@customer.test"));
    // One that needs it changes nothing.
    let config = fs::read_to_string(host.config())?;
    fs::write(host.config(), config.replace("\"relay\"", "\"relay\", \"other\""))?;
    daemon.signal("HUP")?;
    wait_for_log(&daemon, "configuration not reloaded", 1)?;
    assert!(daemon.log().contains("there is no snapshot of its members"), "{}", daemon.log());
    fs::write(host.config(), config)?;

    daemon.signal("TERM")?;
    wait_for("the daemon's end", || daemon.ended().then_some(()))?;
    let daemon = host.start("log2")?;
    assert!(daemon.log().contains("the group's members are those of the snapshot"), "{}", daemon.log());
    assert!(host.is_in(&daemon, "alice@customer.test") && !host.is_in(&daemon, "bob@customer.test"));
    let (told, code) = host.run(&["scope", "test", "alice@customer.test"])?;
    assert!(told.contains("group \"relay\": alice@customer.test, ") && told.contains(" s old"), "{told}");
    assert_eq!(code, Some(0));
    host.slapd.as_mut().ok_or("no directory")?.resume()?;
    host.set_members(&["alice", "bob"])?;
    host.wait_in(&daemon, "bob@customer.test")
}

fn nothing_known_is_no_start() -> Result<(), Error> {
    let mut host = Host::with_group("nothing", GROUP, &["alice"])?;
    host.slapd.as_mut().ok_or("no directory")?.stop();
    let told = host.start("log").err().ok_or("the daemon started")?.to_string();
    assert!(told.contains("group \"relay\": ") && told.contains("there is no snapshot of its members"), "{told}");
    // Nobody is said to be out of scope either.
    assert_eq!(host.run(&["scope", "test", "alice@customer.test"])?.1, Some(2));
    assert_eq!(host.run(&["scope", "test", "--query", "alice@customer.test"])?.1, Some(2));
    let message = host.dir.join("message");
    fs::write(&message, "From: alice@customer.test\n\n")?;
    let (told, code) = host.run(&["explain", &message.to_string_lossy()])?;
    assert!(told.contains("there is no snapshot of its members") && code == Some(1), "{told}");
    // The configuration is all right.
    assert_eq!(host.run(&["check"])?.1, Some(0));
    host.slapd.as_mut().ok_or("no directory")?.resume()?;
    assert_eq!(host.run(&["scope", "test", "--query", "alice@customer.test"])?.1, Some(0));
    assert!(host.is_in(&host.start("log")?, "alice@customer.test"));
    Ok(())
}

fn an_emptied_group_is_held_back_until_it_is_accepted() -> Result<(), Error> {
    let host = Host::with_group("held", GROUP, &["alice"])?;
    let daemon = host.start("log")?;
    assert_eq!(host.run(&["scope", "accept"])?, ("nothing is held back\n".into(), Some(1)));
    host.set_members(&[])?;
    wait_for_log(&daemon, "is held back", 1)?;
    assert!(host.is_in(&daemon, "alice@customer.test"));
    let (told, _) = host.run(&["scope", "list"])?;
    assert!(told.contains("held back: an answer with 0 entries"), "{told}");
    let (told, code) = host.run(&["scope", "accept", "default"])?;
    assert!(told.starts_with("group \"relay\": 0 entries accepted") && code == Some(0), "{told}");
    wait_for("alice out of scope", || (!host.is_in(&daemon, "alice@customer.test")).then_some(()))?;
    host.set_members(&["bob"])?;
    host.wait_in(&daemon, "bob@customer.test")
}

fn check_leaves_the_password_to_the_service() -> Result<(), Error> {
    let host = Host::with_group("credential", GROUP, &["alice"])?;
    chown(host.dir.join("password"), Some(0), Some(0))?;
    fs::create_dir_all(host.dir.join("closed/service"))?;
    fs::set_permissions(host.dir.join("closed"), fs::Permissions::from_mode(0o700))?;
    let checked = |password: &str| -> Result<(Option<i32>, String), Error> {
        let text = fs::read_to_string(host.config())?.replace("\"password\"", password);
        fs::write(host.dir.join("other.toml"), text)?;
        let mut command = Command::new("setpriv");
        command.args(["--reuid", USER, "--clear-groups", "--"]).arg(program()?).args(["check", "--config"]);
        command.arg(host.dir.join("other.toml")).env("CREDENTIALS_DIRECTORY", host.dir.join("closed/service"));
        let output = command.output()?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    // As the service manager runs it before a reload: only root can read the file, of which it makes the credential.
    assert_eq!(checked("\"password\"")?, (Some(0), String::new()));
    // By a path it can be no credential.
    let (code, errors) = checked("\"./password\"")?;
    assert!(code == Some(1) && errors.contains("cannot be read: Permission denied"), "{errors}");
    Ok(())
}

fn scope_test_tells_why() -> Result<(), Error> {
    let host = Host::new("test", "")?;
    host.put("senders", "# people\nalice@customer.test\nbob@customer.test\n")?;
    host.put("partners", "dave@remote.test\n")?;
    host.configure(
        "[scope]\nmode = \"list\"\nfiles = [\"senders\"]\nsenders = [\"carol@customer.test\"]\nshare = 0.03\n\
         [scope.partners]\nmode = \"list\"\nfiles = [\"partners\"]\n[scope.everybody]\n",
    )?;
    let test = |arguments: &[&str]| host.run(&[&["scope", "test"], arguments].concat());
    let file = host.dir.join("senders").display().to_string();
    let (told, code) = test(&["bob+news@customer.test"])?;
    assert_eq!(
        told,
        format!(
            "bob+news@customer.test\n  default: in\n    {file}:3: bob@customer.test, 0 s old\n  everybody: in\n    \
             domains: @customer.test, 0 s old\n  partners: out\n"
        )
    );
    assert_eq!(code, Some(0));
    let (told, code) = test(&["alice@customer.test"])?;
    let why = "default: out; listed, but not in the share: its position is 0.0372, the share 0.03";
    assert!(told.contains(why) && code == Some(1), "{told}");
    assert_eq!(test(&["bob@customer.test", "alice@customer.test"])?.1, Some(1));
    assert_eq!(test(&["--scope", "partners", "dave@remote.test"])?.1, Some(0));
    for wrong in [&["--scope", "avg", "dave@remote.test"][..], &["nobody"], &[]] {
        assert_eq!(test(wrong)?.1, Some(2), "{wrong:?}");
    }
    let (json, _) = test(&["--json", "alice@customer.test"])?;
    let json: Value = serde_json::from_str(&json)?;
    let scope = &json["scopes"][0];
    assert_eq!((&scope["name"], &scope["in"]), (&"default".into(), &false.into()));
    assert_eq!(scope["sources"][0]["source"], format!("{file}:2"));
    assert!(json["position"].as_f64().is_some_and(|position| (0.037150..0.037152).contains(&position)), "{json}");
    let (list, _) = host.run(&["scope", "list", "--json"])?;
    let list: Value = serde_json::from_str(&list)?;
    assert_eq!((&list[0]["mode"], &list[0]["members"]), (&"list".into(), &1.into()));
    Ok(())
}

/// Alice is the first and zoe the last of many; or neither is there.
fn large_list(with_them: bool) -> String {
    let mut text = String::from(if with_them { "alice@customer.test\n" } else { "" });
    for number in 0..200_000 {
        text += &format!("sender{number}@customer.test\n");
    }
    text + if with_them { "zoe@customer.test\n" } else { "" }
}

fn no_message_sees_half_of_a_large_scope() -> Result<(), Error> {
    let host = Host::new("large", "")?;
    host.put("senders", &large_list(true))?;
    fs::write(
        host.dir.join("both.sieve"),
        "require [\"envelope\", \"extlists\", \"editheader\"];\n\
         if envelope :list \"from\" \"urn:conbool-milter:scope\" { addheader :last \"X-First\" \"yes\"; }\n\
         if address :list \"to\" \"urn:conbool-milter:scope\" { addheader :last \"X-Last\" \"yes\"; }\n",
    )?;
    host.configure(&format!("{LIST}[rules]\nsite_script = \"both.sieve\"\n"))?;
    let daemon = host.start("log")?;
    let stop = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| -> Result<Vec<(bool, bool)>, Error> {
        let mut clients: Vec<Client> = (0..3).map(|_| host.client()).collect();
        let stop = &stop;
        let loads: Vec<_> = clients
            .drain(..)
            .map(|mut client| {
                scope.spawn(move || {
                    let mut seen = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let frames = client.message("alice@customer.test", &[("To", "zoe@customer.test")]);
                        let has = |name: &[u8]| frames.iter().any(|(_, data)| data.starts_with(name));
                        seen.push((has(b"X-First"), has(b"X-Last")));
                    }
                    seen
                })
            })
            .collect();
        let change = || -> Result<(), Error> {
            for round in 1..=4 {
                host.put("senders", &large_list(round % 2 == 0))?;
                wait_for_log(&daemon, "scope changed", round)?;
            }
            Ok(())
        };
        let changed = change();
        stop.store(true, Ordering::Relaxed);
        let mut seen = Vec::new();
        for load in loads {
            seen.extend(load.join().map_err(|_| "a client panicked")?);
        }
        changed.map(|()| seen)
    })?;
    for expected in [(true, true), (false, false)] {
        assert!(seen.contains(&expected), "no message saw {expected:?}");
    }
    assert!(seen.iter().all(|(first, last)| first == last), "a message saw half of a scope");
    Ok(())
}
