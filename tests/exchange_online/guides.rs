//! What the scripts ask for is what the guides ask for.

use std::collections::BTreeMap;

use conbool_milter::mta::exchange_online::{Guide, Request, Scope, generate};

use crate::powershell::{Value, commands, literal, parse, wanted};
use crate::{request, set_up};

/// Fields of a guide: the object they are of, the parameter that is meant, and its value as PowerShell writes it.
type Fields = [(&'static str, &'static [(&'static str, &'static str)])];

const CONBOOL: &Fields = &[
    // Step A: connection to a partner organization, but type OnPremises.
    (
        "OutboundConnector Conbool Outbound Connector",
        &[
            ("ConnectorType", "'OnPremises'"),
            ("SmartHosts", "@('mail.conbool.com')"),
            ("TlsSettings", "'DomainValidation'"),
            ("TlsDomain", "'mail.conbool.com'"),
            ("UseMXRecord", "$false"),
            ("IsTransportRuleScoped", "$true"),
            ("Enabled", "$true"),
        ],
    ),
    // Step B.
    (
        "InboundConnector Conbool Inbound Connector",
        &[
            ("ConnectorType", "'OnPremises'"),
            ("SenderDomains", "@('*')"),
            ("RequireTls", "$true"),
            ("TlsSenderCertificateName", "'mail.conbool.com'"),
            ("RestrictDomainsToCertificate", "$true"),
            ("Enabled", "$true"),
        ],
    ),
    // Step C.
    (
        "TransportRule Conbool Exchange transport rule",
        &[
            ("SenderAddressLocation", "'HeaderOrEnvelope'"),
            ("FromScope", "'InOrganization'"),
            ("RouteMessageOutboundConnector", "'Conbool Outbound Connector'"),
            ("ExceptIfHeaderMatchesMessageHeader", "'X-Conbool-example-com'"),
            ("ExceptIfHeaderMatchesPatterns", "@('true')"),
            ("ExceptIfMessageTypeMatches", "'Calendaring'"),
            ("ExceptIfHeaderContainsMessageHeader", "'Return-Path'"),
            ("ExceptIfHeaderContainsWords", "@('<>')"),
            ("ExceptIfFromAddressMatchesPatterns", "@('<>')"),
            ("Mode", "'Enforce'"),
        ],
    ),
    // Step D.
    (
        "TransportRule Conbool Spam classification rule",
        &[
            ("HeaderMatchesMessageHeader", "'X-Conbool-Flag'"),
            ("HeaderMatchesPatterns", "@('YES')"),
            ("SetSCL", "7"),
            ("Mode", "'Enforce'"),
        ],
    ),
    // Step E.
    (
        "TransportRule Conbool Quarantine Release Bypass",
        &[
            ("HeaderMatchesMessageHeader", "'X-Conbool-Released'"),
            ("HeaderMatchesPatterns", "@('yes')"),
            ("FromScope", "'NotInOrganization'"),
            ("SentToScope", "'InOrganization'"),
            ("SetSCL", "-1"),
            ("StopRuleProcessing", "$true"),
            ("Mode", "'Enforce'"),
        ],
    ),
];

const SECUMAILER: &Fields = &[
    (
        "OutboundConnector SecuMailer",
        &[
            ("ConnectorType", "'Partner'"),
            ("IsTransportRuleScoped", "$true"),
            ("UseMXRecord", "$false"),
            ("SmartHosts", "@('mail-relay.secumail.cloud')"),
            ("TlsSettings", "'DomainValidation'"),
            ("TlsDomain", "'mail-relay.secumail.cloud'"),
            ("Enabled", "$true"),
        ],
    ),
    (
        "DistributionGroup SecuMailer AVG",
        &[("Alias", "'secumailer_avg'"), ("PrimarySmtpAddress", "'secumailer_avg@example.com'")],
    ),
    (
        "DistributionGroup SecuMailer NTA Group",
        &[("Alias", "'SecuMailer_NTA'"), ("PrimarySmtpAddress", "'secumailer_nta@example.com'")],
    ),
    (
        "TransportRule Out Of Office Exception SecuMailer",
        &[
            ("MessageTypeMatches", "'OOF'"),
            ("SetHeaderName", "'X-SecuMailer-OOO'"),
            ("SetHeaderValue", "'true'"),
            ("ExceptIfSentToScope", "'InOrganization'"),
            ("StopRuleProcessing", "$true"),
        ],
    ),
    (
        "TransportRule SecuMailer NTA7516 Rule - 1",
        &[
            ("FromMemberOf", "@('secumailer_nta@example.com')"),
            ("SetHeaderName", "'X-SecuMailer-NTA7516'"),
            ("SetHeaderValue", "'true'"),
        ],
    ),
    (
        "TransportRule SecuMailer NTA7516 Rule - 2",
        &[
            ("FromMemberOf", "@('secumailer_nta@example.com')"),
            ("SetHeaderName", "'X-Secumail-Id'"),
            ("SetHeaderValue", "'customer-4711'"),
            ("RouteMessageOutboundConnector", "'SecuMailer'"),
            ("ExceptIfSentToScope", "'InOrganization'"),
        ],
    ),
    (
        "TransportRule Redirect to SecuMailer AVG",
        &[
            ("FromMemberOf", "@('secumailer_avg@example.com')"),
            ("SetHeaderName", "'X-Secumail-Id'"),
            ("SetHeaderValue", "'customer-4711'"),
            ("RouteMessageOutboundConnector", "'SecuMailer'"),
            ("ExceptIfSentToScope", "'InOrganization'"),
        ],
    ),
    // Rich text: never.
    ("RemoteDomain Default", &[("TNEFEnabled", "$false")]),
];

const MAILPROTECTOR: &Fields = &[(
    "InboundConnector Inbound from Mailprotector Only",
    &[
        ("ConnectorType", "'Partner'"),
        ("SenderDomains", "@('*')"),
        ("RequireTls", "$true"),
        ("RestrictDomainsToCertificate", "$false"),
        ("RestrictDomainsToIPAddresses", "$true"),
        ("SenderIPAddresses", "@('192.0.2.0/24', '198.51.100.7')"),
    ],
)];

/// Every field of the guide and nothing else: objects in the guide's order, parameters by name.
#[track_caller]
fn assert_fields(request: &Request, guide: &Fields) {
    let source = set_up(request);
    let tables: Vec<(String, BTreeMap<String, Value>)> = wanted(&source)
        .into_iter()
        .map(|object| (format!("{} {}", object.kind, object.name), object.settings))
        .collect();
    let names: Vec<&str> = tables.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, guide.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for ((name, settings), (_, fields)) in tables.iter().zip(guide) {
        let expected: BTreeMap<String, Value> =
            fields.iter().map(|(parameter, source)| ((*parameter).to_owned(), literal(source))).collect();
        assert_eq!(settings, &expected, "{name}");
    }
}

#[test]
fn every_field_of_the_conbool_guide() {
    assert_fields(&Request { guide_only: true, ..request(Guide::Conbool) }, CONBOOL);
}

#[test]
fn every_field_of_the_secumailer_guide_in_its_order() {
    assert_fields(&Request { guide_only: true, nta: true, ..request(Guide::SecuMailer) }, SECUMAILER);
}

#[test]
fn every_field_of_the_mailprotector_guide() {
    assert_fields(&request(Guide::Mailprotector), MAILPROTECTOR);
    let source = set_up(&request(Guide::Mailprotector));
    assert_eq!(wanted(&source)[0].when_new, BTreeMap::from([("Enabled".to_owned(), literal("$false"))]));
}

/// Without `guide_only` too, the guide's objects keep their parameters; these may come on top.
#[test]
fn what_is_safer_adds_to_the_guide_and_changes_nothing_of_it() {
    for (request, guide) in
        [(request(Guide::Conbool), CONBOOL), (Request { nta: true, ..request(Guide::SecuMailer) }, SECUMAILER)]
    {
        let objects = wanted(&set_up(&request));
        for (name, fields) in guide {
            let object = objects.iter().find(|object| format!("{} {}", object.kind, object.name) == *name).unwrap();
            let mut settings = object.settings.clone();
            if settings.contains_key("RouteMessageOutboundConnector") && object.kind == "TransportRule" {
                assert_eq!(settings.remove("RuleErrorAction"), Some(literal("'Defer'")), "{name}");
            }
            for (parameter, source) in *fields {
                assert_eq!(settings.remove(*parameter), Some(literal(source)), "{name}: {parameter}");
            }
            assert!(settings.is_empty(), "{name}: {settings:?}");
        }
    }
}

fn names(source: &str) -> Vec<String> {
    wanted(source).into_iter().map(|object| object.name).collect()
}

#[test]
fn markers_of_others_are_removed_before_any_rule_believes_them() {
    let source = set_up(&request(Guide::Conbool));
    let rules: Vec<String> = names(&source).into_iter().skip(2).collect();
    assert_eq!(
        rules,
        [
            "Conbool Marker Removal X-Conbool-Flag",
            "Conbool Marker Removal X-Conbool-Released",
            "Conbool Marker Removal X-Conbool-example-com",
            "Conbool Quarantine Release Bypass",
            "Conbool Exchange transport rule",
            "Conbool Spam classification rule",
        ]
    );
    for object in wanted(&source).iter().filter(|object| object.name.contains("Marker Removal")) {
        assert_eq!(object.settings["ExceptIfSenderIpRanges"], literal("@('192.0.2.0/24', '198.51.100.7')"));
        assert_eq!(object.settings["RemoveHeader"], object.settings["HeaderMatchesMessageHeader"]);
    }
    assert!(
        !set_up(&Request { networks: vec![], ..request(Guide::Conbool) }).contains("Marker Removal X-Conbool-Flag")
    );
}

#[test]
fn each_of_several_domains_has_its_loop_header_excepted() {
    let domains = vec!["example.com".to_owned(), "example.org".to_owned()];
    let source = set_up(&Request { domains, guide_only: true, ..request(Guide::Conbool) });
    let objects = wanted(&source);
    let position = |name: &str| objects.iter().position(|object| object.name == name).unwrap();
    let relay = position("Conbool Exchange transport rule");
    assert_eq!(objects[relay].settings["ExceptIfHeaderMatchesMessageHeader"], literal("'X-Conbool-Milter-Relayed'"));
    let cleared = position("Conbool Marker Removal X-Conbool-Milter-Relayed");
    assert!(!objects[cleared].settings.contains_key("ExceptIfSenderIpRanges"));
    for field in ["X-Conbool-example-com", "X-Conbool-example-org"] {
        let mark = position(&format!("Conbool Loop Header {field}"));
        assert!(cleared < mark && mark < relay, "{field}");
        let settings = &objects[mark].settings;
        assert_eq!(settings["HeaderMatchesMessageHeader"], Value::Text(field.into()));
        assert_eq!(settings["HeaderMatchesPatterns"], literal("@('true')"));
        assert_eq!(settings["SetHeaderName"], literal("'X-Conbool-Milter-Relayed'"));
    }
}

#[test]
fn scopes() {
    let relay = |scope: Scope, guide_only: bool| {
        let source = set_up(&Request { scope, guide_only, ..request(Guide::Conbool) });
        wanted(&source).into_iter().find(|object| object.name == "Conbool Exchange transport rule").unwrap().settings
    };
    let list = || Scope::List(vec!["alice@example.com".into(), "o'brien@example.com".into()]);
    let addresses = Value::Texts(vec!["alice@example.com".into(), "o'brien@example.com".into()]);
    assert_eq!(relay(list(), true).get("From"), Some(&addresses));
    assert_eq!(relay(list(), true).get("FromScope"), None);
    // Safer: who writes such an address into From outside is not the sender.
    assert_eq!(relay(list(), false).get("FromScope"), Some(&literal("'InOrganization'")));
    let group = relay(Scope::Group("relay@example.com".into()), false);
    assert_eq!(group.get("FromMemberOf"), Some(&literal("@('relay@example.com')")));
    assert_eq!(group.get("From"), None);
    let many = (0..1000).map(|number| format!("sender-{number}@example.com")).collect();
    let error = generate(&Request { scope: Scope::List(many), ..request(Guide::Conbool) }).unwrap_err();
    assert!(error.contains("--scope group:ADDRESS"), "{error}");
}

#[test]
fn owners_and_members_are_not_touched_on_a_second_run() {
    let source = set_up(&Request { group_owner: Some("alice@example.com".into()), ..request(Guide::SecuMailer) });
    let group = wanted(&source).into_iter().find(|object| object.kind == "DistributionGroup").unwrap();
    assert_eq!(group.when_new["Type"], literal("'Security'"));
    assert_eq!(group.when_new["ManagedBy"], literal("@('alice@example.com')"));
    assert!(!group.settings.contains_key("ManagedBy"));
    let tree = parse(&source);
    let calls = commands(&tree, &source);
    assert!(calls.iter().all(|(name, _)| !name.contains("GroupMember")), "{calls:?}");
}
