//! The subcommands and flags of conbool-milter(8), and those that the program takes.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Arg, Command};

/// What a subcommand takes: its flags, each with the name of its value, and the names of its arguments.
#[derive(Debug, Default, PartialEq, Eq)]
struct Takes {
    flags: BTreeMap<String, Option<String>>,
    arguments: BTreeSet<String>,
}

/// By the words of the subcommand, which are empty for the program itself.
type Commands = BTreeMap<String, Takes>;

/// As the page spells what the program calls `NEXT_HOP`.
fn value_name(argument: &Arg) -> Option<String> {
    let name =
        || argument.get_value_names().map_or_else(|| argument.get_id().to_string(), |names| names[0].to_string());
    argument.get_action().takes_values().then(|| name().to_lowercase().replace('_', "-"))
}

/// What the program takes. Flags that every subcommand has count for the program itself.
fn taken(command: &Command, path: &str, commands: &mut Commands) {
    let mut takes = Takes::default();
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        let value = value_name(argument);
        match argument.get_long() {
            Some(long) => drop(takes.flags.insert(long.to_owned(), value)),
            None => takes.arguments.extend(value),
        }
    }
    // Of `scope` there are only the subcommands.
    if path.is_empty() || !command.is_subcommand_required_set() {
        commands.insert(path.to_owned(), takes);
    }
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        taken(below, format!("{path} {}", below.get_name()).trim_start(), commands);
    }
}

fn program() -> Commands {
    let mut commands = Commands::new();
    taken(&conbool_milter::cli::command(), "", &mut commands);
    // The library for command lines adds these.
    let every = &mut commands.get_mut("").unwrap().flags;
    every.extend(["help", "version"].map(|flag| (flag.to_owned(), None)));
    commands
}

/// The flags and arguments in a line of mdoc(7).
fn named(line: &str, takes: &mut Takes) {
    let words: Vec<&str> = line.trim_start_matches('.').split_whitespace().collect();
    let mut at = 0;
    while at < words.len() {
        match words[at..] {
            ["Fl", "Fl", flag, ..] => {
                let (value, next) = value(&words, at + 3);
                takes.flags.insert(flag.to_owned(), value);
                at = next;
            }
            // The short name of a flag, with the value that its long name has too.
            ["Fl", _, ..] => at = value(&words, at + 2).1,
            ["Ar", name, ..] if name != "..." => {
                takes.arguments.insert(name.to_owned());
                at += 2;
            }
            // By itself, it stands for files (mdoc(7)).
            ["Ar", ..] => {
                takes.arguments.insert("file".to_owned());
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// The name of the value that follows a flag, whose parts [`Ns`](mdoc) joins, and where the next word is.
fn value(words: &[&str], from: usize) -> (Option<String>, usize) {
    let (mut name, mut at, mut joined) = (String::new(), from, false);
    while let Some(word) = words.get(at) {
        match *word {
            "Ns" | "Ar" => joined = true,
            "Op" if joined => {}
            word if joined => {
                name.push_str(word);
                joined = words.get(at + 1) == Some(&"Ns") || words.get(at + 1) == Some(&"Ar") && word == "=";
            }
            _ => break,
        }
        at += 1;
    }
    let name = name.trim_start_matches('=').to_owned();
    (Some(name).filter(|name| !name.is_empty()), at)
}

/// The words of a subcommand in `.Cm scope test` or `.It Cm scope accept Ar name`.
fn path(line: &str) -> Option<String> {
    let (_, words) = line.split_once("Cm ")?;
    let is_word = |word: &&str| word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-');
    Some(words.split_whitespace().take_while(is_word).collect::<Vec<_>>().join(" "))
}

fn section<'a>(page: &'a str, name: &str) -> &'a str {
    let begin = page.split_once(&format!(".Sh {name}\n")).unwrap_or_else(|| panic!("no section {name}")).1;
    begin.split("\n.Sh ").next().unwrap()
}

#[test]
fn the_synopsis_has_every_subcommand_with_its_flags_and_arguments() {
    let page = crate::page("conbool-milter.8");
    let mut found = Commands::new();
    for command in section(&page, "SYNOPSIS").split(".Nm\n").skip(1) {
        let path = command.lines().find_map(path).expect("a subcommand");
        let takes = found.entry(path).or_default();
        // Its first line says which configuration, or which subcommand.
        for line in command.lines().filter(|line| *line != ".Op Fl c Ar file") {
            named(line, takes);
        }
    }
    let mut expected = program();
    expected.remove("");
    for (path, takes) in &expected {
        assert_eq!(found.get(path), Some(takes), "SYNOPSIS of {path:?}");
    }
    let unknown: Vec<&String> = found.keys().filter(|path| !expected.contains_key(*path)).collect();
    assert!(unknown.is_empty(), "SYNOPSIS has what does not exist: {unknown:?}");
}

#[test]
fn every_subcommand_is_described() {
    let page = crate::page("conbool-milter.8");
    let described: BTreeSet<String> = section(&page, "DESCRIPTION")
        .split_once("The subcommands:\n")
        .expect("the subcommands")
        .1
        .lines()
        .take_while(|line| *line != ".El")
        .filter(|line| line.starts_with(".It Cm "))
        .filter_map(path)
        .collect();
    let expected: BTreeSet<String> = program().into_keys().filter(|path| !path.is_empty()).collect();
    assert_eq!(described, expected);
}

/// The lists of flags in the page: each follows a paragraph such as "The options of `scope test` and `scope list`:".
fn described() -> BTreeMap<String, BTreeMap<String, Option<String>>> {
    let page = crate::page("conbool-milter.8");
    let (mut found, mut lists, mut paragraph) = (BTreeMap::new(), Vec::<Vec<String>>::new(), Vec::new());
    for line in page.lines() {
        match line.split(' ').next().unwrap_or_default() {
            ".Pp" | ".Sh" | ".Ss" => paragraph.clear(),
            ".Bl" => {
                let is_of_options = paragraph.first().is_some_and(|line: &&str| line.starts_with("The options"));
                let paths: Vec<String> = paragraph.iter().filter_map(|line| path(line)).collect();
                lists.push(match (is_of_options, paths.is_empty()) {
                    (false, _) => Vec::new(),
                    (true, true) => vec![String::new()],
                    (true, false) => paths,
                });
                paragraph.clear();
            }
            ".El" => {
                lists.pop();
                paragraph.clear();
            }
            ".It" => {
                for path in lists.last().into_iter().flatten() {
                    let mut takes = Takes::default();
                    named(line, &mut takes);
                    found.entry(path.clone()).or_insert_with(BTreeMap::new).extend(takes.flags);
                }
            }
            _ => paragraph.push(line),
        }
    }
    found
}

#[test]
fn every_flag_is_described() {
    let found = described();
    let none = BTreeMap::new();
    for (path, takes) in program() {
        let flags = found.get(&path).unwrap_or(&none);
        // One list may be for two subcommands, of which the one has fewer flags.
        let of_others = path.starts_with("scope ");
        let wrong: Vec<_> = flags.iter().filter(|(flag, _)| !of_others && !takes.flags.contains_key(*flag)).collect();
        assert!(wrong.is_empty(), "described, but not taken by {path:?}: {wrong:?}");
        for (flag, value) in &takes.flags {
            assert_eq!(flags.get(flag), Some(value), "--{flag} of {path:?} is not described so");
        }
    }
    let program = program();
    let unknown: Vec<&String> = found.keys().filter(|path| !program.contains_key(*path)).collect();
    assert!(unknown.is_empty(), "options of what does not exist: {unknown:?}");
}
