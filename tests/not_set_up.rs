//! The daemon with the configuration that packages install, before anybody has set anything up: mail goes by unchanged.

mod milter_client;
mod running;

use std::fs;
use std::path::Path;

use milter_client::{Client, commands};
use running::Daemon;

/// The packaged configuration with its sockets in this folder.
fn packaged(folder: &Path) -> String {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/conbool-milter.toml")).unwrap();
    text.replace("/run/conbool-milter", &folder.to_string_lossy())
}

/// What would be removed, marked or refused where somebody is hosted.
const HEADER: [(&str, &str); 4] = [
    ("From", "alice@customer.test"),
    ("X-Conbool-customer-test", "true"),
    ("X-Conbool-Flag", "YES"),
    ("X-Spam-Flag", "YES"),
];

#[test]
fn every_message_is_accepted_unchanged() {
    let daemon = Daemon::start_configured("packaged", packaged);
    for address in ["198.51.100.1", "127.0.0.1"] {
        let mut client = Client::connect(&daemon.folder.join("milter.sock"));
        client.negotiate();
        client.connect_from(address);
        for sender in ["alice@customer.test", "x@remote.test", ""] {
            assert_eq!(commands(&client.message(sender, &HEADER)), "c", "{sender} from {address}");
        }
    }
    let log = daemon.log();
    assert_eq!(log.matches("nothing is set up yet").count(), 1, "{log}");
    assert!(!log.contains("sender table"), "{log}");
}

#[test]
fn what_is_set_up_later_is_in_force_with_a_reload() {
    let daemon = Daemon::start_configured("packaged-later", packaged);
    daemon.configure("customer.test", "");
    daemon.reload();
    daemon.wait_for_log("configuration reloaded", 1);
    let mut client = Client::connect(&daemon.folder.join("milter.sock")).ready();
    assert_eq!(commands(&client.message("x@lists.test", &HEADER[..1])), "imc");
    assert_eq!(daemon.log().matches("nothing is set up yet").count(), 1, "{}", daemon.log());
}
