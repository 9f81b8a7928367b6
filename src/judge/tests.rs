use proptest::prelude::*;

use super::*;
use crate::address::{AddressSet, Share};
use crate::case::{Client, HeaderSection, Limit};
use crate::headers::Marker;
use crate::lock_down;
use crate::rules::{self, Script};
use crate::scope::Entries;

const POLICY: &str = include_str!("../../sieve/conbool/policy.sieve");

fn site_with(senders: AddressSet, site_script: &str) -> Site {
    let marker = |name: &str, value: &str| Some(Marker { name: name.into(), value: value.into() });
    let scripts = [POLICY, site_script].map(|text| Script { file: "test.sieve".into(), text: text.into() });
    let lists = [SCOPE_LIST.into(), named_scope_list("avg")].into();
    let names = rules::Names { lists, settings: [].into() };
    Site {
        hosted: ["customer.test", "second.test"].map(String::from).into(),
        trust: Trust {
            relay_networks: vec!["192.0.2.0/24".parse().unwrap()],
            relay_certificates: Vec::new(),
            internal_networks: vec!["10.0.0.0/8".parse().unwrap()],
        },
        mail_server: None,
        local_mailers: Vec::new(),
        relay: Some(Relay { hands_back: true }),
        scope: Scope { senders: Arc::new(senders), from_field: true },
        sender_table: Arc::new(ArcSwap::from_pointee(SenderTable::HostedDomains)),
        kind: kind::Settings::default(),
        max_passes: 3,
        max_host_passes: 5,
        on_loop: LoopAction::Quarantine,
        lock_down: LockDown::default(),
        markers: Markers {
            reserved: vec!["X-Conbool-".into()],
            loop_marker: marker("X-Conbool-{domain}", "true"),
            flagged: marker("X-Conbool-Flag", "YES"),
            released: marker("X-Conbool-Released", "yes"),
            spam_marks: vec!["X-Spam-Status".into()],
        },
        limits: Limits::default(),
        modes: Modes::ENFORCE,
        lists: Arc::default(),
        rules: Arc::new(Rules::compile(&scripts, &names).unwrap()),
    }
}

fn site() -> Site {
    site_with(AddressSet::from_iter(["@customer.test", "@second.test"]), "")
}

fn list_site() -> Site {
    site_with(AddressSet::from_iter(["alice@customer.test"]), "")
}

const RELAY: (&str, bool) = ("192.0.2.10", true);
const INTERNAL: (&str, bool) = ("10.1.1.1", false);
const WORLD: (&str, bool) = ("198.51.100.9", true);

fn case((address, tls): (&str, bool), sender: &str, recipients: &[&str], fields: &[(&str, &str)]) -> Case {
    let mut header = HeaderSection::default();
    for (name, value) in fields {
        header.push(name.as_bytes(), value.as_bytes()).unwrap();
    }
    let mut case = Case { header, ..Case::default() };
    case.client = Client {
        address: Some(address.parse().unwrap()),
        tls_version: tls.then(|| "TLSv1.3".into()),
        ..Client::default()
    };
    case.envelope.sender = sender.into();
    case.envelope.recipients = recipients.iter().map(ToString::to_string).collect();
    case.body.complete = true;
    case
}

/// Route, whether the sender table alone would do, and the names of the reasons.
fn routed(site: &Site, case: &Case) -> (Route, Option<Route>, Vec<String>) {
    let verdict = judge(site, case);
    let reasons = verdict.reasons.iter().map(|reason| reason.name.to_string()).collect();
    (verdict.route, verdict.sender_table_route, reasons)
}

fn reasons(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn mail_of_a_sender_in_scope_goes_to_the_relay_without_a_mark() {
    let case = case(INTERNAL, "alice@customer.test", &["bob@remote.test"], &[]);
    assert_eq!(routed(&site(), &case), (Route::Relay, Some(Route::Relay), reasons(&["in-scope"])));
}

#[test]
fn a_sender_that_is_not_ascii_gets_a_mark_whatever_the_table_would_do() {
    for sender in ["m\u{fc}ller@customer.test", "alice@\u{ff43}ustomer.test"] {
        let case = case(INTERNAL, sender, &["bob@remote.test"], &[]);
        assert_eq!(routed(&site(), &case), (Route::Relay, None, reasons(&["in-scope"])), "{sender}");
    }
}

#[test]
fn where_the_table_is_behind_the_scope_messages_are_marked() {
    let site = list_site();
    let set = |entries: &[&str]| Arc::new(entries.iter().collect());
    let (written, unsettled) = (set(&["bob@customer.test"]), set(&["erin@customer.test"]));
    let entries = Entries { written, unsettled, delimiters: "+".into() };
    site.sender_table.store(Arc::new(SenderTable::Indexed(entries)));
    for (sender, route, table, why) in [
        ("alice@customer.test", Route::Relay, Some(Route::Direct), "in-scope"),
        ("bob@customer.test", Route::Direct, Some(Route::Relay), "out-of-scope"),
        ("erin@customer.test", Route::Direct, None, "out-of-scope"),
        ("frank@customer.test", Route::Direct, Some(Route::Direct), "out-of-scope"),
    ] {
        let case = case(INTERNAL, sender, &["bob@remote.test"], &[]);
        assert_eq!(routed(&site, &case), (route, table, reasons(&[why])), "{sender}");
    }
}

#[test]
fn a_from_field_in_scope_brings_a_message_to_the_relay_by_a_mark() {
    let case = case(INTERNAL, "bounces@lists.test", &["bob@remote.test"], &[("From", " alice@customer.test")]);
    assert_eq!(routed(&site(), &case), (Route::Relay, Some(Route::Direct), reasons(&["from-in-scope"])));
    let mut site = site();
    site.scope.from_field = false;
    assert_eq!(routed(&site, &case), (Route::Direct, Some(Route::Direct), reasons(&["out-of-scope"])));
}

#[test]
fn nobody_hides_among_more_addresses_than_are_looked_at() {
    let many = |other: &str| format!("{} alice@customer.test", format!("{other}, ").repeat(10_000));
    for from in [many("x@evil.test"), many("x@[evil . test]"), many("\"a\"@b\u{fc}.test")] {
        let case = case(INTERNAL, "bounces@lists.test", &["bob@remote.test"], &[("From", from.as_str())]);
        assert_eq!(routed(&site(), &case).2, reasons(&["from-in-scope"]));
    }
    let fields = vec![("From", " x@evil.test"); 10_000];
    let case = case(INTERNAL, "bounces@lists.test", &["bob@remote.test"], &fields);
    assert_eq!(routed(&site(), &case).0, Route::Relay);
}

#[test]
fn a_from_field_in_scope_from_the_world_changes_nothing() {
    let case = case(WORLD, "bounces@lists.test", &["bob@customer.test"], &[("From", " alice@customer.test")]);
    assert_eq!(routed(&site(), &case), (Route::Direct, Some(Route::Direct), reasons(&["inbound"])));
}

#[test]
fn a_sender_out_of_scope_keeps_its_routing() {
    let case = case(INTERNAL, "bob@customer.test", &["bob@remote.test"], &[("From", " bob@customer.test")]);
    assert_eq!(routed(&list_site(), &case), (Route::Direct, Some(Route::Direct), reasons(&["out-of-scope"])));
}

#[test]
fn the_null_sender_is_exempt_whatever_from_says() {
    for sender in ["", "<>"] {
        let case = case(INTERNAL, sender, &["bob@remote.test"], &[("From", " alice@customer.test")]);
        assert_eq!(routed(&site(), &case), (Route::Direct, Some(Route::Direct), reasons(&["null-sender"])));
    }
}

#[test]
fn mail_handed_back_by_the_relay_goes_direct_by_a_mark() {
    let marker = [("X-Conbool-customer-test", " true")];
    let case = case(RELAY, "alice@customer.test", &["bob@remote.test"], &marker);
    assert_eq!(routed(&site(), &case), (Route::Direct, Some(Route::Relay), reasons(&["loop-header"])));
    assert_eq!(judge(&site(), &case).direction, Direction::Outbound);
    assert_eq!(judge(&site(), &case).edits, []);
}

#[test]
fn a_loop_header_of_another_domain_exempts_nothing() {
    for name in ["X-Conbool-second-test", "X-Conbool-remote-test"] {
        let case = case(RELAY, "alice@customer.test", &["bob@remote.test"], &[(name, " true")]);
        assert_eq!(routed(&site(), &case), (Route::Relay, Some(Route::Relay), reasons(&["in-scope"])));
    }
}

#[test]
fn forged_markers_change_nothing_and_are_removed() {
    let fields = [("X-Conbool-customer-test", " true"), ("X-Conbool-Released", " yes"), ("x-conbool-released", " yes")];
    for peer in [INTERNAL, WORLD] {
        let verdict = judge(&site(), &case(peer, "alice@customer.test", &["bob@remote.test"], &fields));
        assert_eq!((verdict.route, verdict.spam, verdict.forged), (Route::Relay, Spam::None, 3));
        let delete = |name: &str, index| HeaderEdit::Delete { name: name.into(), index };
        let expected =
            [delete("x-conbool-released", 2), delete("X-Conbool-Released", 1), delete("X-Conbool-customer-test", 1)];
        assert_eq!(verdict.edits, expected);
    }
}

#[test]
fn the_route_field_is_never_a_clients_to_set() {
    let verdict =
        judge(&site(), &case(RELAY, "x@remote.test", &["a@customer.test"], &[("X-Conbool-Route", " direct")]));
    assert_eq!(verdict.edits, [HeaderEdit::Delete { name: "X-Conbool-Route".into(), index: 1 }]);
}

#[test]
fn spam_from_the_relay_gets_exactly_one_flag() {
    let fields = [("X-Spam-Flag", " NO"), ("X-Conbool-Flag", " YES"), ("x-spam-flag", " YES")];
    let verdict = judge(&site(), &case(RELAY, "x@remote.test", &["alice@customer.test"], &fields));
    assert_eq!(verdict.spam, Spam::Flagged);
    assert_eq!(
        verdict.edits,
        [
            HeaderEdit::Delete { name: "x-spam-flag".into(), index: 2 },
            HeaderEdit::Delete { name: "X-Spam-Flag".into(), index: 1 },
            HeaderEdit::Add { name: "X-Spam-Flag".into(), value: "YES".into() },
        ]
    );
}

#[test]
fn a_released_message_has_no_spam_mark_at_all() {
    let fields = [
        ("X-Spam-Flag", " YES"),
        ("X-Spam-Status", " Yes"),
        ("X-Conbool-Flag", " YES"),
        ("X-Conbool-Released", " yes"),
    ];
    let verdict = judge(&site(), &case(RELAY, "x@remote.test", &["alice@customer.test"], &fields));
    assert_eq!((verdict.spam, verdict.route), (Spam::Trusted, Route::Direct));
    assert_eq!(verdict.edits.len(), 2);
    assert!(verdict.edits.iter().all(|edit| matches!(edit, HeaderEdit::Delete { .. })));
    assert_eq!(verdict.reasons[0].name, "released");
}

#[test]
fn a_spam_flag_from_anybody_is_removed() {
    let verdict = judge(&site(), &case(WORLD, "x@remote.test", &["alice@customer.test"], &[("X-Spam-Flag", " NO")]));
    assert_eq!(verdict.edits, [HeaderEdit::Delete { name: "X-Spam-Flag".into(), index: 1 }]);
}

#[test]
fn the_relay_without_tls_is_refused_for_now() {
    let verdict = judge(&site(), &case(("192.0.2.10", false), "x@remote.test", &["alice@customer.test"], &[]));
    assert_eq!(verdict.disposition.name(), "tempfail");
    assert_eq!((verdict.peer, verdict.reasons[0].name.as_ref()), (Peer::World, "relay-without-tls"));
}

#[test]
fn a_message_that_goes_round_is_stopped_without_any_marker() {
    let received = " from relay.conbool.test (unknown [192.0.2.10]) by mail.customer.test (Postfix)";
    let after = |passes: usize, peer| {
        let fields = vec![("Received", received); passes];
        judge(&site(), &case(peer, "alice@customer.test", &["bob@remote.test"], &fields))
    };
    assert_eq!(after(2, RELAY).disposition.name(), "continue");
    let held = after(3, RELAY);
    assert_eq!((held.disposition.name(), held.reasons[0].name.as_ref()), ("quarantine", "relay-loop"));
    // What anybody else writes into a message proves nothing.
    assert_eq!(after(9, INTERNAL).disposition.name(), "continue");
    assert_eq!(after(9, WORLD).disposition.name(), "continue");
}

#[test]
fn no_script_can_send_handed_back_mail_to_the_relay_again() {
    let script = "require \"imap4flags\"; removeflag [\"direct:loop-header\", \"direct:released\"]; addflag \"relay\";";
    let site = site_with(AddressSet::from_iter(["@customer.test"]), script);
    for marker in ["X-Conbool-customer-test", "X-Conbool-Released"] {
        let value = if marker.ends_with("Released") { " yes" } else { " true" };
        let case = case(RELAY, "alice@customer.test", &["bob@remote.test"], &[(marker, value)]);
        assert_eq!(judge(&site, &case).route, Route::Direct, "{marker}");
    }
}

#[test]
fn a_rule_can_send_other_mail_to_the_relay() {
    let script = "require \"imap4flags\"; addflag \"relay:archive\";";
    let site = site_with(AddressSet::from_iter(["alice@customer.test"]), script);
    let case = case(INTERNAL, "bob@customer.test", &["x@remote.test"], &[]);
    assert_eq!(routed(&site, &case), (Route::Relay, Some(Route::Direct), reasons(&["archive"])));
}

/// What somebody on the list of the scope `avg` writes goes to the relay.
const AVG_RULE: &str = "require [\"envelope\", \"extlists\", \"imap4flags\"];
    if envelope :list \"from\" \"urn:conbool-milter:scope.avg\" { addflag \"relay:avg\"; }";

fn avg(members: &[&str]) -> ScopeSets {
    let avg = ("avg".to_string(), Arc::new(AddressSet::from_iter(members)));
    ScopeSets { default: Arc::new(AddressSet::from_iter(["alice@customer.test"])), named: [avg].into() }
}

#[test]
fn a_named_scope_is_a_list_of_the_policy() {
    let site = site_with(AddressSet::default(), AVG_RULE).with_scopes(&avg(&["bob@customer.test"]));
    let from = |sender: &str| routed(&site, &case(INTERNAL, sender, &["x@remote.test"], &[]));
    assert_eq!(from("bob+news@customer.test"), (Route::Relay, Some(Route::Direct), reasons(&["avg"])));
    assert_eq!(from("alice@customer.test"), (Route::Relay, Some(Route::Relay), reasons(&["in-scope"])));
    assert_eq!(from("carol@customer.test"), (Route::Direct, Some(Route::Direct), reasons(&["out-of-scope"])));
}

#[test]
fn other_addresses_in_a_scope_need_no_other_policy() {
    let before = site_with(AddressSet::default(), AVG_RULE).with_scopes(&avg(&["bob@customer.test"]));
    let after = before.with_scopes(&avg(&["carol@customer.test"]));
    let case = case(INTERNAL, "carol@customer.test", &["x@remote.test"], &[]);
    assert_eq!(judge(&before, &case).route, Route::Direct);
    assert_eq!(judge(&after, &case).route, Route::Relay);
    assert!(Arc::ptr_eq(&before.rules, &after.rules));
}

#[test]
fn a_list_that_is_not_there_is_a_temporary_failure() {
    let site = site_with(AddressSet::default(), AVG_RULE);
    let verdict = judge(&site, &case(INTERNAL, "alice@customer.test", &["x@remote.test"], &[]));
    assert_eq!((verdict.disposition.name(), verdict.reasons[0].name.as_ref()), ("tempfail", "rules-failed"));
}

#[test]
fn a_share_of_the_senders_is_in_scope() {
    let everybody = AddressSet::from_iter(["@customer.test"]);
    let site = site_with(everybody.with_share(Share::new(0.03).unwrap()), "");
    let from = |sender: &str| judge(&site, &case(INTERNAL, sender, &["x@remote.test"], &[])).in_scope;
    // Positions 0.028 and 0.037.
    assert!(from("bob@customer.test") && from("Bob+news@Customer.test"));
    assert!(!from("alice@customer.test"));
}

#[test]
fn a_failing_rule_is_a_temporary_failure() {
    let script = "require \"ihave\"; error \"directory away\";";
    let site = site_with(AddressSet::from_iter(["@customer.test"]), script);
    let verdict = judge(&site, &case(INTERNAL, "alice@customer.test", &["x@remote.test"], &[]));
    assert_eq!((verdict.disposition.name(), verdict.reasons[0].name.as_ref()), ("tempfail", "rules-failed"));
    assert!(verdict.reasons[0].text.contains("directory away"));
}

#[test]
fn rules_reject_discard_and_hold() {
    for (script, disposition) in [
        ("require \"reject\"; reject \"No\r\n mail\r\nplease\";", "reject"),
        ("discard;", "discard"),
        ("require \"fileinto\"; fileinto \"Quarantine\";", "quarantine"),
    ] {
        let site = site_with(AddressSet::from_iter(["@customer.test"]), script);
        let verdict = judge(&site, &case(INTERNAL, "alice@customer.test", &["x@remote.test"], &[]));
        assert_eq!(verdict.disposition.name(), disposition);
        if let Disposition::Reject(reply) = verdict.disposition {
            assert_eq!(reply.text, "No mail please");
        }
    }
}

#[test]
fn a_panic_is_a_temporary_failure_of_one_message() {
    let verdict = guarded(|| panic!("on purpose"));
    assert_eq!((verdict.disposition.name(), verdict.reasons[0].name.as_ref()), ("tempfail", "internal-error"));
}

#[test]
fn an_oversized_header_section_is_refused_for_now() {
    let mut case = case(INTERNAL, "alice@customer.test", &["x@remote.test"], &[]);
    case.exceeded = Some(Limit::Header);
    assert_eq!(judge(&site(), &case).disposition.name(), "tempfail");
}

proptest! {
    /// Whatever a client that is not the relay writes, its message of a sender in scope is not let past the relay,
    /// unless it is what the provider exempts.
    #[test]
    fn nobody_but_the_relay_can_talk_a_message_past_it(
        fields in proptest::collection::vec(("[ -9;-~]{1,20}", "(?s).{0,80}"), 0..12),
        marker in proptest::sample::select(vec!["X-Conbool-customer-test", "X-Conbool-Released", "X-Conbool-Route", "x-conbool-flag"]),
        value in "(true|yes|YES|direct|(?s).{0,12})",
        world in any::<bool>(),
        body in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut all: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        all.push((marker, &value));
        let mut case = case(if world { WORLD } else { INTERNAL }, "alice@customer.test", &["bob@remote.test"], &all);
        case.body.bytes = body.into();
        let verdict = judge(&site(), &case);
        prop_assert_eq!(verdict.disposition.name(), "continue");
        prop_assert!(verdict.route == Route::Relay || verdict.kind == Kind::Calendaring);
        prop_assert!(verdict.forged >= 1);
        prop_assert!(verdict.spam != Spam::Trusted);
    }
}

#[test]
fn monitored_messages_are_left_alone_and_the_decision_is_told() {
    let fields = [("X-Conbool-Released", "yes"), ("X-Spam-Flag", "NO"), ("From", "alice@customer.test")];
    let case = case(INTERNAL, "alice@customer.test", &["carol@remote.test"], &fields);
    let site = Site { modes: Modes { whole: Mode::Monitor, ..Modes::ENFORCE }, ..site() };
    let done = judge(&site, &case);
    assert_eq!((done.mode, &done.disposition), (Mode::Monitor, &Disposition::Continue));
    assert_eq!((done.route, done.sender_table_route), (Route::Direct, Some(Route::Direct)));
    assert!(done.edits.is_empty());
    assert_eq!(done.decided(), &judge(&Site { modes: Modes::ENFORCE, ..site }, &case));
}

#[test]
fn each_effect_can_be_monitored_alone() {
    let fields = [("X-Conbool-Released", "yes"), ("X-Spam-Flag", "NO"), ("From", "alice@customer.test")];
    let case = case(INTERNAL, "alice@customer.test", &["carol@remote.test"], &fields);
    let removed = |verdict: &Verdict| -> Vec<String> {
        let names = verdict.edits.iter().map(|edit| match edit {
            HeaderEdit::Delete { name, .. } => name.clone(),
            other => panic!("{other:?}"),
        });
        names.collect()
    };
    let modes = Modes { routing: Mode::Monitor, ..Modes::ENFORCE };
    let routing = judge(&Site { modes, ..site() }, &case);
    assert_eq!(routing.sender_table_route, Some(routing.route));
    assert_eq!(routing.decided().route, Route::Relay);
    assert_eq!(removed(&routing), ["X-Spam-Flag", "X-Conbool-Released"]);
    let modes = Modes { spam: Mode::Monitor, ..Modes::ENFORCE };
    let spam = judge(&Site { modes, ..site() }, &case);
    assert_eq!((spam.mode, spam.route), (Mode::Monitor, Route::Relay));
    assert_eq!(removed(&spam), ["X-Conbool-Released"]);
}

fn locked_site(mode: lock_down::Mode) -> Site {
    let open = ["postmaster".to_string()].into_iter().collect();
    Site { lock_down: LockDown { mode, open, ..LockDown::default() }, ..site() }
}

#[test]
fn lock_down_refuses_strangers_and_nobody_else() {
    let site = locked_site(lock_down::Mode::Enforce);
    let disposition = |from: (&str, bool), recipients: &[&str]| {
        let verdict = judge(&site, &case(from, "x@lists.test", recipients, &[]));
        (verdict.disposition.name(), verdict.reasons[0].name.to_string())
    };
    let told = |disposition, reason: &str| (disposition, reason.to_string());
    assert_eq!(disposition(WORLD, &["alice@customer.test"]), told("reject", "lock-down"));
    assert_eq!(disposition(WORLD, &["alice@customer.test", "bob@second.test"]), told("reject", "lock-down"));
    assert_eq!(disposition(WORLD, &["postmaster@customer.test"]), told("continue", "inbound"));
    assert_eq!(disposition(WORLD, &["alice@remote.test"]), told("continue", "inbound"));
    assert_eq!(disposition(RELAY, &["alice@customer.test"]), told("continue", "inbound"));
    assert_eq!(disposition(INTERNAL, &["alice@customer.test"]), told("continue", "out-of-scope"));
    assert_eq!(disposition((RELAY.0, false), &["alice@customer.test"]), told("tempfail", "relay-without-tls"));
}

#[test]
fn a_message_for_locked_and_open_recipients_must_come_again() {
    let case = case(WORLD, "x@lists.test", &["postmaster@customer.test", "alice@customer.test"], &[]);
    let verdict = judge(&locked_site(lock_down::Mode::Enforce), &case);
    let Disposition::Tempfail(reply) = verdict.disposition else { panic!("{:?}", verdict.disposition) };
    assert_eq!((reply.code, reply.enhanced), ("451", "4.7.1"));
}

#[test]
fn lock_down_that_only_monitors_leaves_a_reason() {
    let case = case(WORLD, "x@lists.test", &["alice@customer.test"], &[("X-Spam-Flag", "NO")]);
    for (mode, expected) in [
        (lock_down::Mode::Off, reasons(&["inbound", "spam-flag-removed"])),
        (lock_down::Mode::Monitor, reasons(&["inbound", "spam-flag-removed", "lock-down"])),
        (lock_down::Mode::Auto, reasons(&["inbound", "spam-flag-removed", "lock-down"])),
    ] {
        assert_eq!(routed(&locked_site(mode), &case).2, expected, "{mode:?}");
    }
    let enforced = locked_site(lock_down::Mode::Auto).with_locked(["customer.test".to_string()].into());
    assert_eq!(judge(&enforced, &case).disposition.name(), "reject");
}

#[test]
fn only_the_relay_hands_back_and_only_mail_of_hosted_senders() {
    let hands_back = |(address, tls): (&str, bool), sender: &str, recipient: &str| {
        let client = case((address, tls), sender, &[], &[]).client;
        hands_back(&site(), &client, sender, recipient)
    };
    assert!(hands_back(RELAY, "alice@customer.test", "carol@remote.test"));
    assert!(hands_back(RELAY, "<Alice+x@CUSTOMER.test>", "carol@sub.customer.test"));
    assert!(!hands_back(RELAY, "alice@customer.test", "bob@second.test"), "needs no permission");
    assert!(!hands_back(RELAY, "mallory@remote.test", "carol@remote.test"));
    assert!(!hands_back(RELAY, "", "carol@remote.test"));
    assert!(!hands_back(RELAY, "alice@customer.test", "carol"));
    assert!(!hands_back((RELAY.0, false), "alice@customer.test", "carol@remote.test"));
    assert!(!hands_back(WORLD, "alice@customer.test", "carol@remote.test"));
    assert!(!hands_back(INTERNAL, "alice@customer.test", "carol@remote.test"));
}

/// Which of these values a rule sees in an environment item.
fn seen(item: &str, values: &[&str], change: impl Fn(&mut Site), case: &Case) -> Vec<String> {
    let rule = |value: &&str| format!("if environment :is \"{item}\" \"{value}\" {{ addflag \"direct:{value}\"; }}");
    let rules: String = values.iter().map(rule).collect();
    let script = format!("require [\"environment\", \"imap4flags\"]; {rules}");
    let mut site = site_with(AddressSet::from_iter(["@customer.test"]), &script);
    change(&mut site);
    routed(&site, case).2.into_iter().filter(|reason| values.contains(&reason.as_str())).collect()
}

#[test]
fn recipients_are_inside_outside_or_both() {
    for (recipients, expected) in [
        (&["bob@customer.test", "<Bob@SECOND.test>", "root"][..], "inside"),
        (&["carol@remote.test", "alice@[192.0.2.1]", "bob@sub.customer.test"], "outside"),
        (&["carol@remote.test", "bob@customer.test"], "mixed"),
        (&[], "outside"),
    ] {
        let case = case(INTERNAL, "alice@customer.test", recipients, &[]);
        let seen = seen("vnd.conbool.recipients", &["inside", "outside", "mixed"], |_| {}, &case);
        assert_eq!(seen, [expected], "{recipients:?}");
    }
}

#[test]
fn a_sender_is_in_a_named_scope_as_in_the_default_one() {
    let avg = Arc::new(AddressSet::from_iter(["bob@customer.test"]));
    let is_in = |client, sender: &str, from: &str, from_field: bool| {
        let change = |site: &mut Site| {
            site.lists = Arc::new(Lists::from([(named_scope_list("avg"), avg.clone())]));
            site.scope.from_field = from_field;
        };
        let case = case(client, sender, &["carol@remote.test"], &[("From", from)]);
        seen("vnd.conbool.in-scope.avg", &["yes", "no"], change, &case) == ["yes"]
    };
    assert!(is_in(INTERNAL, "Bob+x@customer.test", " alice@customer.test", false));
    assert!(is_in(INTERNAL, "alice@customer.test", " Bob <bob@customer.test>", true));
    assert!(is_in(INTERNAL, "alice@remote.test", " a@remote.test, bob@customer.test", true));
    assert!(!is_in(INTERNAL, "alice@customer.test", " bob@customer.test", false));
    assert!(!is_in(INTERNAL, "alice@customer.test", " alice@customer.test", true));
    assert!(!is_in(INTERNAL, "<>", " bob@customer.test", true));
    assert!(!is_in(WORLD, "alice@remote.test", " bob@customer.test", true));
}

#[test]
fn without_a_relay_nothing_is_ever_routed() {
    let without_relay = |script: &str| {
        let scopes = ScopeSets { default: Arc::new(AddressSet::from_iter(["@customer.test"])), named: [].into() };
        Site { relay: None, ..site_with(AddressSet::default(), script) }.with_scopes(&scopes)
    };
    let outbound = case(INTERNAL, "alice@customer.test", &["carol@remote.test"], &[("From", " alice@customer.test")]);
    let site = without_relay("");
    assert_eq!(routed(&site, &outbound), (Route::Direct, Some(Route::Direct), reasons(&["out-of-scope"])));
    assert!(!hands_back(&site, &case(RELAY, "", &[], &[]).client, "alice@customer.test", "carol@remote.test"));
    let verdict = judge(&without_relay("require \"imap4flags\"; addflag \"relay:board\";"), &outbound);
    assert!(matches!(verdict.disposition, Disposition::Tempfail(_)), "{verdict:?}");
    assert_eq!(verdict.reasons[0].name, "rules-failed");
}
