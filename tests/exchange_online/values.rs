//! Values from outside arrive as they were given, or are refused.

use conbool_milter::mta::exchange_online::{Guide, Request, generate, quoted};
use proptest::prelude::*;
use tree_sitter::Node;

use crate::powershell::{Value, all, parse, text, unquoted, wanted};
use crate::{cases, request, scripts, set_up};

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
