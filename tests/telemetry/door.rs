//! The HTTP door: health, readiness, and what it bears.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use conbool_milter::case::Case;
use conbool_milter::config::Config;
use conbool_milter::judge::{self, Site};
use conbool_milter::milter::CurrentSite;
use conbool_milter::routing::Routes;
use conbool_milter::server::{self, Sockets};
use conbool_milter::site;
use conbool_milter::verdict::Verdict;

use crate::http::{connect, exchange, get, get_from, socket};
use crate::milter_client::{Client, commands};
use crate::running::Daemon;
use crate::{SOCKET, client};

#[test]
fn a_daemon_that_takes_mail_is_alive_and_ready() {
    let daemon = Daemon::start_with("ready", SOCKET);
    for (path, code, body) in [("/healthz", 200, "ok\n"), ("/readyz", 200, "ready\n")] {
        let answer = get(&daemon, path);
        assert_eq!((answer.code, answer.body.as_str()), (code, body));
    }
    assert_eq!(get(&daemon, "/").code, 404);
    let post = exchange(&socket(&daemon), b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nxx").unwrap();
    assert!(post.code == 405 && post.head.contains("allow: get, head"), "{post:?}");
    let head = exchange(&socket(&daemon), b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!((head.code, head.body.as_str()), (200, ""));
}

#[test]
fn a_daemon_that_drains_is_alive_but_not_ready() {
    let daemon = Daemon::start_with("drains", SOCKET);
    let mut client = client(&daemon);
    client.message("alice@customer.test", &[]);
    daemon.signal("TERM");
    daemon.wait_for_log("waiting for running sessions", 1);
    let answer = get(&daemon, "/readyz");
    assert!(answer.code == 503 && answer.body.starts_with("stopping; "), "{answer:?}");
    assert_eq!(get(&daemon, "/healthz").code, 200);
    assert!(get(&daemon, "/metrics").body.contains("conbool_milter_ready 0\n"));
    // The session under way still works.
    assert!(commands(&client.message("alice@customer.test", &[])).ends_with('c'));
    drop(client);
    daemon.wait_for_log("\"stopped\"", 1);
    assert!(!daemon.folder.join("telemetry.sock").exists());
}

#[test]
fn bad_requests_harm_nobody() {
    let daemon = Daemon::start_with("bad-requests", SOCKET);
    let mut client = client(&daemon);
    let long_field = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let many_fields = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(100_000));
    let endless_line = "GET /".to_string() + &"x".repeat(1 << 20);
    for request in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
        b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff",
        b"GET\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        long_field.as_bytes(),
        many_fields.as_bytes(),
        endless_line.as_bytes(),
    ] {
        let code = exchange(&socket(&daemon), request).map(|answer| answer.code);
        assert!(
            !matches!(code, Some(500..)),
            "{code:?} for {:?}",
            String::from_utf8_lossy(&request[..20.min(request.len())])
        );
    }
    assert_eq!(get(&daemon, "/healthz").code, 200);
    assert!(commands(&client.message("alice@customer.test", &[])).ends_with('c'));
    assert!(!daemon.log().contains("internal error"), "{}", daemon.log());
}

#[test]
fn clients_that_say_nothing_are_sent_away() {
    let daemon = Daemon::start_with("silent", SOCKET);
    // More than are served at a time, some of which have begun to speak.
    let mut silent: Vec<_> = (0..20).map(|_| connect(&socket(&daemon))).collect();
    for stream in silent.iter_mut().step_by(2) {
        stream.write_all(b"GET /met").unwrap();
    }
    let mut client = client(&daemon);
    assert!(commands(&client.message("alice@customer.test", &[])).ends_with('c'));
    // There is room again when they have been sent away.
    let begin = Instant::now();
    let answered = loop {
        let answer = exchange(&socket(&daemon), b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n");
        if answer.is_some() || begin.elapsed() > Duration::from_secs(30) {
            break answer;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(answered.map(|answer| answer.code), Some(200));
}

#[test]
fn the_socket_has_the_mode_that_is_set() {
    let daemon = Daemon::start_with("mode", &format!("{SOCKET}socket_mode = \"0600\"\n"));
    let mode = |name: &str| std::fs::metadata(daemon.folder.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("telemetry.sock"), mode("milter.sock")), (0o600, 0o660));
}

/// Judges when the mail server's patience is nearly at its end.
fn hang(site: &Site, case: &Case) -> Verdict {
    std::thread::sleep(Duration::from_secs(8));
    judge::judge(site, case)
}

#[test]
fn a_worker_that_hangs_is_not_alive() {
    let folder = std::env::temp_dir().join(format!("conbool-milter-{}-hangs", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let text = format!(
        "provider = \"conbool\"\ndomains = [\"customer.test\"]\nrelay_networks = [\"192.0.2.0/24\"]\n\
         internal_networks = [\"10.0.0.0/8\"]\nsocket = \"unix:{0}/milter.sock\"\n\
         [milter]\nworkers = 1\ndrain_timeout = 0\n[telemetry]\nsocket = \"unix:{0}/telemetry.sock\"\n",
        folder.display()
    );
    let config = Config::parse(&text, Path::new("test.toml")).unwrap();
    let site = Arc::new(CurrentSite::from_pointee(site::load(&config).unwrap()));
    let sockets = Sockets::open(&config).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let shutdown = async {
            let _ = stopped.await;
        };
        runtime
            .block_on(server::run(sockets, &config.milter, site, Arc::new(Routes::volatile()), hang, shutdown))
            .unwrap();
    });
    let ask = || get_from(&folder.join("telemetry.sock"), "/healthz");
    assert_eq!(ask().code, 200);
    let mut client = Client::connect(&folder.join("milter.sock")).ready();
    let message = std::thread::spawn(move || commands(&client.message("alice@customer.test", &[])));
    let begin = Instant::now();
    let answer = loop {
        let answer = ask();
        if answer.code != 200 || begin.elapsed() > Duration::from_secs(20) {
            break answer;
        }
    };
    assert!(answer.code == 503 && answer.body.contains("have not answered"), "{answer:?}");
    // It was only slow.
    assert!(message.join().unwrap().ends_with('c'));
    assert_eq!(ask().code, 200);
    drop(stop);
    server.join().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}
