//! Telemetry of the built program: what it serves over HTTP, what `conbool-milter status` shows of it, and whether the
//! alert rules, the dashboard and the manual page speak of metrics that exist. Needs promtool (Debian: prometheus).

#[path = "../milter_client/mod.rs"]
mod milter_client;
#[path = "../running/mod.rs"]
mod running;

mod door;
mod exposition;
mod http;
mod packaging;
mod status;

use milter_client::Client;
use running::Daemon;

/// Telemetry on a unix socket of the daemon's folder.
const SOCKET: &str = "[telemetry]\nsocket = \"unix:@folder@/telemetry.sock\"\n";

/// A daemon that has judged one message of each kind that the tests look for: to the relay twice, one of them with a
/// forged marker field; and a null sender's. The connection is still open.
fn busy(name: &str) -> (Daemon, Client) {
    let daemon = Daemon::start_with(name, SOCKET);
    let mut client = client(&daemon);
    client.message("alice@customer.test", &[("From", "alice@customer.test")]);
    client.message("alice@customer.test", &[("X-Conbool-Released", "yes"), ("X-Conbool-Flag", "YES")]);
    client.message("", &[("From", "alice@customer.test")]);
    (daemon, client)
}

/// A milter connection, ready for messages from an internal client.
fn client(daemon: &Daemon) -> Client {
    Client::connect(&daemon.folder.join("milter.sock")).ready()
}
