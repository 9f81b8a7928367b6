//! The sources together, with a directory that says what the tests want.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::address::Address;
use crate::config::Config;

/// A folder of this test, empty.
pub fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("conbool-milter-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A stand-in for a directory.
#[derive(Clone, Default)]
struct Says(Arc<Mutex<Said>>);

#[derive(Default)]
struct Said {
    /// The members of every group.
    members: Vec<String>,
    /// Why it cannot answer, if so.
    failure: Option<String>,
    /// How often it was asked.
    asked: usize,
}

impl Says {
    fn members(&self, members: &[&str]) {
        let mut said = self.0.lock().unwrap();
        (said.members, said.failure) = (members.iter().map(ToString::to_string).collect(), None);
    }

    fn nothing(&self) {
        self.0.lock().unwrap().failure = Some("ldaps://a.test: no answer".into());
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked
    }

    fn directory(&self, description: &str) -> Directory {
        let says = self.0.clone();
        Directory::new(description.into(), move |_| {
            let mut said = says.lock().unwrap();
            said.asked += 1;
            let answer = said.failure.clone().map_or(Ok(said.members.clone()), Err);
            async move { answer }
        })
    }
}

fn config(folder: &Path, scopes: &str) -> Config {
    let text = format!(
        "provider = \"conbool\"\ndomains = [\"customer.test\", \"second.test\"]\nrelay_networks = [\"192.0.2.0/24\"]\n\
         socket = \"unix:/run/milter.sock\"\nstate_directory = \"state\"\n{scopes}\
         [ldap]\nservers = \"ldaps://a.test\"\nbase = \"dc=test\"\n"
    );
    Config::parse(&text, &folder.join("m.toml")).unwrap()
}

const GROUP: &str = "[scope]\nmode = \"group\"\ngroups = [\"cn=relay\"]\nrefresh = 5\n";

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(future)
}

fn load(config: &Config, says: &Says, before: Option<&Loaded>) -> Result<Loaded, Vec<String>> {
    let loaded = block_on(Loaded::load(config, Some(&says.directory("ldaps://a.test")), before));
    loaded.map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

fn contains(loaded: &Loaded, address: &str) -> bool {
    loaded.sets().default.contains(&Address::parse(address).unwrap())
}

#[test]
fn every_mode_gives_its_addresses() {
    let folder = folder("sources-modes");
    fs::write(folder.join("list"), "carol@customer.test\n@second.test\n").unwrap();
    fs::write(folder.join("partners"), "dave@remote.test\n").unwrap();
    let scopes = "[scope]\nmode = \"group\"\ngroups = [\"cn=relay\"]\nfiles = [\"list\"]\nsenders = [\"bob@customer.test\"]\n\
                  [scope.everybody]\n[scope.partners]\nmode = \"list\"\nfiles = [\"partners\"]\n";
    let says = Says::default();
    says.members(&["Alice@customer.test", "alice@private.test"]);
    let loaded = load(&config(&folder, scopes), &says, None).unwrap();
    for (address, is_in) in [
        ("alice@customer.test", true),
        ("bob@customer.test", true),
        ("carol@customer.test", true),
        ("anybody@second.test", true),
        // People's private addresses are not the relay's.
        ("alice@private.test", false),
        ("dave@remote.test", false),
    ] {
        assert_eq!(contains(&loaded, address), is_in, "{address}");
    }
    let named = loaded.sets().named;
    assert!(named["everybody"].contains(&Address::parse("anybody@customer.test").unwrap()));
    assert!(named["partners"].contains(&Address::parse("dave@remote.test").unwrap()));
    let status = loaded.status();
    let default = &status[0];
    assert_eq!((default.name.as_str(), default.mode.as_str(), default.members), ("default", "group", 4));
    let sources: Vec<_> = default.sources.iter().map(|source| (source.kind.as_str(), source.members)).collect();
    assert_eq!(sources, [("senders", 1), ("file", 2), ("group", 2)]);
}

#[test]
fn sections_make_up_the_default_scope() {
    let folder = folder("sources-sections");
    fs::write(folder.join("list"), "carol@customer.test\n").unwrap();
    let scopes = "[scope]\nmode = \"sections\"\nsections = [\"avg\", \"nta\"]\nshare = 0.03\n\
                  [scope.avg]\nmode = \"group\"\ngroups = [\"cn=relay\"]\n\
                  [scope.nta]\nmode = \"list\"\nfiles = [\"list\"]\nsenders = [\"dave@second.test\"]\n\
                  [scope.other]\nmode = \"list\"\nsenders = [\"erin@customer.test\"]\n";
    let says = Says::default();
    says.members(&["alice@customer.test", "bob@customer.test", "alice@private.test"]);
    let whole = load(&config(&folder, &scopes.replace("0.03", "1.0")), &says, None).unwrap();
    for (address, is_in) in [
        ("alice@customer.test", true),
        ("carol@customer.test", true),
        ("dave@second.test", true),
        ("erin@customer.test", false),
        ("alice@private.test", false),
    ] {
        assert_eq!(contains(&whole, address), is_in, "{address}");
    }
    // The positions of alice and bob: see the tests of shares.
    let part = load(&config(&folder, scopes), &says, None).unwrap();
    assert!(contains(&part, "bob@customer.test") && !contains(&part, "alice@customer.test"));
    assert_eq!(part.sets().named["avg"].len(), 3);
    let with_all = scopes.replace(
        "[scope.nta]\nmode = \"list\"\nfiles = [\"list\"]\nsenders = [\"dave@second.test\"]\n",
        "[scope.nta]\n",
    );
    let config = config(&folder, &with_all.replace("0.03", "1.0"));
    assert!(config.has_static_sender_table() && contains(&load(&config, &says, None).unwrap(), "x@second.test"));
}

#[test]
fn where_an_address_comes_from_is_told() {
    let folder = folder("sources-origins");
    fs::write(folder.join("list"), "# people\n\ncarol@customer.test\n@second.test\n").unwrap();
    let scopes = "[scope]\nmode = \"group\"\ngroups = [\"cn=relay\"]\nfiles = [\"list\"]\nshare = 0.0\n";
    let says = Says::default();
    says.members(&["carol@customer.test"]);
    let loaded = load(&config(&folder, scopes), &says, None).unwrap();
    let list = folder.join("list").display().to_string();
    let told = |address: &str| -> Vec<(String, String)> {
        let origins = loaded.origins("default", &Address::parse(address).unwrap());
        origins.into_iter().map(|origin| (origin.source, origin.entry)).collect()
    };
    let carol = "carol@customer.test".to_string();
    assert_eq!(
        told("carol+x@customer.test"),
        [(format!("{list}:3"), carol.clone()), ("group \"cn=relay\"".into(), carol)]
    );
    assert_eq!(told("x@second.test"), [(format!("{list}:4"), "@second.test".into())]);
    assert_eq!(told("x@customer.test"), []);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let folder = folder("sources-mistakes");
    fs::write(folder.join("list"), "carol@remote.test\n").unwrap();
    fs::write(folder.join("empty"), "\n").unwrap();
    let scopes = "[scope]\nmode = \"group\"\ngroups = [\"cn=relay\"]\nfiles = [\"list\", \"empty\"]\n";
    let says = Says::default();
    says.nothing();
    let mistakes = load(&config(&folder, scopes), &says, None).unwrap_err();
    assert_eq!(mistakes.len(), 3, "{mistakes:?}");
    assert!(mistakes[0].contains("list:1: \"carol@remote.test\" is not of a hosted domain"), "{mistakes:?}");
    assert!(mistakes[1].contains("empty: has no entry"), "{mistakes:?}");
    assert!(
        mistakes[2].starts_with("group \"cn=relay\": ldaps://a.test: no answer; there is no snapshot"),
        "{mistakes:?}"
    );
}

#[test]
fn without_the_directory_the_snapshot_is_used_and_without_that_nothing() {
    let folder = folder("sources-snapshot");
    let (config, says) = (config(&folder, GROUP), Says::default());
    says.nothing();
    assert!(load(&config, &says, None).is_err());
    says.members(&["alice@customer.test"]);
    load(&config, &says, None).unwrap();
    says.nothing();
    let loaded = load(&config, &says, None).unwrap();
    assert!(contains(&loaded, "alice@customer.test"));
    assert_eq!(loaded.status()[0].sources[0].problem.as_deref(), Some("ldaps://a.test: no answer"));
    // That of another directory is none.
    assert!(block_on(Loaded::load(&config, Some(&says.directory("ldaps://b.test")), None)).is_err());
}

#[test]
fn a_directory_that_hangs_does_not_keep_a_daemon_from_taking_over() {
    let folder = folder("sources-takes-over");
    let (config, says) = (config(&folder, GROUP), Says::default());
    says.members(&["alice@customer.test"]);
    load(&config, &says, None).unwrap();
    let hangs = Directory::new("ldaps://a.test".into(), |_| std::future::pending());
    let loaded = block_on(Loaded::load(&config, Some(&hangs), None)).unwrap();
    assert!(contains(&loaded, "alice@customer.test"));
    assert_eq!(loaded.status()[0].sources[0].problem.as_deref(), Some("no answer within 1 s"));
}

#[test]
fn an_empty_group_is_held_back_at_the_start_too() {
    let folder = folder("sources-empty");
    let (config, says) = (config(&folder, GROUP), Says::default());
    says.members(&[]);
    let mistakes = load(&config, &says, None).unwrap_err();
    assert!(mistakes[0].contains("has no member"), "{mistakes:?}");
    says.members(&["alice@customer.test"]);
    load(&config, &says, None).unwrap();
    says.members(&[]);
    let loaded = load(&config, &says, None).unwrap();
    assert!(contains(&loaded, "alice@customer.test") && loaded.status()[0].held_back);
    assert_eq!(loaded.accept_held(None), Ok(vec![("cn=relay".into(), 0)]));
    let loaded = load(&config, &says, None).unwrap();
    assert!(!contains(&loaded, "alice@customer.test") && !loaded.status()[0].held_back);
}

#[test]
fn a_reload_asks_only_for_groups_that_are_new() {
    let folder = folder("sources-reload");
    let says = Says::default();
    says.members(&["alice@customer.test"]);
    let mut before = load(&config(&folder, GROUP), &says, None).unwrap();
    before.make_due();
    assert_eq!(says.asked(), 1);
    says.nothing();
    let shared = format!("{GROUP}share = 0.0\n[scope.also]\nmode = \"group\"\ngroups = [\"cn=relay\"]\n");
    let after = load(&config(&folder, &shared), &says, Some(&before)).unwrap();
    assert_eq!((says.asked(), contains(&after, "alice@customer.test")), (1, false));
    assert_eq!(after.sets().named["also"].len(), 1);
    let other = GROUP.replace("cn=relay", "cn=other");
    assert!(load(&config(&folder, &other), &says, Some(&after)).is_err());
}

#[test]
fn what_changes_is_picked_up_in_the_background() {
    let folder = folder("sources-background");
    fs::write(folder.join("list"), "carol@customer.test\n").unwrap();
    let config = config(&folder, &format!("{GROUP}files = [\"list\"]\n"));
    let says = Says::default();
    says.members(&["alice@customer.test"]);
    block_on(async {
        let directory = says.directory("ldaps://a.test");
        let loaded = Loaded::load(&config, Some(&directory), None).await.unwrap();
        let mut refresher = Refresher::new(loaded, Some(directory));
        fs::write(folder.join("list"), "dave@customer.test\n").unwrap();
        let changed = tokio::time::timeout(Duration::from_secs(30), refresher.changed()).await.unwrap();
        assert!(changed.default.contains(&Address::parse("dave@customer.test").unwrap()));
        assert!(!changed.default.contains(&Address::parse("carol@customer.test").unwrap()));
        says.members(&["alice@customer.test", "bob@customer.test"]);
        let changed = tokio::time::timeout(Duration::from_secs(30), refresher.changed()).await.unwrap();
        assert!(changed.default.contains(&Address::parse("bob@customer.test").unwrap()));
        assert_eq!(refresher.loaded().status()[0].members, 3);
    });
}
