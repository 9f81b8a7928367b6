use super::*;
use crate::case::HeaderSection;

fn facts() -> Facts {
    Facts {
        peer: Peer::Internal,
        direction: Direction::Outbound,
        kind: Kind::Normal,
        in_scope: true,
        null_sender: false,
        loop_header: false,
        flagged: false,
        released: false,
        forged: 0,
        recipients: Some(Recipients::Mixed),
        named_scopes: vec!["NTA-7516".into()],
    }
}

fn script(text: &str) -> Script {
    Script { file: "site.sieve".into(), text: text.into() }
}

fn lists() -> Lists {
    let alice = Arc::new(AddressSet::from_iter(["alice@customer.test"]));
    Lists::from([("scope".to_string(), alice.clone()), ("scope.avg".to_string(), alice)])
}

fn case(fields: &[(&str, &str)]) -> Case {
    let mut header = HeaderSection::default();
    for (name, value) in fields {
        header.push(name.as_bytes(), value.as_bytes()).unwrap();
    }
    let mut case = Case { header, ..Case::default() };
    case.envelope.sender = "alice@customer.test".into();
    case.envelope.recipients = vec!["bob@remote.test".into()];
    case
}

fn compile(scripts: &[Script]) -> Result<Rules, Vec<ScriptError>> {
    Rules::compile(scripts, &names())
}

fn names() -> Names {
    let settings = [("customer_id".to_string(), "47 11".to_string()), ("region".to_string(), String::new())];
    Names { lists: lists().into_keys().chain(["scope.NTA-7516".to_string()]).collect(), settings: settings.into() }
}

fn run(texts: &[&str], fields: &[(&str, &str)]) -> Result<Effects, RulesFailure> {
    let scripts: Vec<Script> = texts.iter().map(|text| script(text)).collect();
    compile(&scripts).unwrap().run(&facts(), &case(fields), &lists())
}

fn errors(text: &str) -> Vec<(Option<usize>, String)> {
    let errors = compile(&[script(text)]).map(|_| ()).unwrap_err();
    errors.into_iter().map(|error| (error.line, error.message)).collect()
}

#[test]
fn a_script_that_says_nothing_changes_nothing() {
    assert_eq!(run(&["keep;", ""], &[]), Ok(Effects::default()));
}

#[test]
fn the_reasons_in_the_text_are_known_beforehand() {
    let provider = "require \"imap4flags\"; addflag [\"$NotJunk\", \"direct:released\"];";
    let site = "require [\"imap4flags\", \"variables\"]; set \"why\" \"relay:Board papers direct\"; # direct:comment\n\
                addflag \"${why}\"; if true { keep :flags \"direct:fax\"; } addflag \"direct:${why}\";";
    let rules = Rules::compile(&[script(provider), script(site)], &Names::default()).unwrap();
    assert_eq!(rules.reasons().into_iter().collect::<Vec<_>>(), ["board", "fax", "released", "rule"]);
}

#[test]
fn keywords_choose_the_route_and_the_relay_wins() {
    let direct = "require \"imap4flags\"; addflag \"direct:fax\";";
    let relay = "require \"imap4flags\"; addflag [\"direct:fax\", \"relay:Board_papers\"];";
    assert_eq!(run(&[direct], &[]).unwrap().route, Some((Route::Direct, vec!["fax".into()])));
    assert_eq!(run(&[relay], &[]).unwrap().route, Some((Route::Relay, vec!["board-papers".into()])));
}

#[test]
fn the_site_script_can_take_back_what_the_provider_said() {
    let provider = "require \"imap4flags\"; addflag [\"direct:calendaring\", \"$Junk\"];";
    let site = "require \"imap4flags\"; removeflag \"direct:calendaring\"; addflag \"$NotJunk\";";
    let effects = run(&[provider, site], &[]).unwrap();
    assert_eq!((effects.route, effects.junk), (None, Some(false)));
}

#[test]
fn a_site_script_sees_the_keywords_that_are_set() {
    let provider = "require \"imap4flags\"; addflag \"$Junk\";";
    let site = "require [\"imap4flags\", \"editheader\"]; if hasflag \"$junk\" { addheader \"X-Folder\" \"Spam\"; }";
    let effects = run(&[provider, site], &[]).unwrap();
    assert_eq!(effects.added, [("X-Folder".into(), "Spam".into(), false)]);
    assert_eq!(effects.junk, Some(true));
}

#[test]
fn header_edits_are_read_off() {
    let edit = "require \"editheader\"; addheader :last \"X-Stamp\" \"7\"; deleteheader :index 2 \"X-Old\"; \
                deleteheader \"X-Gone\";";
    let fields = [("X-Old", " a"), ("x-gone", " b"), ("X-OLD", " c"), ("Subject", " d"), ("X-Gone", " e")];
    let effects = run(&["", edit], &fields);
    // index is an extension of its own for deleteheader (RFC 5293, section 5).
    let effects = effects.unwrap();
    assert_eq!(effects.added, [("X-Stamp".into(), "7".into(), true)]);
    assert_eq!(effects.removed, [1, 2, 4]);
}

#[test]
fn headers_envelope_lists_and_environment_can_be_tested() {
    let text = "require [\"envelope\", \"extlists\", \"environment\", \"imap4flags\", \"variables\", \"relational\"];
        if allof (header :contains \"subject\" \"[direct]\",
                  envelope :list \"from\" \"urn:conbool-milter:scope\",
                  address :domain \"from\" \"customer.test\",
                  environment :is \"vnd.conbool.peer\" \"internal\") { addflag \"direct:subject\"; }";
    let fields = [("From", " Alice <alice@customer.test>"), ("Subject", " hello [Direct]")];
    assert_eq!(run(&[text], &fields).unwrap().route, Some((Route::Direct, vec!["subject".into()])));
    assert_eq!(run(&[text], &[("Subject", " [direct]")]).unwrap().route, None);
}

#[test]
fn actions_become_dispositions() {
    let action = |text: &str| run(&[text], &[]).unwrap().action;
    assert_eq!(action("discard;"), Some(Action::Discard));
    assert_eq!(action("require \"reject\"; reject \"no\";"), Some(Action::Reject("no".into())));
    assert_eq!(action("require \"ereject\"; ereject \"no\";"), Some(Action::Reject("no".into())));
    assert_eq!(action("require \"fileinto\"; fileinto \"Quarantine\";"), Some(Action::Quarantine));
}

#[test]
fn a_script_that_stops_with_an_error_is_a_failure() {
    let failure = run(&["require \"ihave\"; error \"list server is away\";"], &[]).unwrap_err();
    assert!(failure.message.contains("list server is away"), "{}", failure.message);
}

#[test]
fn mistakes_are_found_when_the_script_is_compiled() {
    for (text, line, part) in [
        ("keep }", 1, "Expected token"),
        ("\nredirect \"x@evil.test\";", 2, "redirect is not supported"),
        ("require \"vacation\";\nvacation \"away\";", 1, "\"vacation\" is not supported"),
        ("require \"fileinto\";\nfileinto \"Spam\";", 2, "no mailbox \"Spam\""),
        ("if size :over 1M { discard; }", 1, "size is not supported"),
        (
            "require \"environment\";\n\nif environment \"vnd.conbool.relased\" \"yes\" { stop; }",
            3,
            "vnd.conbool.released",
        ),
        (
            "require [\"envelope\",\"extlists\"];\nif envelope :list \"from\" \"urn:conbool-milter:avg\" {stop;}",
            2,
            "no list",
        ),
        ("require \"editheader\";\naddheader \"X-Spam-Flag\" \"YES\";", 2, "$Junk"),
        ("require \"editheader\";\ndeleteheader \"Received\";", 2, "cannot be edited"),
        ("require \"foreverypart\";", 1, "not supported"),
        ("require \"vnd.other\";", 1, "not supported"),
        ("frobnicate;", 1, "frobnicate"),
        ("if frobnicated { stop; }", 1, "frobnicated"),
    ] {
        let errors = errors(text);
        assert!(errors.iter().any(|(at, message)| *at == Some(line) && message.contains(part)), "{text}: {errors:?}");
    }
}

#[test]
fn the_text_of_a_script_is_not_taken_for_its_code() {
    let text = "require [\"imap4flags\", \"editheader\"]; # redirect everything\naddheader \"X-Note\" \"Size\"; addflag \"direct:size\";";
    assert!(run(&[text], &[("Subject", " redirect")]).is_ok());
}

#[test]
fn a_field_cannot_split_into_two_for_a_script() {
    let text = "require \"imap4flags\"; if exists \"x-injected\" { addflag \"direct:injected\"; }";
    for value in [" a\r\nX-Injected: yes", " a\nX-Injected: yes", " a\rX-Injected: yes", " a\r\n\r\nX-Injected: yes"] {
        assert_eq!(run(&[text], &[("Subject", value)]).unwrap().route, None, "{value:?}");
    }
    let text = "require \"imap4flags\"; if exists \"x-last\" { addflag \"direct:last\"; }";
    for value in [" a\n\n b", " a\r\n\r\n b", "\n\n", "\n\n\n ", "\r\n\r\n\t", ""] {
        let effects = run(&[text], &[("Subject", value), ("X-Last", " yes")]).unwrap();
        assert!(effects.route.is_some(), "{value:?} hides the fields behind it");
    }
}

#[test]
fn every_environment_item_has_a_value() {
    let runtime_items = ["name", "version", "location", "phase"];
    for item in ENVIRONMENT.iter().filter(|item| !runtime_items.contains(item)) {
        assert!(facts().environment_item(item, &case(&[])).is_some(), "{item}");
    }
    for item in runtime_items {
        let text = format!(
            "require [\"environment\", \"imap4flags\"]; if environment :contains \"{item}\" \"\" {{ addflag \"direct:x\"; }}"
        );
        assert!(run(&[&text], &[]).unwrap().route.is_some(), "{item}");
    }
}

#[test]
fn settings_and_named_scopes_are_items_of_their_own() {
    let text = "require [\"editheader\", \"environment\", \"variables\"];
        if allof (environment :is \"vnd.conbool.in-scope.NTA-7516\" \"yes\", environment :is \"vnd.conbool.in-scope.avg\" \"no\",
                  environment :is \"vnd.conbool.recipients\" \"mixed\", not environment :contains \"vnd.conbool.setting.region\" \"a\",
                  environment :matches \"vnd.conbool.setting.customer_id\" \"*\") {
            set \"id\" \"${1}\"; addheader \"X-Id\" \"${id}\";
        }";
    assert_eq!(run(&[text], &[]).unwrap().added, [("X-Id".into(), "47 11".into(), false)]);
    let rules = compile(&[script(text)]).unwrap();
    assert!(rules.asks_for_recipients());
    assert_eq!(rules.named_scopes().collect::<Vec<_>>(), ["NTA-7516", "avg"]);
    let rules = compile(&[script("keep;")]).unwrap();
    assert!(!rules.asks_for_recipients() && rules.named_scopes().next().is_none());
    for (item, nearest) in [
        ("vnd.conbool.setting.custom_id", "vnd.conbool.setting.customer_id"),
        ("vnd.conbool.in-scope.nta7516", "vnd.conbool.in-scope.NTA-7516"),
    ] {
        let text = format!("require \"environment\";\nif environment :is \"{item}\" \"\" {{ stop; }}");
        let expected = format!("there is no environment item \"{item}\"; did you mean \"{nearest}\"?");
        assert_eq!(errors(&text), [(Some(2), expected)]);
    }
}
