//! The scripts for Exchange Online: what they ask for is what the guides ask for, they are PowerShell, and they change
//! nothing without asking PowerShell's ShouldProcess.
//!
//! `UPDATE_SNAPSHOTS=1` writes the scripts in `tests/exchange_online/` anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use conbool_milter::mta::exchange_online::{Guide, Request, Scope, Scripts, generate, quoted};
use conbool_milter::provider::Provider;
use proptest::prelude::*;
use tree_sitter::{Node, Parser, Tree};

fn request(guide: Guide) -> Request {
    let host = Provider::load(guide.key()).unwrap().relay.map(|relay| relay.host).unwrap_or_default();
    Request {
        guide,
        domains: vec!["example.com".into()],
        scope: Scope::All,
        relay_tls_name: host.clone(),
        relay_host: host,
        networks: vec!["192.0.2.0/24".parse().unwrap(), "198.51.100.7/32".parse().unwrap()],
        mx_hosts: vec!["mx.example.net".into(), "*.mx.example.net".into()],
        customer_id: Some("customer-4711".into()),
        nta: false,
        group_owner: None,
        names: Vec::new(),
        outbound_only: false,
        guide_only: false,
    }
}

/// What there are snapshots of.
fn cases() -> Vec<(&'static str, Request)> {
    let two_domains = vec!["example.com".to_owned(), "example.org".to_owned()];
    let names =
        [("avg-group", "Größe ’s $(Get-Date) `n"), ("avg-address", "relay@example.com"), ("connector", "O'Brien")];
    vec![
        ("conbool", request(Guide::Conbool)),
        ("conbool-guide-only", Request { guide_only: true, ..request(Guide::Conbool) }),
        (
            "conbool-list-two-domains",
            Request {
                domains: two_domains,
                scope: Scope::List(vec!["alice@example.com".into(), "o'brien@example.org".into()]),
                outbound_only: true,
                ..request(Guide::Conbool)
            },
        ),
        (
            "conbool-group",
            Request {
                scope: Scope::Group("relay-users@example.com".into()),
                networks: vec![],
                ..request(Guide::Conbool)
            },
        ),
        ("secumailer", request(Guide::SecuMailer)),
        ("secumailer-guide-only", Request { nta: true, guide_only: true, ..request(Guide::SecuMailer) }),
        (
            "secumailer-nta-names",
            Request {
                nta: true,
                names: names.map(|(item, name)| (item.to_owned(), name.to_owned())).to_vec(),
                group_owner: Some("alice@example.com".into()),
                ..request(Guide::SecuMailer)
            },
        ),
        ("mailprotector", request(Guide::Mailprotector)),
        ("mailprotector-no-mx", Request { mx_hosts: vec![], ..request(Guide::Mailprotector) }),
    ]
}

fn scripts(request: &Request) -> Scripts {
    generate(request).unwrap()
}

fn set_up(request: &Request) -> String {
    scripts(request).set_up.text
}

// The grammar.

fn parse(source: &str) -> Tree {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_powershell::LANGUAGE.into()).unwrap();
    parser.parse(source, None).unwrap()
}

fn children(node: Node<'_>) -> Vec<Node<'_>> {
    let mut cursor = node.walk();
    node.children(&mut cursor).collect()
}

fn named_children(node: Node<'_>) -> Vec<Node<'_>> {
    children(node).into_iter().filter(Node::is_named).collect()
}

fn nodes<'tree>(node: Node<'tree>, found: &mut Vec<Node<'tree>>) {
    found.push(node);
    for child in children(node) {
        nodes(child, found);
    }
}

fn all(tree: &Tree) -> Vec<Node<'_>> {
    let mut found = Vec::new();
    nodes(tree.root_node(), &mut found);
    found
}

fn text<'source>(node: Node, source: &'source str) -> &'source str {
    &source[node.byte_range()]
}

/// What PowerShell makes of a single-quoted string: two quotes of any kind are the second of them.
fn unquoted(source: &str) -> String {
    let is_quote = |character: &char| "'‘’‚‛".contains(*character);
    let mut characters = source.chars();
    assert!(characters.next().is_some_and(|first| is_quote(&first)), "{source}");
    let mut value = String::new();
    loop {
        let character = characters.next().unwrap_or_else(|| panic!("does not end: {source}"));
        if !is_quote(&character) {
            value.push(character);
            continue;
        }
        match characters.next() {
            None => return value,
            Some(second) => {
                assert!(is_quote(&second), "ends early: {source}");
                value.push(second);
            }
        }
    }
}

#[test]
fn scripts_are_as_they_were() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exchange_online");
    let update = std::env::var_os("UPDATE_SNAPSHOTS").is_some();
    for (name, request) in cases() {
        let scripts = scripts(&request);
        for (kind, script) in [("set-up", scripts.set_up), ("removal", scripts.removal)] {
            let path = folder.join(format!("{name}.{kind}.ps1"));
            assert!(script.text.split_inclusive('\n').all(|line| line.ends_with("\r\n")), "{name}: {kind}");
            let text = script.text.replace("\r\n", "\n").replace(env!("CARGO_PKG_VERSION"), "VERSION");
            if update {
                fs::write(&path, &text).unwrap();
            }
            let kept = fs::read_to_string(&path).unwrap_or_default();
            assert!(kept == text, "{} differs; look at it with UPDATE_SNAPSHOTS=1 and git diff", path.display());
        }
    }
}

#[test]
fn scripts_are_powershell() {
    for (name, request) in cases() {
        let scripts = scripts(&request);
        for script in [scripts.set_up, scripts.removal] {
            let source = script.text.trim_start_matches('\u{feff}');
            let tree = parse(source);
            for node in all(&tree) {
                let place = node.start_position();
                assert!(
                    !node.is_error() && !node.is_missing(),
                    "{name}, {}: line {}: {}",
                    script.file_name,
                    place.row + 1,
                    source.lines().nth(place.row).unwrap_or_default()
                );
            }
        }
    }
    assert!(all(&parse("if ($x { }")).iter().any(|node| node.is_error() || node.is_missing()));
}

// What the scripts want: their list of objects, read from the tree.

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Text(String),
    Texts(Vec<String>),
    Plain(String),
    Table(BTreeMap<String, Value>),
}

/// The value of an expression in `$Objects`.
fn value(node: Node, source: &str) -> Value {
    match node.kind() {
        "string_literal" => Value::Text(unquoted(text(node, source))),
        "hash_literal_expression" => {
            let mut entries = Vec::new();
            for entry in named_children(node).into_iter().flat_map(named_children) {
                assert_eq!(entry.kind(), "hash_entry");
                let parts = named_children(entry);
                entries.push((text(parts[0], source).to_owned(), value(parts[1], source)));
            }
            let count = entries.len();
            let table: BTreeMap<_, _> = entries.into_iter().collect();
            assert_eq!(table.len(), count, "a key twice in {}", text(node, source));
            Value::Table(table)
        }
        "array_expression" => Value::Texts(strings(node, source)),
        // -1; [ordered]@{} is one too.
        "expression_with_unary_operator" if !text(node, source).starts_with('[') => {
            Value::Plain(text(node, source).to_owned())
        }
        "variable" | "integer_literal" => Value::Plain(text(node, source).to_owned()),
        "cast_expression" => value(*named_children(node).last().unwrap(), source),
        kind => match named_children(node).as_slice() {
            [only] => value(*only, source),
            _ => panic!("{kind}: {}", text(node, source)),
        },
    }
}

/// The strings in a node.
fn strings(node: Node, source: &str) -> Vec<String> {
    let mut found = Vec::new();
    nodes(node, &mut found);
    found.iter().filter(|node| node.kind() == "string_literal").map(|node| unquoted(text(*node, source))).collect()
}

/// The right side of an assignment to a variable.
fn assigned<'tree>(tree: &'tree Tree, source: &str, variable: &str) -> Node<'tree> {
    let assignments = all(tree).into_iter().filter(|node| node.kind() == "assignment_expression");
    let mut of_variable = assignments.map(named_children).filter(|parts| text(parts[0], source) == variable);
    let parts = of_variable.next().unwrap_or_else(|| panic!("{variable} is not set"));
    *parts.last().unwrap()
}

struct Wanted {
    kind: String,
    name: String,
    settings: BTreeMap<String, Value>,
    when_new: BTreeMap<String, Value>,
}

fn wanted(source: &str) -> Vec<Wanted> {
    let tree = parse(source);
    let mut found = Vec::new();
    nodes(assigned(&tree, source, "$Objects"), &mut found);
    let tables = found.into_iter().filter(|node| node.kind() == "hash_literal_expression");
    let tables = tables.filter_map(|node| match value(node, source) {
        Value::Table(table) => Some(table).filter(|table| table.contains_key("Kind")),
        _ => None,
    });
    let read = tables.map(|table| {
        let text = |key: &str| match &table[key] {
            Value::Text(text) => text.clone(),
            other => panic!("{key}: {other:?}"),
        };
        let settings = |key: &str| match &table[key] {
            Value::Table(settings) => settings.clone(),
            other => panic!("{key}: {other:?}"),
        };
        Wanted { kind: text("Kind"), name: text("Name"), settings: settings("Settings"), when_new: settings("WhenNew") }
    });
    read.collect()
}

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

/// The value of a literal as the tables above write it.
fn literal(source: &str) -> Value {
    let tree = parse(source);
    value(tree.root_node(), source)
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

// What changes something asks first.

fn commands<'tree>(tree: &'tree Tree, source: &str) -> Vec<(String, Node<'tree>)> {
    let found = all(tree).into_iter().filter(|node| node.kind() == "command_name");
    found.map(|node| (text(node, source).to_owned(), node)).collect()
}

/// Cmdlets of Exchange that change something. The scripts' own functions are not: what these call is looked at.
fn changes(name: &str) -> bool {
    let nouns = ["Connector", "TransportRule", "DistributionGroup", "RemoteDomain", "DistributionGroupMember"];
    let verb = name.split('-').next().unwrap_or_default();
    !["Get", "Test", "Assert"].contains(&verb) && nouns.iter().any(|noun| name.ends_with(noun))
}

/// Whether a node is reached only if `$PSCmdlet.ShouldProcess(...)` said yes.
fn asks_first(node: Node, source: &str) -> bool {
    const ASKS: &str = "$PSCmdlet.ShouldProcess(";
    let mut at = node;
    while let Some(parent) = at.parent() {
        let mut conditions = children(parent).into_iter().filter(|child| child.kind() == "pipeline");
        if matches!(parent.kind(), "if_statement" | "elseif_clause")
            && at.kind() == "statement_block"
            && conditions.any(|condition| text(condition, source).starts_with(ASKS))
        {
            return true;
        }
        let mut sibling = at.prev_named_sibling();
        while let Some(before) = sibling {
            let code = text(before, source);
            let refused = code.strip_prefix(&format!("if (-not {ASKS}")).and_then(|rest| rest.rsplit_once(") "));
            if before.kind() == "if_statement"
                && refused.is_some_and(|(_, block)| matches!(block, "{ return }" | "{ continue }"))
            {
                return true;
            }
            sibling = before.prev_named_sibling();
        }
        at = parent;
    }
    false
}

fn unasked(source: &str) -> Vec<String> {
    let tree = parse(source);
    let calls = commands(&tree, source).into_iter().filter(|(name, _)| changes(name));
    calls.filter(|(_, node)| !asks_first(*node, source)).map(|(name, _)| name).collect()
}

#[test]
fn nothing_changes_without_asking() {
    for (name, request) in cases() {
        let scripts = scripts(&request);
        for script in [&scripts.set_up, &scripts.removal] {
            assert_eq!(unasked(&script.text), Vec::<String>::new(), "{name}: {}", script.file_name);
            assert!(script.text.contains("[CmdletBinding(SupportsShouldProcess"), "{name}");
            let tree = parse(&script.text);
            let calls = commands(&tree, &script.text);
            assert!(calls.iter().any(|(name, _)| changes(name)), "{name}: {calls:?}");
            // Cmdlets are called by name only, where they can be found.
            assert!(!all(&tree).iter().any(|node| node.kind() == "command_invokation_operator"), "{name}");
        }
    }
}

#[test]
fn a_call_that_does_not_ask_is_noticed() {
    let source = set_up(&request(Guide::Conbool));
    let unguarded = source.replace("if (-not $PSCmdlet.ShouldProcess(\"$Kind '$Name'\", 'Create')) { return }", "");
    assert_ne!(unguarded, source);
    assert_eq!(
        unasked(&unguarded),
        ["New-OutboundConnector", "New-InboundConnector", "New-TransportRule", "New-DistributionGroup"]
    );
}

#[test]
fn every_parameter_that_is_set_is_compared_with_its_default() {
    let source = set_up(&request(Guide::Conbool));
    let tree = parse(&source);
    let Value::Table(defaults) = value(assigned(&tree, &source, "$RuleDefaults"), &source) else { panic!() };
    for (name, request) in cases() {
        for object in wanted(&set_up(&request)).iter().filter(|object| object.kind == "TransportRule") {
            for parameter in object.settings.keys() {
                assert!(defaults.contains_key(parameter), "{name}: {}: {parameter}", object.name);
            }
        }
    }
}

// Values from outside.

proptest! {
    #[test]
    fn a_quoted_value_is_the_value(value in "[^\\p{Cc}]*") {
        let source = format!("$value = {}\n", quoted(&value));
        let tree = parse(&source);
        prop_assert!(!tree.root_node().has_error(), "{}", source);
        let literals: Vec<Node> = all(&tree).into_iter().filter(|node| node.kind() == "string_literal").collect();
        prop_assert_eq!(literals.len(), 1);
        prop_assert_eq!(text(literals[0], &source), quoted(&value));
        prop_assert_eq!(unquoted(&quoted(&value)), value);
    }
}

proptest! {
    // Whole scripts.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_name_arrives_as_it_was_given(name in "[^\\p{Cc}\\p{Z}\u{feff}]([^\\p{Cc}\u{2028}\u{2029}\u{feff}]{0,30}[^\\p{Cc}\\p{Z}\u{feff}])?") {
        let given = vec![("avg-group".to_owned(), name.clone()), ("connector".to_owned(), name.clone())];
        let source = set_up(&Request { names: given, ..request(Guide::SecuMailer) });
        let source = source.trim_start_matches('\u{feff}');
        prop_assert!(!parse(source).root_node().has_error(), "{}", name);
        let objects = wanted(source);
        prop_assert_eq!(&objects[0].name, &name);
        prop_assert_eq!(&objects[1].name, &name);
        let rule = objects.iter().find(|object| object.name == "Redirect to SecuMailer AVG").unwrap();
        prop_assert_eq!(&rule.settings["RouteMessageOutboundConnector"], &Value::Text(name));
    }
}

#[test]
fn values_that_no_script_can_hold_are_refused() {
    let name = |item: &str, name: &str| Request {
        names: vec![(item.to_owned(), name.to_owned())],
        ..request(Guide::SecuMailer)
    };
    let id = |id: &str| Request { customer_id: Some(id.to_owned()), ..request(Guide::SecuMailer) };
    for (request, problem) in [
        (name("connector", "a\nRemove-Mailbox x"), "line ends"),
        (name("connector", ""), "empty"),
        (name("avg-group", &"x".repeat(65)), "at most 64"),
        (name("avg-address", "a b"), "has no mailbox"),
        (name("avg-adress", "relay"), "avg-address"),
        (id("4711\r\nBcc: x@example.net"), "line ends"),
        (id("größe"), "not ASCII"),
        (Request { customer_id: None, ..request(Guide::SecuMailer) }, "--customer-id"),
        (Request { names: vec![("connector".into(), "x".into())], ..request(Guide::Conbool) }, "nothing"),
        (Request { networks: vec![], ..request(Guide::Mailprotector) }, "not published"),
    ] {
        let error = generate(&request).unwrap_err();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn anything_but_ascii_comes_with_a_byte_order_mark() {
    for (name, request) in cases() {
        let scripts = scripts(&request);
        for script in [scripts.set_up, scripts.removal] {
            assert_eq!(script.text.starts_with('\u{feff}'), !script.text.is_ascii(), "{name}: {}", script.file_name);
        }
    }
    let named = Request { names: vec![("avg-group".into(), "Größe".into())], ..request(Guide::SecuMailer) };
    assert!(set_up(&named).starts_with('\u{feff}'));
}

// The command.

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("exchange_online").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn command(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_conbool-milter")).args(arguments).output().unwrap()
}

#[track_caller]
fn complaint(arguments: &[&str]) -> String {
    let output = command(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn both_scripts_are_written_without_a_configuration() {
    let output = folder("written").join("scripts");
    let flags = ["setup", "exchange-online", "--provider", "conbool", "--domain", "example.com", "--relay-network"];
    let mut arguments = flags.to_vec();
    arguments.extend(["192.0.2.0/24", "--relay-network", "198.51.100.7", "--output", output.to_str().unwrap()]);
    let done = command(&arguments);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let expected = scripts(&request(Guide::Conbool));
    for script in [expected.set_up, expected.removal] {
        assert_eq!(fs::read_to_string(output.join(&script.file_name)).unwrap(), script.text);
    }
    assert_eq!(fs::read_dir(&output).unwrap().count(), 2);
    let notes = String::from_utf8(done.stderr).unwrap();
    assert_eq!(notes.matches("note: ").count(), expected.notes.len());
}

#[test]
fn the_configuration_says_what_flags_do_not() {
    let folder = folder("configured");
    let config = folder.join("conbool-milter.toml");
    let toml = "provider = \"conbool\"\ndomains = [\"example.com\", \"example.org\"]\nsocket = \"unix:/run/conbool-milter/milter.sock\"\n\
                relay_networks = [\"192.0.2.0/24\"]\n[relay]\nhost = \"relay.example.net\"\n\
                [scope]\nmode = \"list\"\nsenders = [\"alice@example.com\"]\n";
    fs::write(&config, toml).unwrap();
    let print = |more: &[&str]| {
        let arguments = [&["-c", config.to_str().unwrap(), "setup", "exchange-online"], more].concat();
        let output = command(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let own = Request {
        domains: vec!["example.com".into(), "example.org".into()],
        scope: Scope::List(vec!["alice@example.com".into()]),
        relay_host: "relay.example.net".into(),
        relay_tls_name: "relay.example.net".into(),
        networks: vec!["192.0.2.0/24".parse().unwrap()],
        ..request(Guide::Conbool)
    };
    assert_eq!(print(&[]), set_up(&own));
    assert_eq!(print(&["--removal"]), scripts(&own).removal.text);
    let narrowed = Request { domains: vec!["example.org".into()], scope: Scope::All, ..own };
    assert_eq!(print(&["--domain", "example.org", "--scope", "all"]), set_up(&narrowed));
    // Another provider's relay is not at these addresses.
    let other = print(&["--provider", "secumailer", "--customer-id", "customer-4711"]);
    assert!(other.contains("mail-relay.secumail.cloud") && !other.contains("relay.example.net"), "{other}");
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_printed() {
    let base = ["setup", "exchange-online", "--provider", "conbool", "--domain", "example.com"];
    let with = |more: &[&'static str]| complaint(&[&base[..], more].concat());
    assert!(complaint(&["setup", "exchange-online"]).contains("--provider"));
    assert!(complaint(&base[..4]).contains("--domain"));
    assert!(
        complaint(&["setup", "exchange-online", "--provider", "other", "--domain", "example.com"]).contains("other")
    );
    assert!(with(&["--domain", "exam'ple.com"]).contains("is not a domain"));
    assert!(with(&["--domain", "example.com\n"]).contains("is not a domain"));
    assert!(with(&["--scope", "list:al ice@example.com"]).contains("has no mailbox"));
    assert!(with(&["--scope", "group:$(x)"]).contains("--scope"));
    assert!(with(&["--relay-network", "192.0.2.1/24"]).contains("host bits"));
    assert!(with(&["--name", "connector"]).contains("ITEM=NAME"));
    assert!(with(&["--output", "/dev/null/x"]).contains("/dev/null/x"));
}
