//! Measures the judgement alone, without a socket: `judge`, the kind scan in it, and look-ups in a large scope.

#[path = "load/messages.rs"]
mod messages;

use std::path::Path;

use divan::{Bencher, black_box};

use conbool_milter::address::{Address, AddressSet, Share};
use conbool_milter::case::{Case, Client, Envelope};
use conbool_milter::config::Config;

use conbool_milter::judge::Site;
use conbool_milter::{judge, kind};
use messages::Message;

type Make = fn() -> Message;

const MESSAGES: [(&str, Make); 4] = [
    ("2 KB", messages::note),
    ("60 KB text", messages::report),
    ("60 KB text and HTML", messages::newsletter),
    ("10 MB with attachment", messages::attachment),
];
const NAMES: [&str; MESSAGES.len()] = [MESSAGES[0].0, MESSAGES[1].0, MESSAGES[2].0, MESSAGES[3].0];

fn main() {
    divan::main();
}

fn site() -> Site {
    let config = "provider = \"conbool\"\ndomains = [\"customer.test\"]\nrelay_networks = [\"192.0.2.0/24\"]\n\
                  internal_networks = [\"10.0.0.0/8\"]\nsocket = \"unix:/run/milter.sock\"\n";
    let config = Config::parse(config, Path::new("conbool-milter.toml")).expect("a correct configuration");
    conbool_milter::site::load(&config).expect("the provider's files")
}

/// The case before its body.
fn case(message: &Message) -> Case {
    let mut case = Case {
        client: Client {
            address: Some([10, 0, 0, 5].into()),
            tls_version: Some("TLSv1.3".into()),
            authenticated: Some("alice".into()),
            ..Client::default()
        },
        envelope: Envelope { sender: "alice@customer.test".into(), recipients: vec!["bob@remote.test".into()] },
        ..Case::default()
    };
    for (name, value) in &message.header {
        case.header.push(name.as_bytes(), value.as_bytes()).expect("a header section of usual size");
    }
    case
}

/// The body in the milter protocol's chunks, as a door hands it over.
fn take_body(site: &Site, case: &mut Case, message: &Message) {
    case.body.complete = message.body.chunks(65_535).all(|chunk| judge::take_body(site, case, chunk.to_vec().into()));
}

fn named(name: &str) -> Message {
    let (_, make) = MESSAGES.into_iter().find(|(known, _)| *known == name).expect("one of MESSAGES");
    make()
}

/// Taking as much of the body as is wanted.
#[divan::bench(args = NAMES)]
fn take_the_body(bencher: Bencher, name: &str) {
    let (site, message) = (site(), named(name));
    bencher.with_inputs(|| case(&message)).bench_refs(|case| take_body(&site, case, &message));
}

/// The kind scan over what was taken.
#[divan::bench(args = NAMES)]
fn kind_scan(bencher: Bencher, name: &str) {
    let (site, message) = (site(), named(name));
    let mut case = case(&message);
    take_body(&site, &mut case, &message);
    bencher.bench(|| kind::classify(&site.kind, false, black_box(&case.header), black_box(&case.body)));
}

/// The whole judgement over what was taken, kind scan included.
#[divan::bench(args = NAMES)]
fn judgement(bencher: Bencher, name: &str) {
    let (site, message) = (site(), named(name));
    let mut case = case(&message);
    take_body(&site, &mut case, &message);
    bencher.bench(|| judge::judge(&site, black_box(&case)));
}

/// Addresses of a large scope.
const SCOPE_SIZE: usize = 200_000;

fn scope_entries() -> Vec<String> {
    (0..SCOPE_SIZE).map(|number| format!("first.last{number}@department.customer.test")).collect()
}

/// Looking up an address in a large scope: one that is in it, one by its extension, and one that is not.
#[divan::bench(args = ["first.last77777", "first.last77777+news", "nobody", "nobody+news"])]
fn scope_look_up(bencher: Bencher, local_part: &str) {
    let set = AddressSet::from_iter(scope_entries());
    let address = Address::parse(&format!("{local_part}@department.customer.test")).expect("an address");
    bencher.bench(|| set.contains(black_box(&address)));
}

/// The same where only a share is in scope, for an address that is listed.
#[divan::bench]
fn scope_look_up_with_share(bencher: Bencher) {
    let set = AddressSet::from_iter(scope_entries()).with_share(Share::new(0.5).expect("a fraction"));
    let address = Address::parse("first.last77777@department.customer.test").expect("an address");
    bencher.bench(|| set.contains(black_box(&address)));
}

/// Making a large scope of its entries.
#[divan::bench(sample_count = 20)]
fn scope_building(bencher: Bencher) {
    let entries = scope_entries();
    bencher.bench(|| AddressSet::from_iter(black_box(&entries)));
}

/// Dropping a large scope, as the last message that was judged by it does.
#[divan::bench(sample_count = 20)]
fn scope_dropping(bencher: Bencher) {
    let entries = scope_entries();
    bencher.with_inputs(|| AddressSet::from_iter(&entries)).bench_values(drop);
}
