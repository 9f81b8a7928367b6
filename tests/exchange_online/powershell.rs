//! Reads scripts by PowerShell's grammar.

use std::collections::BTreeMap;

use tree_sitter::{Node, Parser, Tree};

pub fn parse(source: &str) -> Tree {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_powershell::LANGUAGE.into()).unwrap();
    parser.parse(source, None).unwrap()
}

pub fn children(node: Node<'_>) -> Vec<Node<'_>> {
    let mut cursor = node.walk();
    node.children(&mut cursor).collect()
}

pub fn named_children(node: Node<'_>) -> Vec<Node<'_>> {
    children(node).into_iter().filter(Node::is_named).collect()
}

pub fn nodes<'tree>(node: Node<'tree>, found: &mut Vec<Node<'tree>>) {
    found.push(node);
    for child in children(node) {
        nodes(child, found);
    }
}

pub fn all(tree: &Tree) -> Vec<Node<'_>> {
    let mut found = Vec::new();
    nodes(tree.root_node(), &mut found);
    found
}

pub fn text<'source>(node: Node, source: &'source str) -> &'source str {
    &source[node.byte_range()]
}

/// What PowerShell makes of a single-quoted string: two quotes of any kind are the second of them.
pub fn unquoted(source: &str) -> String {
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

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(String),
    Texts(Vec<String>),
    Plain(String),
    Table(BTreeMap<String, Value>),
}

/// The value of an expression in `$Objects`.
pub fn value(node: Node, source: &str) -> Value {
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
pub fn strings(node: Node, source: &str) -> Vec<String> {
    let mut found = Vec::new();
    nodes(node, &mut found);
    found.iter().filter(|node| node.kind() == "string_literal").map(|node| unquoted(text(*node, source))).collect()
}

/// The right side of an assignment to a variable.
pub fn assigned<'tree>(tree: &'tree Tree, source: &str, variable: &str) -> Node<'tree> {
    let assignments = all(tree).into_iter().filter(|node| node.kind() == "assignment_expression");
    let mut of_variable = assignments.map(named_children).filter(|parts| text(parts[0], source) == variable);
    let parts = of_variable.next().unwrap_or_else(|| panic!("{variable} is not set"));
    *parts.last().unwrap()
}

pub struct Wanted {
    pub kind: String,
    pub name: String,
    pub settings: BTreeMap<String, Value>,
    pub when_new: BTreeMap<String, Value>,
}

pub fn wanted(source: &str) -> Vec<Wanted> {
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

/// The value of a literal as the guides' tables write it.
pub fn literal(source: &str) -> Value {
    let tree = parse(source);
    value(tree.root_node(), source)
}

/// The commands that a script calls.
pub fn commands<'tree>(tree: &'tree Tree, source: &str) -> Vec<(String, Node<'tree>)> {
    let found = all(tree).into_iter().filter(|node| node.kind() == "command_name");
    found.map(|node| (text(node, source).to_owned(), node)).collect()
}
