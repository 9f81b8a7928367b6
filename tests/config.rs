//! The configuration: bad files with the exact errors they give, good files with the values they give, and the man
//! page against the code.
//!
//! `tests/config/bad/NAME.toml` must fail with the text in `NAME.errors` beside it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use conbool_milter::address::Share;
use conbool_milter::case::{HeaderLimits, Limits};
use conbool_milter::config::{
    self, Authentication, Config, Direct, Doctor, Edge, HoldBack, InnerTls, Ldap, LdapServer, LockDown, Log, LogFormat,
    Loops, MailServer, Mailbox, Membership, Milter, Plaintext, Policy, Postfix, Relay, Rules, Scope, ScopeMode, Scopes,
    Sendmail, Socket, Socketmap, TableType, Telemetry, VerifyRecipients,
};
use conbool_milter::judge::{LoopAction, Modes};
use conbool_milter::kind;
use conbool_milter::lock_down;
use conbool_milter::site;
use conbool_milter::verdict::Mode;
use proptest::prelude::*;

const BAD: &str = "tests/config/bad/";
const GOOD: &str = "tests/config/good/";

fn load(folder: &str, name: &str) -> Result<Config, String> {
    // The folder is the same for all, so the expected texts go without.
    Config::load(&Path::new(folder).join(name)).map_err(|errors| format!("{errors}\n").replace(folder, ""))
}

/// What is wrong with a file of [`BAD`], with that which follows from its provider.
fn mistakes(name: &str) -> String {
    let file = Path::new(BAD).join(name).with_extension("toml");
    let (config, errors) = match Config::load_flawed(&file) {
        Ok(read) => read,
        Err(errors) => return format!("{errors}\n").replace(BAD, ""),
    };
    let told = site::mistakes(&config, &errors).into_iter().map(|mistake| mistake.told_of(&file));
    let lines: Vec<String> = errors.iter().map(ToString::to_string).chain(told).collect();
    format!("{}\n", lines.join("\n")).replace(BAD, "")
}

/// The path that a file of tests/config/files has in a configuration that was read.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(GOOD).join("../files").join(name)
}

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("x.toml")).map_err(|errors| errors.to_string())
}

/// Sets what a checkout does not keep: who may read a file.
fn set_mode(file: &Path, mode: u32) {
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
}

/// The common case, with one line of it replaced or added.
fn common_with(line: &str) -> Result<Config, String> {
    let key = line.split([' ', '=']).next().unwrap();
    let common = fs::read_to_string(format!("{GOOD}minimal.toml")).unwrap();
    let lines: Vec<&str> =
        common.lines().filter(|common| !common.starts_with(&format!("{key} "))).chain([line]).collect();
    parse(&lines.join("\n"))
}

#[test]
fn every_bad_file_fails_with_exactly_its_errors() {
    set_mode(&file("ca.pem"), 0o644);
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(BAD).unwrap() {
        let path = entry.unwrap().path();
        names.insert(path.file_stem().unwrap().to_str().unwrap().to_owned());
    }
    let mut failures = String::new();
    for name in &names {
        let expected = fs::read_to_string(format!("{BAD}{name}.errors")).unwrap_or_default();
        let found = mistakes(name);
        if found != expected {
            failures += &format!("--- {name}: expected\n{expected}--- found\n{found}");
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

fn scope(mode: ScopeMode) -> Scope {
    Scope { mode, senders: vec![], files: vec![], groups: vec![], share: Share::ALL }
}

#[test]
fn five_lines_are_enough() {
    let config = load(GOOD, "minimal.toml").unwrap();
    let expected = Config {
        provider: "conbool".into(),
        domains: vec!["customer.test".into()],
        mail_server: None,
        internal_networks: vec!["10.0.0.0/8".parse().unwrap()],
        modes: Modes::ENFORCE,
        relay: Relay {
            networks: vec!["192.0.2.0/24".parse().unwrap()],
            certificates: vec![],
            host: None,
            port: 25,
            tls_name: None,
            ca_file: None,
            client_certificate: None,
            client_key: None,
        },
        milter: Milter {
            sockets: vec![Socket::Unix("/var/spool/postfix/conbool/milter.sock".into())],
            socket_mode: 0o660,
            socket_group: None,
            max_connections: 2000,
            idle_timeout: Duration::from_secs(7210),
            workers: None,
            drain_timeout: Duration::from_secs(8),
        },
        state_directory: "/var/lib/conbool-milter".into(),
        scope: Scopes {
            default: scope(ScopeMode::All),
            from_field: true,
            refresh: Duration::from_secs(900),
            hold_back: HoldBack { below: 0.5, from: 10 },
            sections: vec![],
            named: [].into(),
        },
        lock_down: LockDown {
            mode: None,
            open_recipients: vec![],
            mx_hosts: None,
            interval: Duration::from_secs(900),
            settle_time: Duration::from_secs(86_400),
        },
        kind: kind::Settings::default(),
        provider_settings: [].into(),
        // Depends on the host: a site's script is used where there is one.
        rules: config.rules.clone(),
        direct: Direct { next_hop: None },
        loops: Loops { max_passes: 4, max_host_passes: 15, action: LoopAction::Quarantine },
        postfix: Postfix { config_directory: "/etc/postfix".into(), table_type: None },
        sendmail: Sendmail {
            directory: "/etc/mail".into(),
            program: "/usr/sbin/sendmail".into(),
            local_mailers: vec![],
        },
        mailbox: Mailbox { spam_folder: "Spam".into() },
        edge: None,
        ldap: None,
        limits: Limits::default(),
        log: Log { format: LogFormat::Auto, level: tracing::Level::INFO },
        policy: Policy { sockets: vec![], max_connections: 2000, idle_timeout: Duration::from_secs(1200) },
        socketmap: Socketmap { sockets: vec![], max_connections: 2000, idle_timeout: Duration::from_secs(3600) },
        telemetry: Telemetry { sockets: vec![], socket_mode: 0o660, socket_group: None },
        doctor: Doctor::default(),
    };
    assert_eq!(config, expected);
}

#[test]
fn everything_can_be_set() {
    set_mode(&file("ldap-password"), 0o600);
    let config = load(GOOD, "everything.toml").unwrap();
    let people = Scope {
        senders: ["alice@customer.test", "@xn--bcher-kva.test", "jürgen@sub.customer.test"].map(Into::into).into(),
        files: vec![file("senders")],
        groups: vec!["cn=relay,dc=customer,dc=test".into(), "relay-users".into()],
        ..scope(ScopeMode::Group)
    };
    let expected = Config {
        provider: file("provider").to_str().unwrap().to_owned(),
        domains: vec!["customer.test".into(), "xn--bcher-kva.test".into(), "sub.customer.test".into()],
        mail_server: Some(MailServer::Sendmail),
        // The inner server's are internal too.
        internal_networks: ["10.0.0.0/8", "203.0.113.7/32", "2001:db8::7/128", "203.0.113.10/32"]
            .map(|n| n.parse().unwrap())
            .into(),
        modes: Modes { whole: Mode::Monitor, routing: Mode::Monitor, spam: Mode::Monitor },
        relay: Relay {
            networks: ["192.0.2.0/24", "2001:db8:1::/48"].map(|n| n.parse().unwrap()).into(),
            certificates: vec!["mail.relay.test".into(), "Relay Two".into(), "/O=Relay/CN=Relay Three".into()],
            host: Some("mail.relay.test".into()),
            port: 2525,
            tls_name: Some("relay.test".into()),
            ca_file: Some(file("ca.pem")),
            client_certificate: Some(file("client.pem")),
            client_key: Some(file("client.key")),
        },
        milter: Milter {
            sockets: vec![
                Socket::Unix("/var/spool/postfix/conbool/milter.sock".into()),
                Socket::Inet("127.0.0.1".parse().unwrap(), 8891),
                Socket::Inet("::1".parse().unwrap(), 8891),
            ],
            socket_mode: 0o666,
            socket_group: Some("root".into()),
            max_connections: 500,
            idle_timeout: Duration::from_secs(600),
            workers: Some(4),
            drain_timeout: Duration::ZERO,
        },
        state_directory: file("state"),
        scope: Scopes {
            default: Scope { share: Share::new(0.25).unwrap(), ..people.clone() },
            from_field: false,
            refresh: Duration::from_secs(60),
            hold_back: HoldBack { below: 0.0, from: 100 },
            sections: vec!["people".into(), "NTA-7516".into()],
            named: [
                ("people".into(), people),
                ("avg".into(), Scope { senders: vec!["bob@remote.test".into()], ..scope(ScopeMode::List) }),
                ("NTA-7516".into(), Scope { files: vec![file("senders")], ..scope(ScopeMode::List) }),
                ("tenth".into(), Scope { share: Share::new(0.1).unwrap(), ..scope(ScopeMode::All) }),
            ]
            .into(),
        },
        lock_down: LockDown {
            mode: Some(lock_down::Mode::Auto),
            open_recipients: ["postmaster", "abuse@xn--bcher-kva.test"].map(Into::into).into(),
            mx_hosts: Some(["mx.example.net", "*.xn--bcher-kva.example"].map(Into::into).into()),
            interval: Duration::from_secs(60),
            settle_time: Duration::ZERO,
        },
        kind: kind::Settings {
            body_limit: 65536,
            lenient_calendaring: true,
            calendaring_max_size: Some(32_768),
            calendaring_alone: true,
            weak_automatic_reply: true,
        },
        provider_settings: [("customer_id".into(), "47 11".into())].into(),
        rules: Rules { site_script: Some(file("site.sieve")) },
        direct: Direct { next_hop: Some("[mail.customer.test]:submission".into()) },
        loops: Loops { max_passes: 9, max_host_passes: 20, action: LoopAction::Reject },
        postfix: Postfix { config_directory: file("postfix"), table_type: Some(TableType::Lmdb) },
        sendmail: Sendmail {
            directory: file("mail"),
            program: "/usr/local/sbin/sendmail".into(),
            local_mailers: ["cyrusv2", "dovecot-lda"].map(Into::into).into(),
        },
        mailbox: Mailbox { spam_folder: "Junk/Müll".into() },
        edge: Some(Edge {
            inner: "[inner.customer.test]:2525".into(),
            inner_networks: ["10.0.0.0/8", "203.0.113.10/32"].map(|n| n.parse().unwrap()).into(),
            certificate: file("client.pem"),
            key: file("client.key"),
            instance: "postfix-edge".into(),
            myhostname: Some("edge.customer.test".into()),
            listen: ["203.0.113.20", "2001:db8::20"].map(|address| address.parse().unwrap()).into(),
            listen_port: 2526,
            split_port: 25047,
            require_tls: true,
            authentication: Authentication::Certificate,
            fingerprints: vec![["00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF"; 2].join(":")],
            inner_tls: InnerTls::Fingerprint,
            inner_tls_name: Some("inner.customer.test".into()),
            inner_fingerprints: vec![
                ["FF:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF", "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF"]
                    .join(":"),
            ],
            inner_ca_file: Some(file("ca.pem")),
            verify_recipients: VerifyRecipients::List,
            recipient_table: Some("hash:/etc/postfix/recipients".into()),
            open: true,
            queue_lifetime: Duration::from_secs(7200),
            message_size_limit: 20_000_000,
        }),
        ldap: Some(Ldap {
            servers: vec![
                LdapServer { host: "ldap.customer.test".into(), port: 636, ldaps: true },
                LdapServer { host: "2001:db8::1".into(), port: 3268, ldaps: false },
            ],
            base: "dc=customer,dc=test".into(),
            plaintext: Plaintext::WithPassword,
            ca_file: Some(file("ca.pem")),
            bind_dn: Some("cn=reader,dc=customer,dc=test".into()),
            password_file: Some(file("ldap-password")),
            mail_attributes: vec!["mail".into(), "userPrincipalName".into()],
            membership: Membership::MemberOf,
            page_size: 1000,
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(60),
            max_members: 1000,
        }),
        limits: Limits { header: HeaderLimits { bytes: 65536, fields: 500 }, messages: 50, message_memory: 64 << 20 },
        log: Log { format: LogFormat::Json, level: tracing::Level::DEBUG },
        policy: Policy {
            sockets: vec![Socket::Unix("/var/spool/postfix/conbool/policy.sock".into())],
            max_connections: 100,
            idle_timeout: Duration::from_secs(60),
        },
        socketmap: Socketmap {
            sockets: vec![Socket::Unix("/run/conbool-milter/socketmap.sock".into())],
            max_connections: 200,
            idle_timeout: Duration::from_secs(600),
        },
        telemetry: Telemetry {
            sockets: vec![
                Socket::Unix("/run/conbool-milter/telemetry.sock".into()),
                Socket::Inet("127.0.0.1".parse().unwrap(), 9713),
            ],
            socket_mode: 0o600,
            socket_group: Some("root".into()),
        },
        doctor: Doctor {
            spf_include: vec!["_spf.relay.test".into()],
            direct_addresses: ["203.0.113.7/32", "2001:db8:2::/64"].map(|n| n.parse().unwrap()).into(),
            dkim_selectors: vec!["mail2026".into(), "20261101".into()],
            ownership_txt: vec!["relay-verification=abc 123".into()],
        },
    };
    assert_eq!(config, expected);
    let text = fs::read_to_string(format!("{GOOD}everything.toml")).unwrap();
    for key in config::keys() {
        // A section whose keys are the provider's to choose is there as a whole.
        let line = match key.rsplit_once('.') {
            Some((section, "NAME")) => format!("[{section}]"),
            Some((_, name)) => format!("{name} ="),
            None => format!("{key} ="),
        };
        assert!(text.lines().any(|there| there.starts_with(&line)), "everything.toml lacks {key}");
    }
}

#[test]
fn the_packaged_configuration_hosts_nobody_yet() {
    let config = Config::load(Path::new("packaging/conbool-milter.toml")).unwrap();
    assert!(!config.is_set_up() && config.domains.is_empty() && config.relay.networks.is_empty());
    assert_eq!(config.modes.whole, Mode::Monitor);
    let site = site::load(&config).unwrap();
    assert!(site.hosted.is_empty() && site.scope.senders.is_empty() && site.trust.relay_networks.is_empty());
}

#[test]
fn sockets_are_read_in_both_notations() {
    let loopback6 = Socket::Inet("::1".parse().unwrap(), 8891);
    let loopback = Socket::Inet("127.0.0.1".parse().unwrap(), 8891);
    for (written, socket) in [
        ("unix:/run/m.sock", Socket::Unix("/run/m.sock".into())),
        ("local:/run/m.sock", Socket::Unix("/run/m.sock".into())),
        ("/run/m.sock", Socket::Unix("/run/m.sock".into())),
        ("inet:127.0.0.1:8891", loopback.clone()),
        ("inet:8891@127.0.0.1", loopback.clone()),
        ("inet:localhost:8891", loopback.clone()),
        ("inet:8891@localhost", loopback.clone()),
        ("inet:8891", loopback),
        ("inet:[::1]:8891", loopback6.clone()),
        ("inet:8891@::1", loopback6.clone()),
        ("inet6:8891@[::1]", loopback6.clone()),
        ("inet6:[::1]:8891", loopback6.clone()),
        ("inet6:8891@localhost", loopback6.clone()),
        ("inet6:8891", loopback6),
        ("inet:0.0.0.0:1", Socket::Inet("0.0.0.0".parse().unwrap(), 1)),
    ] {
        let config = common_with(&format!("socket = \"{written}\"")).unwrap();
        assert_eq!(config.milter.sockets, [socket], "{written}");
    }
}

#[test]
fn next_hops_are_read_in_postfix_notation() {
    for written in [
        "mail.customer.test",
        "mail.customer.test:587",
        "[mail.customer.test]",
        "[mail.customer.test]:smtp",
        "[192.0.2.25]:25",
        "[2001:db8::25]:25",
        "[ipv6:2001:db8::25]",
    ] {
        let config = common_with(&format!("direct.next_hop = \"{written}\"")).unwrap();
        assert_eq!(config.direct.next_hop.as_deref(), Some(written));
    }
}

#[test]
fn a_relay_can_be_an_address_if_its_certificate_has_a_name() {
    let config = common_with("relay = { host = \"2001:DB8::1\", tls_name = \"mail.relay.test\" }").unwrap();
    assert_eq!(config.relay.host.as_deref(), Some("2001:db8::1"));
}

#[test]
fn the_relay_may_be_an_exception_in_an_internal_network() {
    let config = common_with("relay_networks = [\"10.1.2.3\"]").unwrap();
    assert_eq!(config.relay.networks, ["10.1.2.3/32".parse().unwrap()]);
}

#[test]
fn two_lines_are_enough_for_a_directory() {
    let ldap = common_with("ldap = { servers = \"ldap://ldap.customer.test\", base = \"o=Customer\" }").unwrap().ldap;
    let expected = Ldap {
        servers: vec![LdapServer { host: "ldap.customer.test".into(), port: 389, ldaps: false }],
        base: "o=Customer".into(),
        plaintext: Plaintext::Refused,
        ca_file: None,
        bind_dn: None,
        password_file: None,
        mail_attributes: [
            "mail",
            "mailPrimaryAddress",
            "mailAlternateAddress",
            "mailAlternativeAddress",
            "mailLocalAddress",
            "proxyAddresses",
        ]
        .map(Into::into)
        .into(),
        membership: Membership::Members,
        page_size: 500,
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(30),
        max_members: 200_000,
    };
    assert_eq!(ldap, Some(expected));
}

#[test]
fn a_password_is_one_line_that_only_its_owner_reads() {
    let folder = std::env::temp_dir().join(format!("conbool-password-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("password");
    let read = |text: &[u8]| {
        fs::write(&path, text).unwrap();
        set_mode(&path, 0o640);
        let lines = format!(
            "ldap = {{ servers = \"ldap://l.test\", base = \"o=x\", bind_dn = \"cn=r\", password_file = {path:?} }}"
        );
        common_with(&lines).map(|config| config.ldap.unwrap().password().unwrap().unwrap())
    };
    for (text, password) in [("secret", "secret"), ("s p ä\n", "s p ä"), (" x \r\n", " x ")] {
        assert_eq!(read(text.as_bytes()).unwrap(), password);
    }
    for (text, problem) in [
        (&b""[..], "is empty"),
        (b"\n", "is empty"),
        (b"top secret\nsecond\n", "is not one line"),
        (&[b's'; 1025], "is not one line of at most 1024 bytes"),
        (b"top \xff secret", "is not UTF-8"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains("ldap.password_file") && error.contains(problem), "{error}");
        assert!(!error.contains("top"), "{error}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_file_that_cannot_be_read_is_one_error() {
    let missing = Config::load(Path::new("tests/config/no-such-file.toml")).unwrap_err();
    assert_eq!(missing.to_string(), "tests/config/no-such-file.toml: cannot be read: No such file or directory");
    let folder = Config::load(Path::new("tests/config")).unwrap_err();
    assert_eq!(folder.to_string(), "tests/config: cannot be read: Is a directory");
}

#[test]
fn the_man_page_has_every_key_and_no_other() {
    let page = fs::read_to_string("man/conbool-milter.toml.5").unwrap();
    let mut in_page = BTreeSet::new();
    let mut section = String::new();
    let mut keys_follow = false;
    for line in page.lines() {
        if let Some(name) = line.strip_prefix(".Ss ") {
            keys_follow = true;
            section = name.strip_prefix("Section ").map_or(String::new(), |name| format!("{name}."));
        } else if line.starts_with(".Sh ") {
            keys_follow = false;
        } else if let Some(name) = line.strip_prefix(".It Ic ").filter(|_| keys_follow) {
            in_page.insert(format!("{section}{}", name.split(' ').next().unwrap()));
        }
    }
    assert_eq!(in_page, config::keys().iter().cloned().collect());
}

/// Splices `inserted` into `text` in place of `removed` characters from `at` on, both as shares of the whole.
fn mutate(text: &str, at: f64, removed: usize, inserted: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let start = (at * letters.len() as f64) as usize;
    let end = (start + removed).min(letters.len());
    letters[..start].iter().copied().chain(inserted.chars()).chain(letters[end..].iter().copied()).collect()
}

/// Whatever was read, its errors must be printable, about this file, and in order.
fn check(text: &str) -> Result<(), TestCaseError> {
    if let Err(errors) = Config::parse(text, Path::new("x.toml")) {
        prop_assert!(!errors.0.is_empty());
        prop_assert!(errors.0.is_sorted_by_key(|error| error.line));
        prop_assert_eq!(errors.to_string().lines().count(), errors.0.len());
        let lines = text.lines().count().max(1) + 1;
        prop_assert!(errors.0.iter().all(|error| error.line.is_none_or(|line| (1..=lines).contains(&line))));
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn no_toml_like_text_panics(text in "([a-z.\"\\[\\]{}=,#\n 0-9_/@:-]|relay|socket|domains|scope){0,60}") {
        check(&text)?;
    }

    #[test]
    fn no_mutation_of_a_good_file_panics(
        at in 0.0..1.0f64, removed in 0..30usize, inserted in "([a-z\"'\\[\\]{}=,.#\n\r\\\\ 0-9]|\\PC){0,10}",
    ) {
        let good = fs::read_to_string(format!("{GOOD}everything.toml")).unwrap();
        check(&mutate(&good, at, removed, &inserted))?;
    }
}
