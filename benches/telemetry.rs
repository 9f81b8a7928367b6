//! Measures what telling of a message costs beside its log line: the counters alone, and with the histogram that a
//! telemetry socket brings.

use std::time::Duration;

use divan::{Bencher, black_box};

use conbool_milter::case::{Client, Envelope};
use conbool_milter::telemetry::{self, Judged, metrics};
use conbool_milter::verdict::{Direction, Disposition, Kind, Mode, Peer, Reason, Route, Spam, Verdict};

fn main() {
    divan::main();
}

fn verdict() -> Verdict {
    Verdict {
        disposition: Disposition::Continue,
        route: Route::Relay,
        sender_table_route: Some(Route::Relay),
        spam: Spam::None,
        kind: Kind::Normal,
        direction: Direction::Outbound,
        peer: Peer::Internal,
        in_scope: true,
        edits: Vec::new(),
        reasons: vec![Reason { name: "in-scope".into(), text: String::new() }],
        forged: 1,
        mode: Mode::Enforce,
        would: None,
    }
}

fn tell(bencher: Bencher) {
    let (envelope, client, verdict) = (Envelope::default(), Client::default(), verdict());
    bencher.bench(|| {
        telemetry::message_judged(black_box(&Judged {
            queue_id: "QUEUEID1",
            message_id: None,
            envelope: &envelope,
            client: &client,
            verdict: &verdict,
            elapsed: Duration::from_micros(40),
        }));
    });
}

// In the order of their names: what is installed stays so.

#[divan::bench]
fn a_without_telemetry_socket(bencher: Bencher) {
    tell(bencher);
}

#[divan::bench]
fn b_with_telemetry_socket(bencher: Bencher) {
    metrics::install().expect("nothing else records metrics");
    tell(bencher);
    metrics::upkeep();
}
