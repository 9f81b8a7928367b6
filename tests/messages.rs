//! Every message in `tests/messages` is explained as `expected.txt` there says, and must come out as it says.

mod explain;
#[path = "messages/header.rs"]
mod header;
#[path = "messages/table.rs"]
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use table::{Entry, FIELDS, Run};

fn entries() -> Vec<Entry> {
    let text = fs::read_to_string(explain::folder().join("expected.txt")).expect("the table is there");
    table::read(&text).unwrap_or_else(|error| panic!("{error}"))
}

/// All differences at once: a wrong rule shows in many messages, and the pattern tells which.
#[test]
fn every_message_is_judged_as_the_table_says() {
    let mut runs = 0;
    let mut wrong = String::new();
    for entry in entries() {
        let file = explain::folder().join(&entry.file);
        for run in &entry.runs {
            runs += 1;
            let differences = match ask(run, &file) {
                Ok(answer) => compare(run, &answer, &fs::read(&file).expect("the message is there")),
                Err(error) => vec![error],
            };
            if !differences.is_empty() {
                let site = if run.site.is_empty() { String::new() } else { format!(" (site {})", run.site) };
                wrong.push_str(&format!("\n{}{site}\n  run {}\n", entry.file, run.options));
                differences.iter().for_each(|line| wrong.push_str(&format!("    {line}\n")));
            }
        }
    }
    let count = wrong.matches("\n  run ").count();
    assert!(wrong.is_empty(), "{count} of {runs} runs came out otherwise:\n{wrong}");
}

fn ask(run: &Run, file: &Path) -> Result<Value, String> {
    let options: Vec<&str> = run.options.split_whitespace().map(|word| if word == "<>" { "" } else { word }).collect();
    explain::explain(&explain::site(&run.site), &options, &[file]).map(|mut answers| answers.remove(0))
}

/// The differences between what the table wants and the answer, one a line.
fn compare(run: &Run, answer: &Value, message: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut differ = |what: &str, want: &str, got: &str| {
        if want != "*" && want != got {
            lines.push(format!("{what}: {want} wanted, {got} found"));
        }
    };
    for (field, want) in FIELDS.iter().zip(&run.is) {
        differ(field, want, &value_of(answer, field));
    }
    differ("reasons", &run.why, &explain::reasons(answer));
    let edits = header::edits(answer);
    let sorted = |edits: &[String]| {
        let mut edits: Vec<String> = edits.iter().map(|edit| edit.to_ascii_lowercase()).collect();
        edits.sort_unstable();
        edits
    };
    if sorted(&edits) != sorted(&run.edits) {
        differ("edits", &run.edits.join(", "), &edits.join(", "));
    }
    if answer["disposition"] == "continue" {
        lines.extend(header::what_is_left_is_wrong(answer, message));
    }
    lines
}

fn value_of(answer: &Value, field: &str) -> String {
    match field {
        "scope" => match answer["in_scope"].as_bool() {
            Some(true) => "in-scope".to_owned(),
            Some(false) => "out-of-scope".to_owned(),
            None => "nothing".to_owned(),
        },
        _ => answer[field].as_str().unwrap_or("nothing").to_owned(),
    }
}

#[test]
fn every_message_is_in_the_table_once() {
    let mut listed = BTreeSet::new();
    for entry in entries() {
        assert!(listed.insert(entry.file.clone()), "{} is in the table twice", entry.file);
    }
    let present: BTreeSet<String> = fs::read_dir(explain::folder())
        .expect("the folder is there")
        .map(|item| item.expect("a readable folder").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".eml"))
        .collect();
    let missing: Vec<_> = present.difference(&listed).collect();
    let surplus: Vec<_> = listed.difference(&present).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "not in the table: {missing:?}; no such file: {surplus:?}");
    assert!(present.len() >= 55, "only {} messages", present.len());
}

/// A checkout that converts line ends would make every message another one.
#[test]
fn every_message_has_crlf_line_ends() {
    for entry in entries() {
        let message = fs::read(explain::folder().join(&entry.file)).expect("the message is there");
        let bare = message.iter().enumerate().any(|(at, byte)| *byte == b'\n' && (at == 0 || message[at - 1] != b'\r'));
        assert!(!bare, "{} has a line that ends without CR", entry.file);
    }
}

/// Files saved by a mail program on Unix end their lines with LF alone. They are the same message.
#[test]
fn line_ends_of_a_saved_message_do_not_matter() {
    let mut wrong = Vec::new();
    for entry in entries() {
        let file = explain::folder().join(&entry.file);
        let message = fs::read(&file).expect("the message is there");
        let saved = explain::scratch(".eml");
        fs::write(&saved, String::from_utf8_lossy(&message).replace("\r\n", "\n")).expect("a writable target folder");
        let both = (ask(&entry.runs[0], &file), ask(&entry.runs[0], &saved));
        fs::remove_file(&saved).expect("our own file");
        match both {
            (Ok(mut as_sent), Ok(mut as_saved)) => {
                for answer in [&mut as_sent, &mut as_saved] {
                    answer.as_object_mut().map(|object| object.remove("file"));
                }
                if as_sent != as_saved {
                    wrong.push(format!("{}: {as_sent}\n  with LF: {as_saved}", entry.file));
                }
            }
            (Err(error), _) | (_, Err(error)) => wrong.push(format!("{}: {error}", entry.file)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn lock_down_is_explained_recipient_by_recipient() {
    let file = explain::folder().join("normal-plain.eml");
    let ask = |client: &str, recipients: &[&str]| {
        let mut options = vec!["--client", client, "--from", "x@lists.test"];
        options.extend(recipients.iter().flat_map(|recipient| ["--rcpt", recipient]));
        explain::explain(&explain::site("lock-down"), &options, &[&file]).unwrap().remove(0)
    };
    let refused = ask("198.51.100.1", &["alice@customer.test"]);
    let reply = "550 5.7.1 Mail for customer.test is accepted from its e-mail security service only, not from \
                 198.51.100.1; deliver to the MX hosts of the domain";
    assert_eq!((refused["disposition"].as_str(), refused["reply"].as_str()), (Some("reject"), Some(reply)));
    assert_eq!(refused["reasons"][0], "lock-down");
    // One of two is refused; the message goes to the other.
    let mixed = ask("198.51.100.1", &["alice@customer.test", "postmaster@customer.test"]);
    assert_eq!(
        (mixed["disposition"].as_str(), &mixed["refused"]["alice@customer.test"]),
        (Some("continue"), &reply.into())
    );
    assert_eq!(mixed["refused"].as_object().map(|refused| refused.len()), Some(1));
    let internal = ask("127.0.0.1", &["alice@customer.test"]);
    assert!(internal["disposition"] == "continue" && internal["refused"].is_null(), "{internal}");
}
