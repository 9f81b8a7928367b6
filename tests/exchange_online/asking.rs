//! What changes something asks PowerShell's ShouldProcess first, and compares before.

use conbool_milter::mta::exchange_online::Guide;
use tree_sitter::Node;

use crate::powershell::{Value, all, assigned, children, commands, parse, text, value, wanted};
use crate::{cases, request, scripts, set_up};

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
