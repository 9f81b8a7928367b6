//! The sender table that the daemon writes, and what it knows of it, against what Postfix finds in it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use conbool_milter::address::{Address, AddressSet, Share};
use conbool_milter::config::TableType;
use conbool_milter::mta::postfix::{Done, SETTLING_TIME, Upkeep};
use conbool_milter::scope::SenderTable;
use conbool_milter::verdict::Route;
use proptest::prelude::*;

use super::real::Instance;
use super::*;

const NEXT_HOP: &str = "[relay.conbool.test]:25";

/// A Postfix that uses the table, and a state directory.
struct Site {
    instance: Instance,
    config: Config,
}

impl Site {
    fn new(name: &str, table_type: TableType, main_cf: &str) -> Self {
        let state = directory(&format!("{name}-state"));
        let reference = format!("{}:{}", table_type.name(), state.join("conbool_senders").display());
        let setting = format!("sender_dependent_default_transport_maps = {reference}, hash:/etc/other\n");
        let instance = Instance::new(name, &(setting + main_cf));
        let mut config = listed(&[]);
        config.state_directory = state;
        config.postfix.config_directory = instance.config.clone();
        config.postfix.table_type = Some(table_type);
        Self { instance, config }
    }

    fn indexed(&self) -> PathBuf {
        let extension = self.config.postfix.table_type.unwrap().extension();
        self.config.state_directory.join(format!("conbool_senders.{extension}"))
    }

    /// As if all had been done long ago.
    fn age(&self) {
        for path in [self.indexed(), self.instance.config.join("main.cf")] {
            File::options()
                .append(true)
                .open(path)
                .unwrap()
                .set_modified(SystemTime::now() - 2 * SETTLING_TIME)
                .unwrap();
        }
    }
}

/// The daemon's part, from its start on.
struct Running<'a> {
    site: &'a Site,
    upkeep: Upkeep,
    known: Arc<ArcSwap<SenderTable>>,
}

impl<'a> Running<'a> {
    fn start(site: &'a Site) -> Self {
        let known = Arc::default();
        Self { site, upkeep: Upkeep::new(Arc::clone(&known)), known }
    }

    fn keep(&mut self, senders: &[&str]) -> Result<Done, String> {
        let senders: AddressSet = senders.iter().collect();
        self.upkeep.keep_in_step(&self.site.config, &senders, Some(NEXT_HOP)).map_err(|error| error.to_string())
    }

    fn route(&self, sender: &str) -> Option<Route> {
        self.known.load().route(sender, Address::parse(sender).as_ref(), true)
    }
}

#[test]
fn every_kind_of_table_is_written_when_it_is_not_in_step_and_only_then() {
    for table_type in [TableType::Hash, TableType::Btree, TableType::Cdb, TableType::Lmdb] {
        let site = Site::new(&format!("kind-{}", table_type.name()), table_type, "");
        let mut first = Running::start(&site);
        assert!(matches!(&**first.known.load(), SenderTable::Unknown));
        assert_eq!(
            first.keep(&["bob@customer.test", "@xn--mller-kva.test", "bob b@customer.test"]),
            Ok(Done::Written(2))
        );
        let keys = ["bob@customer.test", "BOB@Customer.test", "@xn--mller-kva.test", "alice@customer.test"];
        let reference = site.config.state_directory.join("conbool_senders");
        let found = site.instance.look_up(table_type.name(), reference.to_str().unwrap(), &keys);
        let relay = format!("conbool-relay:{NEXT_HOP}");
        assert_eq!(found, [keys[0], keys[1], keys[2]].map(|key| (key.to_owned(), relay.clone())));
        // What was written just now may not be seen by all of Postfix yet.
        assert_eq!(first.route("bob@customer.test"), None);
        assert_eq!(first.route("alice@customer.test"), Some(Route::Direct));
        assert_eq!(first.keep(&["@xn--mller-kva.test", "bob@customer.test"]), Ok(Done::InStep));
        site.age();
        let mut second = Running::start(&site);
        assert_eq!(second.keep(&["@xn--mller-kva.test", "bob@customer.test"]), Ok(Done::InStep));
        assert!(second.upkeep.is_in_use());
        assert_eq!(second.route("bob@customer.test"), Some(Route::Relay));
        assert_eq!(second.keep(&["alice@customer.test", "@xn--mller-kva.test"]), Ok(Done::Written(2)));
        assert_eq!(second.route("any@xn--mller-kva.test"), Some(Route::Relay));
        for changed in ["alice@customer.test", "bob@customer.test"] {
            assert_eq!(second.route(changed), None, "{changed}");
        }
        assert!(second.upkeep.next_settlement().is_some());
        assert_eq!(second.keep(&[]), Ok(Done::Written(0)));
    }
}

#[test]
fn a_table_that_is_not_what_was_written_is_not_trusted_and_written_anew() {
    let site = Site::new("foreign", TableType::Hash, "");
    let senders = ["bob@customer.test"];
    Running::start(&site).keep(&senders).unwrap();
    let (text, indexed) = (site.config.state_directory.join("conbool_senders"), site.indexed());
    let good = (fs::read(&text).unwrap(), fs::read(&indexed).unwrap());
    Running::start(&site).keep(&["alice@customer.test"]).unwrap();
    let other = (fs::read(&text).unwrap(), fs::read(&indexed).unwrap());
    // The daemon or the host stopped between the two renames, or somebody meddled.
    let nothing = || Vec::new();
    for (broken_text, broken_indexed) in [
        (good.0.clone(), other.1.clone()),
        (other.0.clone(), good.1.clone()),
        (nothing(), good.1.clone()),
        (good.0.clone(), nothing()),
        (good.0.clone(), b"no such database".to_vec()),
        (good.0[..good.0.len() / 2].to_vec(), other.1.clone()),
    ] {
        fs::write(&text, broken_text).unwrap();
        fs::write(&indexed, broken_indexed).unwrap();
        site.age();
        let mut daemon = Running::start(&site);
        assert_eq!(daemon.keep(&senders), Ok(Done::Written(1)));
        assert_eq!(daemon.route(senders[0]), None);
    }
}

#[test]
fn a_table_that_cannot_be_written_stays_as_it_was_and_is_known() {
    let mut site = Site::new("unwritable", TableType::Hash, "");
    Running::start(&site).keep(&["bob@customer.test"]).unwrap();
    site.age();
    let before = fs::read(site.indexed()).unwrap();
    // A folder where the new text should be: root, too, cannot write there.
    let next = site.config.state_directory.join("conbool_senders.next");
    fs::create_dir(&next).unwrap();
    let mut daemon = Running::start(&site);
    let error = daemon.keep(&["alice@customer.test"]).unwrap_err();
    assert!(error.contains("conbool_senders.next"), "{error}");
    assert_eq!(daemon.route("bob@customer.test"), Some(Route::Relay));
    assert_eq!(daemon.route("alice@customer.test"), Some(Route::Direct));
    assert_eq!(fs::read(site.indexed()).unwrap(), before);
    fs::remove_dir(&next).unwrap();
    site.config.postfix.config_directory = site.config.state_directory.join("none");
    let error = Running::start(&site).keep(&["alice@customer.test"]).unwrap_err();
    assert!(error.starts_with("postconf: ") && error.contains("main.cf"), "{error}");
}

#[test]
fn a_table_that_postfix_does_not_use_first_is_written_and_not_relied_on() {
    let site = Site::new("unused", TableType::Hash, "");
    let path = site.config.state_directory.join("conbool_senders");
    let main_cf = site.instance.config.join("main.cf");
    let text = fs::read_to_string(&main_cf).unwrap();
    let ours = format!("hash:{}", path.display());
    for tables in [format!("hash:/etc/other, {ours}"), format!("btree:{}", path.display()), String::new()] {
        fs::write(&main_cf, text.replace(&format!("{ours}, hash:/etc/other"), &tables)).unwrap();
        let mut daemon = Running::start(&site);
        daemon.keep(&["bob@customer.test"]).unwrap();
        site.age();
        daemon = Running::start(&site);
        assert_eq!(daemon.keep(&["bob@customer.test"]), Ok(Done::InStep));
        assert!(!daemon.upkeep.is_in_use(), "{tables}");
        assert_eq!(daemon.route("bob@customer.test"), None, "{tables}");
    }
}

#[test]
fn all_senders_are_a_pattern_unless_postfix_still_uses_the_table() {
    let mut site = Site::new("all", TableType::Hash, "");
    Running::start(&site).keep(&["bob@customer.test"]).unwrap();
    let listed = std::mem::replace(&mut site.config, config());
    site.config.postfix = listed.postfix;
    site.config.state_directory = listed.state_directory;
    let everybody = ["@customer.test", "@xn--mller-kva.test"];
    site.age();
    let mut daemon = Running::start(&site);
    assert_eq!(daemon.keep(&everybody), Ok(Done::Written(2)));
    assert_eq!(daemon.route("bob@customer.test"), None);
    // Once setup has put the pattern there, and not before, it is relied on.
    let made = fragments(&site.config, Existing::default());
    let main_cf = site.instance.config.join("main.cf");
    let pattern = site.instance.config.join("conbool_senders");
    let setting = format!("sender_dependent_default_transport_maps = regexp:{}\n", pattern.display());
    fs::write(&main_cf, fs::read_to_string(&main_cf).unwrap() + &setting).unwrap();
    for (text, route) in [
        (String::new(), None),
        (table(&made, "conbool_senders").to_owned(), None),
        (table(&made, "conbool_senders").replace("[mail.conbool.com]:25", NEXT_HOP), Some(Route::Relay)),
    ] {
        fs::write(&pattern, text).unwrap();
        assert_eq!(daemon.keep(&everybody), Ok(Done::NotNeeded));
        assert_eq!((daemon.route("bob@customer.test"), daemon.upkeep.is_in_use()), (route, route.is_some()));
    }
    // Of a mail server on another host nothing more is known than that setup was done there.
    fs::remove_file(&main_cf).unwrap();
    assert_eq!(daemon.keep(&everybody), Ok(Done::NotNeeded));
    assert_eq!(daemon.route("bob@customer.test"), Some(Route::Relay));
}

#[test]
fn of_a_share_only_addresses_are_written() {
    let site = Site::new("share", TableType::Hash, "");
    let mut daemon = Running::start(&site);
    let set = AddressSet::from_iter(["bob@customer.test", "@xn--mller-kva.test"]);
    let half = set.with_share(Share::new(0.03).unwrap());
    // Of both names, the position of bob's is below 0.03.
    assert_eq!(daemon.upkeep.keep_in_step(&site.config, &half, Some(NEXT_HOP)).unwrap(), Done::Written(1));
}

/// The keys that Postfix looks up for an envelope sender, in this order (found with trivial-rewrite -v, Postfix 3.7): the
/// address in its external form and in its internal form, the address up to the first delimiter, the domain. An extension
/// is not taken off owner-list and list-request where the delimiters have a dash.
fn keys(sender: &str, delimiters: &str) -> Vec<String> {
    let (local, domain) = sender.rsplit_once('@').unwrap();
    let mut keys = vec![sender.to_owned()];
    let special = delimiters.contains('-') && (local.starts_with("owner-") || local.ends_with("-request"));
    let end = local.find(|character| delimiters.contains(character)).filter(|end| *end > 0 && !special);
    keys.extend(end.map(|end| format!("{}@{domain}", &local[..end])));
    keys.push(format!("@{domain}"));
    keys
}

const DELIMITERS: [&str; 5] = ["", "+", "-", "+-", "."];

/// One instance each for all cases: Postfix's commands wait while main.cf is less than a second old.
static SITES: LazyLock<Vec<(&str, Site)>> = LazyLock::new(|| {
    let site = |(number, delimiters)| {
        let main_cf = format!("recipient_delimiter = {delimiters}\n");
        (delimiters, Site::new(&format!("certain-{number}"), TableType::Hash, &main_cf))
    };
    DELIMITERS.into_iter().enumerate().map(site).collect()
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn what_is_certain_is_what_postfix_finds(
        entries in prop::collection::btree_set("(owner-)?[ab+.#'=-]{1,3}(-request)?|()", 0..8),
        domains in prop::collection::vec(prop::sample::select(vec!["customer.test", "second.test"]), 8),
        delimiters in prop::sample::select(DELIMITERS.to_vec()),
        near in prop::collection::vec("[abAB+.#'=-]{1,4}", 40),
    ) {
        let (_, site) = SITES.iter().find(|(its, _)| *its == delimiters).unwrap();
        let entries: BTreeSet<String> =
            entries.iter().zip(&domains).map(|(local, domain)| format!("{local}@{domain}")).collect();
        let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
        Running::start(site).keep(&entries).unwrap();
        site.age();
        let mut daemon = Running::start(site);
        prop_assert_eq!(daemon.keep(&entries), Ok(Done::InStep));
        // Most that is near an entry is so by chance; these are certainly.
        let extended = entries.iter().flat_map(|entry| {
            let local = entry.split('@').next().unwrap();
            ["", "+x", "-x", ".x", "-request", "+x-y.z"].map(|extension| format!("{local}{extension}"))
        });
        let locals = near.iter().cloned().chain(extended).filter(|local| !local.is_empty());
        let senders: Vec<String> =
            locals.flat_map(|local| ["customer.test", "Second.Test"].map(|domain| format!("{local}@{domain}"))).collect();
        let all: BTreeSet<String> = senders.iter().flat_map(|sender| keys(sender, delimiters)).collect();
        let asked: Vec<&str> = all.iter().map(String::as_str).collect();
        let text = site.config.state_directory.join("conbool_senders");
        let found = site.instance.look_up("hash", text.to_str().unwrap(), &asked);
        let found: BTreeSet<String> = found.into_iter().map(|(key, _)| key).collect();
        for sender in &senders {
            let finds = keys(sender, delimiters).iter().any(|key| found.contains(key));
            let certain = daemon.route(&format!("<{sender}>"));
            let by_postfix = if finds { Route::Relay } else { Route::Direct };
            prop_assert!(certain.is_none_or(|certain| certain == by_postfix), "{} {:?} {:?}", sender, certain, by_postfix);
        }
    }
}
