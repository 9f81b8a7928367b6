//! The milter door on the wire: what is negotiated, what is answered, and what bad input does. The client speaks the
//! protocol of Postfix and Sendmail (mfdef.h) byte by byte.

mod mail_servers;
#[path = "../milter_client/mod.rs"]
mod milter_client;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use conbool_milter::case::Case;
use conbool_milter::config::{Config, Socket};
use conbool_milter::judge::{self, Site};
use conbool_milter::milter::{CurrentSite, Judge};
use conbool_milter::routing::Routes;
use conbool_milter::server;
use conbool_milter::site;
use conbool_milter::verdict::Verdict;
use milter_client::{Client, Frame, commands};

/// A daemon in this process, on a unix socket of its own.
struct Daemon {
    folder: PathBuf,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Daemon {
    fn start(name: &str, judge: Judge, change: impl FnOnce(&mut Config)) -> Self {
        let folder = std::env::temp_dir().join(format!("conbool-milter-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let text = format!(
            "provider = \"conbool\"\ndomains = [\"customer.test\"]\nrelay_networks = [\"192.0.2.0/24\"]\n\
             internal_networks = [\"10.0.0.0/8\"]\nsocket = \"unix:{}/milter.sock\"\n",
            folder.display()
        );
        let mut config = Config::parse(&text, std::path::Path::new("test.toml")).unwrap();
        config.milter.workers = Some(2);
        config.milter.drain_timeout = Duration::from_millis(100);
        change(&mut config);
        let site = Arc::new(CurrentSite::from_pointee(site::load(&config).unwrap()));
        let milter = server::bind(&config.milter.sockets, 0o660, None).unwrap();
        let sockets = server::Sockets { milter, ..server::Sockets::default() };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let shutdown = async {
                let _ = stopped.await;
            };
            runtime
                .block_on(server::run(sockets, &config.milter, site, Arc::new(Routes::volatile()), judge, shutdown))
                .unwrap();
        });
        Self { folder, stop: Some(stop), thread: Some(thread) }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("milter.sock")
    }

    fn connect(&self) -> Client {
        Client::connect(&self.socket())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn whatever_needs_no_answer_is_negotiated_away() {
    let daemon = Daemon::start("negotiate", judge::judge, |_| {});
    let (actions, options, macros) = daemon.connect().negotiate();
    assert_eq!(actions, 0x1 | 0x10 | 0x20 | 0x8 | 0x80, "add, change, quarantine; delete and add recipients");
    let not_sent = 0x2 | 0x200 | 0x40 | 0x100; // HELO, DATA, end of header, unknown
    let no_reply = 0x1000 | 0x4000 | 0x8000 | 0x80; // connect, MAIL, RCPT, header
    assert_eq!(options, not_sent | no_reply | 0x10_0000 | 0x400, "and leading space, SKIP");
    let at_mail = "i j {tls_version} {verify} {cn_subject} {cert_subject} {auth_authen} {daemon_addr} {daemon_port}";
    let lists = ["v", "{conbool_none}", at_mail, "{rcpt_mailer} {rcpt_addr}", "i"];
    for (stage, list) in (0_u8..).zip(lists) {
        assert!(macros.contains(&format!("\0\0\0{}{list}\0", char::from(stage))), "{stage}: {macros:?}");
    }
}

#[test]
fn a_mail_server_that_cannot_carry_out_a_verdict_is_refused() {
    let daemon = Daemon::start("actions", judge::judge, |_| {});
    for actions in [0_u32, 0x1, 0x1 | 0x10] {
        let mut client = daemon.connect();
        client.send('O', &[6_u32, actions, 0x1f_ffff].map(u32::to_be_bytes).concat());
        assert_eq!(client.0.read(&mut [0; 1]).unwrap(), 0, "answered although offered {actions:#x} only");
    }
}

#[test]
fn a_message_of_a_sender_in_scope_passes_unchanged() {
    let daemon = Daemon::start("pass", judge::judge, |_| {});
    let mut client = daemon.connect().ready();
    for _ in 0..3 {
        assert_eq!(commands(&client.message("alice@customer.test", &[("Subject", "hi")])), "c");
    }
}

#[test]
fn a_route_other_than_the_tables_is_marked_by_a_field_that_does_not_stay() {
    let daemon = Daemon::start("mark", judge::judge, |_| {});
    let mut client = daemon.connect().ready();
    let frames = client.message("x@lists.test", &[("From", "alice@customer.test"), ("X-Conbool-Route", "direct")]);
    let expected: [Frame; 4] = [
        ('m', b"\0\0\0\x01X-Conbool-Route\0\0".to_vec()),
        ('i', b"\0\0\0\0X-Conbool-Route\0 relay\0".to_vec()),
        ('m', b"\0\0\0\x01X-Conbool-Route\0\0".to_vec()),
        ('c', Vec::new()),
    ];
    assert_eq!(frames, expected);
}

#[test]
fn a_thousand_forged_markers_are_all_removed_highest_first() {
    let daemon = Daemon::start("forged", judge::judge, |_| {});
    let mut client = daemon.connect().ready();
    let frames = client.message("alice@customer.test", &[("X-Conbool-Released", "yes"); 1_000]);
    assert_eq!(frames.len(), 1_001);
    for (frame, index) in frames.iter().zip((1..=1_000_u32).rev()) {
        assert_eq!((frame.0, &frame.1[..4]), ('m', &index.to_be_bytes()[..]));
    }
}

#[test]
fn the_body_is_skipped_when_the_headers_say_that_it_cannot_matter() {
    let daemon = Daemon::start("skip", judge::judge, |_| {});
    let mut client = daemon.connect().ready();
    client.envelope("alice@customer.test", "bob@remote.test");
    client.header("Content-Type", "text/plain");
    client.send('D', b"B");
    client.send('B', b"Hello\r\n");
    assert_eq!(client.receive().0, 's');
    assert_eq!(commands(&client.end()), "c");
}

#[test]
fn the_body_is_read_while_it_can_matter() {
    let daemon = Daemon::start("body", judge::judge, |_| {});
    let mut client = daemon.connect().ready();
    client.envelope("alice@customer.test", "bob@remote.test");
    client.header("Content-Type", "text/calendar; method=REQUEST");
    client.send('B', b"BEGIN:VCALENDAR\r\nMETHOD:REQ");
    assert_eq!(client.receive().0, 'c');
    client.send('B', b"UEST\r\nBEGIN:VEVENT\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n");
    assert!(matches!(client.receive().0, 'c' | 's'));
    let frames = client.end();
    assert_eq!(frames[0], ('i', b"\0\0\0\0X-Conbool-Route\0 direct\0".to_vec()));
    assert_eq!(commands(&frames), "imc");
}

fn panics_on_subject_panic(site: &Site, case: &Case) -> Verdict {
    assert!(case.header.named("Subject").all(|field| field.value != b" panic"), "on purpose");
    judge::judge(site, case)
}

#[test]
fn a_panic_costs_one_message_a_temporary_failure_and_nothing_else() {
    let daemon = Daemon::start("panic", panics_on_subject_panic, |_| {});
    let mut client = daemon.connect().ready();
    let frames = client.message("alice@customer.test", &[("Subject", "panic")]);
    assert_eq!(frames, [('y', b"451 4.3.0 Internal error; try again later\0".to_vec())]);
    assert_eq!(commands(&client.message("alice@customer.test", &[("Subject", "fine")])), "c");
}

#[test]
fn garbage_and_clients_that_stop_in_mid_protocol_harm_nobody_else() {
    let daemon = Daemon::start("garbage", judge::judge, |_| {});
    let mut healthy = daemon.connect().ready();
    let mut stopped = Vec::new();
    for garbage in [
        &b"GET / HTTP/1.0\r\n\r\n"[..],
        b"\0\0\0\0",
        b"\xff\xff\xff\xffO",
        b"\0\0\0\x01O",
        b"\0\0\0\x02Mx",
        b"\0\0\0\x05L\0\0\0\0",
        b"\0\0\0\x0dO\0\0\0\x06\0\0\0\0\0\0\0\0",
    ] {
        let mut client = daemon.connect();
        client.0.write_all(garbage).unwrap();
        stopped.push(client);
        let mut negotiated = daemon.connect();
        negotiated.negotiate();
        negotiated.0.write_all(garbage).unwrap();
        stopped.push(negotiated);
    }
    for stage in 0..4 {
        let mut client = daemon.connect();
        client.negotiate();
        if stage > 0 {
            client.connect_from("10.1.1.1");
        }
        if stage > 1 {
            client.envelope("alice@customer.test", "bob@remote.test");
        }
        if stage > 2 {
            client.0.write_all(b"\0\0\x10\0LSubject\0 half").unwrap();
        }
        stopped.push(client);
    }
    assert_eq!(commands(&healthy.message("alice@customer.test", &[])), "c");
    drop(stopped);
    assert_eq!(commands(&daemon.connect().ready().message("alice@customer.test", &[])), "c");
}

#[test]
fn connections_past_the_limit_are_closed_at_once() {
    let daemon = Daemon::start("limit", judge::judge, |config| config.milter.max_connections = 2);
    let first = daemon.connect().ready();
    let second = daemon.connect().ready();
    let mut third = daemon.connect();
    assert!(matches!(third.0.read(&mut [0; 1]), Ok(0) | Err(_)), "answered although two connections are open");
    drop(first);
    // The end of a connection is noticed a moment later.
    let mut next = daemon.connect();
    while next.0.write_all(&OPTNEG).is_err() || !matches!(next.0.read(&mut [0; 4]), Ok(4)) {
        next = daemon.connect();
    }
    drop(second);
}

#[test]
fn a_silent_connection_is_closed_after_the_idle_time() {
    let daemon = Daemon::start("idle", judge::judge, |config| config.milter.idle_timeout = Duration::from_millis(50));
    let mut silent = daemon.connect().ready();
    assert!(matches!(silent.0.read(&mut [0; 1]), Ok(0)));
    assert_eq!(commands(&daemon.connect().ready().message("alice@customer.test", &[])), "c");
}

/// Option negotiation as Postfix sends it.
const OPTNEG: [u8; 17] = [0, 0, 0, 13, b'O', 0, 0, 0, 6, 0, 0, 1, 0xff, 0, 0x1f, 0xff, 0xff];

#[test]
fn messages_past_a_limit_are_refused_for_now_and_leave_room_again() {
    let daemon = Daemon::start("messages", judge::judge, |config| {
        config.limits.messages = 1;
        config.limits.header.fields = 3;
        config.limits.message_memory = 4000;
    });
    let tempfail = |frames: &[Frame], reply: &str| {
        let (command, text) = frames.last().unwrap();
        assert_eq!((*command, String::from_utf8_lossy(text).contains(reply)), ('y', true), "{frames:?}");
    };
    let (mut first, mut second) = (daemon.connect().ready(), daemon.connect().ready());
    first.envelope("alice@customer.test", "bob@remote.test");
    // The daemon has read the envelope once it answers something that comes after it.
    first.header("From", "alice@customer.test");
    first.send('B', b"Hello");
    first.receive();
    tempfail(&second.message("alice@customer.test", &[]), "451 4.3.2 Too many messages");
    assert_eq!(commands(&first.end()), "c");
    first.send('A', b"");
    assert_eq!(commands(&second.message("alice@customer.test", &[])), "c");
    let four = [("A", "1"), ("B", "2"), ("C", "3"), ("D", "4")];
    tempfail(&second.message("alice@customer.test", &four), "452 4.3.4");
    assert_eq!(commands(&second.message("alice@customer.test", &four[..3])), "c");
    let long = "x".repeat(3000);
    tempfail(&second.message("alice@customer.test", &[("A", &long), ("B", &long)]), "451 4.3.2 Too much mail");
    assert_eq!(commands(&second.message("alice@customer.test", &[("A", &long)])), "c");
}

#[test]
fn the_socket_has_its_mode_and_replaces_one_that_a_dead_process_left() {
    let folder = std::env::temp_dir().join(format!("conbool-milter-{}-stale", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("milter.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let settings = Config::parse(
        &format!(
            "provider = \"conbool\"\ndomains = [\"customer.test\"]\nrelay_networks = [\"192.0.2.0/24\"]\nsocket = \"{}\"\n",
            path.display()
        ),
        std::path::Path::new("test.toml"),
    )
    .unwrap()
    .milter;
    let bound = server::bind(&settings.sockets, 0o640, None).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(bound[0].to_string(), format!("unix:{}", path.display()));
    let error = server::bind(&settings.sockets, 0o640, None).unwrap_err().to_string();
    assert!(error.contains("another process listens there"), "{error}");
    drop(bound);
    assert!(!path.exists());
    let missing = Socket::Unix(folder.join("missing/milter.sock"));
    let error = server::bind(&[missing], 0o640, None).unwrap_err().to_string();
    assert!(error.contains("does not exist; make it with: install -d"), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
}
