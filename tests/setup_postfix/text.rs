//! The text that is generated.

use std::path::Path;

use conbool_milter::address::Share;
use conbool_milter::config::{Config, Direct, Relay, TableType};
use conbool_milter::judge::Modes;
use conbool_milter::mta::postfix::{Error, Existing, Listeners, Request, generate};
use conbool_milter::provider::Provider;
use conbool_milter::verdict::Mode;

use super::*;

const MILTER: &str = "{ unix:conbool/milter.sock, connect_timeout=5s, command_timeout=10s, default_action=tempfail }";

fn written(main_cf: &str) -> Existing {
    Existing::parse(main_cf, "", "", "")
}

#[test]
fn a_fresh_instance() {
    let made = fragments(&config(), Existing::default());
    let expected = "
# Senders in scope: their mail to other sites goes to the relay.
sender_dependent_default_transport_maps = regexp:/etc/postfix/conbool_senders

# The milter. While it is down, clients try again later: nothing goes past the relay.
smtpd_milters =
    { unix:conbool/milter.sock, connect_timeout=5s, command_timeout=10s, default_action=tempfail }
non_smtpd_milters =
    { unix:conbool/milter.sock, connect_timeout=5s, command_timeout=10s, default_action=tempfail }

# What the milter's verdict does.
milter_header_checks = regexp:/etc/postfix/conbool_routes

# The relay hands mail back: for hosted recipients as anybody, for others only from hosted senders, with TLS.
smtpd_restriction_classes = conbool_handback
conbool_handback =
    reject_plaintext_session,
    permit_auth_destination,
    check_sender_access regexp:/etc/postfix/conbool_hosted,
    reject
smtpd_relay_restrictions =
    permit_mynetworks,
    permit_sasl_authenticated,
    check_client_access cidr:/etc/postfix/conbool_clients,
    reject_unauth_destination

# No smuggled messages: they would inherit the relay's trust (see https://www.postfix.org/smtp-smuggling.html).
smtpd_forbid_bare_newline = normalize

# One recipient a transaction at the split listeners, for a FILTER is for all recipients.
conbool-split_destination_recipient_limit = 1
conbool-split_destination_concurrency_limit = 10
";
    assert!(made.main_cf.ends_with(expected), "{}", made.main_cf);
    assert!(made.main_cf.starts_with("\n# --- conbool-milter"));
    assert!(table(&made, "conbool_senders").ends_with(
        "\n/@customer\\.test$/ conbool-relay:[mail.conbool.com]:25\n\
         /@(xn--mller-kva\\.test|m(ü|Ü)ller\\.test)$/ conbool-relay:[mail.conbool.com]:25\n"
    ));
    assert!(table(&made, "conbool_routes").ends_with(
        "\n/^X-Conbool-Route: *direct$/ FILTER conbool-split:[127.0.0.1]:25035\n\
         /^X-Conbool-Route: *relay$/ FILTER conbool-split:[127.0.0.1]:25036\n"
    ));
    assert!(table(&made, "conbool_hosted").contains("\n/@customer\\.test$/ permit\n"));
    assert!(
        table(&made, "conbool_clients").ends_with("\n192.0.2.0/24 conbool_handback\n2001:db8::/32 conbool_handback\n")
    );
    let relay = service(&made.master_cf, "conbool-relay unix - - n - - smtp");
    for option in [
        "smtp_tls_security_level=secure",
        "smtp_tls_secure_cert_match=mail.conbool.com",
        "smtp_tls_policy_maps=",
        "smtp_fallback_relay=",
        "smtp_sasl_auth_enable=no",
    ] {
        assert!(relay.contains(&option), "{relay:?}");
    }
    for (port, filter) in [(25035, "conbool-direct:"), (25036, "conbool-relay:[mail.conbool.com]:25")] {
        let listener = service(&made.master_cf, &format!("127.0.0.1:{port} inet n - n - - smtpd"));
        let restrictions = format!(
            "{{smtpd_recipient_restrictions=permit_auth_destination, check_recipient_access static:{{FILTER {filter}}}, \
             permit_mynetworks, reject}}"
        );
        assert!(listener.contains(&restrictions.as_str()), "{listener:?}");
    }
}

/// What is generated for another provider, on what the instance has before.
fn for_provider(name: &str, config: &Config, existing: Existing) -> Fragments {
    let provider = Provider::load(name).unwrap();
    generate(&Request { provider: &provider, ..request(config, Path::new("/etc/postfix"), existing) }).unwrap()
}

#[test]
fn a_provider_without_a_relay_needs_the_milter_only() {
    let fresh = for_provider("mailprotector", &config(), Existing::default());
    let expected = "
# The milter. While it is down, clients try again later: nothing goes past the relay.
smtpd_milters =
    { unix:conbool/milter.sock, connect_timeout=5s, command_timeout=10s, default_action=tempfail }
non_smtpd_milters =
    { unix:conbool/milter.sock, connect_timeout=5s, command_timeout=10s, default_action=tempfail }

# No smuggled messages: they would inherit the relay's trust (see https://www.postfix.org/smtp-smuggling.html).
smtpd_forbid_bare_newline = normalize
";
    assert!(fresh.main_cf.ends_with(expected) && !fresh.main_cf.contains("sender_dependent"), "{}", fresh.main_cf);
    assert_eq!((fresh.master_cf.as_str(), fresh.tables.len(), &fresh.written_by_daemon), ("", 0, &None));
    // What an earlier run for a relay put in goes, and the site's own stays.
    let before = fragments(&config(), written("smtpd_restriction_classes = own\nmilter_header_checks = regexp:/a\n"));
    let settings = list_of_settings(&before.main_cf);
    let services = "conbool-relay unix - - n - - smtp\n";
    let after = for_provider("mailprotector", &config(), Existing::parse(&settings, "", services, ""));
    for (name, value) in [
        ("sender_dependent_default_transport_maps", ""),
        ("milter_header_checks", "regexp:/a"),
        ("smtpd_restriction_classes", "own"),
        ("smtpd_relay_restrictions", "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination"),
    ] {
        assert_eq!(setting(&after.main_cf, name).as_deref(), Some(value), "{}", after.main_cf);
        assert!(after.replaced_settings.iter().any(|replaced| replaced == name), "{name}");
    }
    for gone in ["conbool_handback", "conbool-split_destination_recipient_limit"] {
        assert!(
            setting(&after.main_cf, gone).is_none() && after.replaced_settings.contains(&gone.to_owned()),
            "{gone}"
        );
    }
    assert_eq!(after.replaced_services, ["conbool-relay/unix"]);
}

#[test]
fn a_provider_that_hands_nothing_back_is_not_let_relay() {
    for networks in [vec![], config().relay.networks] {
        let mut config = config();
        config.relay.networks = networks;
        let made = for_provider("secumailer", &config, Existing::default());
        assert_eq!(setting(&made.main_cf, "smtpd_relay_restrictions"), None, "{}", made.main_cf);
        assert!(made.tables.iter().all(|(name, _)| !name.contains("clients") && !name.contains("hosted")));
        let relay = service(&made.master_cf, "conbool-relay unix - - n - - smtp");
        assert!(relay.contains(&"smtp_tls_security_level=secure"), "{relay:?}");
        assert!(relay.contains(&"smtp_tls_secure_cert_match=mail-relay.secumail.cloud"), "{relay:?}");
    }
}

/// The settings of a main.cf text as postconf prints them, one a line.
fn list_of_settings(main_cf: &str) -> String {
    let names = main_cf.lines().filter(|line| line.starts_with(char::is_alphabetic));
    let names = names.filter_map(|line| line.split_once('=').map(|(name, _)| name.trim()));
    names.map(|name| format!("{name} = {}\n", setting(main_cf, name).unwrap())).collect()
}

#[test]
fn a_monitored_site_has_no_sender_table() {
    const NAME: &str = "sender_dependent_default_transport_maps";
    let monitored = |modes: Modes| Config { modes, ..config() };
    for modes in [Modes { whole: Mode::Monitor, ..Modes::ENFORCE }, Modes { routing: Mode::Monitor, ..Modes::ENFORCE }]
    {
        let fresh = fragments(&monitored(modes), Existing::default());
        assert_eq!(setting(&fresh.main_cf, NAME), None);
        // One of an earlier run goes.
        let before = written(&format!("{NAME} = regexp:/etc/postfix/conbool_senders, hash:/etc/postfix/other\n"));
        let made = fragments(&monitored(modes), before);
        assert_eq!(setting(&made.main_cf, NAME).as_deref(), Some("hash:/etc/postfix/other"));
        assert!(made.replaced_settings.contains(&NAME.to_owned()));
    }
    let spam = fragments(&monitored(Modes { spam: Mode::Monitor, ..Modes::ENFORCE }), Existing::default());
    assert_eq!(setting(&spam.main_cf, NAME).as_deref(), Some("regexp:/etc/postfix/conbool_senders"));
}

#[test]
fn a_table_that_the_daemon_writes() {
    const NAME: &str = "sender_dependent_default_transport_maps";
    let mut config = listed(&["alice@customer.test".into(), "@xn--mller-kva.test".into()]);
    let made = fragments(&config, Existing::default());
    assert_eq!(setting(&made.main_cf, NAME).as_deref(), Some("hash:/var/lib/conbool-milter/conbool_senders"));
    assert_eq!(made.written_by_daemon.as_deref(), Some(Path::new("/var/lib/conbool-milter/conbool_senders.db")));
    assert!(made.tables.iter().all(|(name, _)| name != "conbool_senders"));
    assert!(table(&made, "conbool_hosted").contains("\n/@customer\\.test$/ permit\n"));
    // The kind that Postfix prefers, unless the configuration names one.
    let lmdb = Existing::parse("", "default_database_type = lmdb\nrecipient_delimiter =\n", "", "");
    config.state_directory = "/srv/state".into();
    let before = fragments(&config, lmdb.clone());
    assert_eq!(setting(&before.main_cf, NAME).as_deref(), Some("lmdb:/srv/state/conbool_senders"));
    assert!(before.notes.iter().any(|note| note.contains("recipient_delimiter")), "{:?}", before.notes);
    config.postfix.table_type = Some(TableType::Cdb);
    let made = fragments(&config, lmdb);
    assert_eq!(setting(&made.main_cf, NAME).as_deref(), Some("cdb:/srv/state/conbool_senders"));
    // It takes the place of the pattern, and of itself with another kind.
    for present in ["regexp:/etc/postfix/conbool_senders", "hash:/srv/state/conbool_senders"] {
        let made = fragments(&config, written(&format!("{NAME} = {present}, hash:/etc/postfix/other\n")));
        let expected = "cdb:/srv/state/conbool_senders, hash:/etc/postfix/other";
        assert_eq!(setting(&made.main_cf, NAME).as_deref(), Some(expected));
    }
    config.postfix.table_type = None;
    let error = try_fragments(&config, Existing::parse("", "default_database_type = sdbm\n", "", "")).unwrap_err();
    assert!(error.to_string().starts_with("postfix.table_type: "), "{error}");
    // Nothing is needed while routing is only watched.
    config.modes.routing = Mode::Monitor;
    assert_eq!(
        fragments(&config, Existing::parse("", "default_database_type = hash\n", "", "")).written_by_daemon,
        None
    );
    // A share of all senders is not a pattern.
    let mut share = super::config();
    share.scope.default.share = Share::new(0.5).unwrap();
    assert!(fragments(&share, Existing::default()).written_by_daemon.is_some());
}

#[test]
fn another_relay_with_a_client_certificate() {
    let relay = Relay {
        host: Some("2001:db8::25".into()),
        port: 2525,
        tls_name: Some("relay.conbool.test".into()),
        ca_file: Some("/etc/ssl/relay$.pem".into()),
        client_certificate: Some("/etc/ssl/us.pem".into()),
        client_key: Some("/etc/ssl/us.key".into()),
        ..config().relay
    };
    let made = fragments(&Config { relay: relay.clone(), ..config() }, Existing::default());
    assert!(table(&made, "conbool_senders").contains(" conbool-relay:[2001:db8::25]:2525\n"));
    let options = service(&made.master_cf, "conbool-relay unix - - n - - smtp");
    for option in [
        "smtp_tls_secure_cert_match=relay.conbool.test",
        "smtp_tls_CAfile=/etc/ssl/relay$$.pem",
        "smtp_tls_CApath=",
        "smtp_tls_cert_file=/etc/ssl/us.pem",
        "smtp_tls_key_file=/etc/ssl/us.key",
        "smtp_tls_chain_files=",
    ] {
        assert!(options.contains(&option), "{option} in {options:?}");
    }
    let nameless = Config { relay: Relay { tls_name: None, ..relay }, ..config() };
    assert_eq!(try_fragments(&nameless, Existing::default()), Err(Error::NoTlsName("2001:db8::25".into())));
}

#[test]
fn trust_anchors_are_the_sites_or_the_hosts() {
    let anchors = |existing: Existing| {
        let made = fragments(&config(), existing.with_ca_bundle(Path::new("/etc/ssl/bundle.crt")));
        let options = service(&made.master_cf, "conbool-relay unix - - n - - smtp").join("\n");
        options.contains("smtp_tls_CAfile=/etc/ssl/bundle.crt")
    };
    assert!(anchors(Existing::default()));
    assert!(anchors(written("smtp_tls_CApath =\n")));
    assert!(!anchors(written("smtp_tls_CApath = /etc/ssl/certs\n")));
}

#[test]
fn exempt_mail_goes_where_it_went() {
    let existing = || written("relayhost = [smart.isp.test]:587\n");
    let made = fragments(&config(), existing());
    assert!(made.notes[0].contains("direct.next_hop = \"[smart.isp.test]:587\""), "{:?}", made.notes);
    assert!(made.main_cf.contains("# NOTE: relayhost = [smart.isp.test]:587 is in use"));
    let config = Config { direct: Direct { next_hop: Some("[smart.isp.test]:587".into()) }, ..config() };
    let made = fragments(&config, existing());
    assert!(!made.notes.iter().any(|note| note.contains("relayhost")), "{:?}", made.notes);
    assert!(made.master_cf.contains("static:{FILTER conbool-direct:[smart.isp.test]:587}"));
    // The site's own smtp transport is the model of the direct one.
    let existing = Existing::parse("smtp_destination_rate_delay = 1s\n", "", "", "smtp/unix/smtp_helo_name = a b\n");
    let made = fragments(&config, existing);
    assert!(
        service(&made.master_cf, "conbool-direct unix - - n - - smtp").contains(&"{smtp_helo_name=a b}"),
        "{}",
        made.master_cf
    );
    assert!(made.main_cf.contains("\nconbool-direct_destination_rate_delay = $smtp_destination_rate_delay\n"));
}

#[test]
fn lists_are_merged() {
    let existing = written(
        "smtpd_milters = inet:localhost:8891, { unix:/run/dmarc.sock, default_action=accept }\n\
         non_smtpd_milters = inet:localhost:8891\n\
         milter_header_checks = pcre:/etc/postfix/marks\n\
         smtpd_restriction_classes = greylist\n\
         smtpd_relay_restrictions = permit_mynetworks check_client_access hash:/etc/postfix/clients reject_unauth_destination\n\
         smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination, check_policy_service { inet:spf:1, timeout=9s }\n\
         sender_dependent_default_transport_maps = hash:/etc/postfix/by_sender\n",
    );
    let main_cf = fragments(&config(), existing).main_cf;
    let is = |name: &str, value: &str| assert_eq!(setting(&main_cf, name).as_deref(), Some(value));
    is("smtpd_milters", &format!("inet:localhost:8891 {{ unix:/run/dmarc.sock, default_action=accept }} {MILTER}"));
    is("non_smtpd_milters", &format!("{MILTER} inet:localhost:8891"));
    is("milter_header_checks", "regexp:/etc/postfix/conbool_routes, pcre:/etc/postfix/marks");
    is("smtpd_restriction_classes", "greylist, conbool_handback");
    is(
        "smtpd_relay_restrictions",
        "permit_mynetworks, check_client_access hash:/etc/postfix/clients, \
         check_client_access cidr:/etc/postfix/conbool_clients, reject_unauth_destination",
    );
    is(
        "smtpd_recipient_restrictions",
        "permit_mynetworks, check_client_access cidr:/etc/postfix/conbool_clients, reject_unauth_destination, \
         check_policy_service { inet:spf:1, timeout=9s }",
    );
    is("sender_dependent_default_transport_maps", "regexp:/etc/postfix/conbool_senders, hash:/etc/postfix/by_sender");
}

#[test]
fn relaying_is_found_where_the_site_controls_it() {
    let handed_back = |main_cf: &str, in_force: &str| {
        let main_cf = fragments(&config(), Existing::parse(main_cf, in_force, "", "")).main_cf;
        ["smtpd_relay_restrictions", "smtpd_recipient_restrictions"].map(|name| setting(&main_cf, name))
    };
    let ours = "check_client_access cidr:/etc/postfix/conbool_clients";
    // The default of Postfix 3.
    assert_eq!(
        handed_back("", "smtpd_relay_restrictions = permit_mynetworks, defer_unauth_destination\n"),
        [Some(format!("permit_mynetworks, {ours}, defer_unauth_destination")), None]
    );
    // Postfix 2 style.
    assert_eq!(
        handed_back(
            "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination\n",
            ""
        ),
        [None, Some(format!("permit_mynetworks, {ours}, reject_unauth_destination"))]
    );
    // Behind a parameter of the site's own.
    assert_eq!(
        handed_back(
            "smtpd_relay_restrictions = $mine\n",
            "smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n"
        ),
        [Some(format!("permit_mynetworks, {ours}, reject_unauth_destination")), None]
    );
    // Nothing there that we know.
    assert_eq!(
        handed_back("smtpd_relay_restrictions = permit_mynetworks, reject\n", ""),
        [Some(format!("permit_mynetworks, {ours}, reject")), None]
    );
}

#[test]
fn milters_that_have_ours_already() {
    let milters = |main_cf: &str| setting(&fragments(&config(), written(main_cf)).main_cf, "smtpd_milters").unwrap();
    let chosen = "{ unix:/var/spool/postfix/conbool/milter.sock, default_action=accept } inet:localhost:8891";
    assert_eq!(milters(&format!("smtpd_milters = {chosen}\n")), chosen);
    let both = fragments(&config(), written("non_smtpd_milters = $smtpd_milters\n")).main_cf;
    assert_eq!(setting(&both, "non_smtpd_milters").as_deref(), Some("$smtpd_milters"));
    assert_eq!(setting(&both, "smtpd_milters").as_deref(), Some(MILTER));
}

#[test]
fn bare_newlines_as_far_as_this_postfix_can() {
    let line = |in_force: &str| {
        let main_cf = fragments(&config(), Existing::parse("", in_force, "", "")).main_cf;
        ["smtpd_forbid_bare_newline", "smtpd_data_restrictions"].map(|name| setting(&main_cf, name))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        line("smtpd_forbid_bare_newline = no\nsmtpd_forbid_bare_newline_reject_code = 550\n"),
        [some("normalize"), None]
    );
    assert_eq!(
        line("smtpd_forbid_bare_newline = reject\nsmtpd_forbid_bare_newline_reject_code = 550\n"),
        [some("reject"), None]
    );
    assert_eq!(line("smtpd_forbid_bare_newline = no\n"), [some("yes"), None]);
    assert_eq!(line("mail_version = 3.5.0\n"), [None, some("reject_unauth_pipelining")]);
}

#[test]
fn a_relay_certificate_is_asked_for() {
    let config = Config { relay: Relay { certificates: vec!["a.test".into()], ..config().relay }, ..config() };
    let main_cf = fragments(&config, Existing::default().with_ca_bundle(Path::new("/etc/ssl/b"))).main_cf;
    assert_eq!(setting(&main_cf, "smtpd_tls_ask_ccert").as_deref(), Some("yes"));
    assert_eq!(setting(&main_cf, "smtpd_tls_CAfile").as_deref(), Some("/etc/ssl/b"));
}

#[test]
fn notes_tell_what_meets() {
    let existing = Existing::parse(
        "transport_maps = hash:/t\ncontent_filter = amavis:[127.0.0.1]:10024\n",
        "smtpd_tls_security_level = none\n",
        "",
        "submission/inet/smtpd_milters = \n",
    );
    let notes = fragments(&config(), existing).notes.join("\n");
    for part in ["transport_maps = hash:/t", "content_filter = amavis", "offers no TLS", "for submission/inet"] {
        assert!(notes.contains(part), "{part} in {notes}");
    }
}

#[test]
fn what_cannot_work_is_refused() {
    let with = |change: &dyn Fn(&mut Config)| {
        let mut config = config();
        change(&mut config);
        try_fragments(&config, Existing::default()).unwrap_err().to_string()
    };
    assert!(with(&|config| config.relay.host = Some("a b".into())).contains("relay.host"));
    assert!(with(&|config| config.direct.next_hop = Some("[a]:25}, permit".into())).contains("direct.next_hop"));
    assert!(with(&|config| config.relay.ca_file = Some("/a b".into())).contains("relay.ca_file"));
    let config = config();
    for listeners in [
        Listeners { address: "192.0.2.1".parse().unwrap(), ..Listeners::default() },
        Listeners { relay_port: 25035, ..Listeners::default() },
    ] {
        let request = Request { listeners, ..request(&config, Path::new("/etc/postfix"), Existing::default()) };
        assert_eq!(generate(&request), Err(Error::Listeners(listeners)));
    }
}
