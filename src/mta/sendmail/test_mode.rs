//! Sendmail's address test mode, `sendmail -bt`.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::config;

/// Stands between answers.
const MARK: &str = "==conbool==";

/// Asks Sendmail, as `cf` sets it up, for macros (`$j`) and classes (`$=w`); each answer is a list of lines.
///
/// # Errors
/// A sentence if it cannot be run, or finds a line of its configuration wrong.
pub fn ask(program: &Path, cf: &Path, questions: &[&str]) -> Result<Vec<Vec<String>>, String> {
    let failed = |error: io::Error| format!("cannot run {}: {}", program.display(), config::reason(&error));
    let mut input = format!(".D{{conboolMark}}{MARK}\n");
    input.extend(questions.iter().flat_map(|question| [question, "\n${conboolMark}\n"]));
    let mut command = Command::new(program);
    // Else class w has whatever names the addresses of this host have.
    command.args(["-O", "DontProbeInterfaces=True", "-bt", "-C"]).arg(cf);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    // It is less than what a pipe holds. One that does not read it says why.
    drop(child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stdout);
    answers(&text, &cf.display().to_string()).map_err(|problem| {
        let said = [problem, String::from_utf8_lossy(&output.stderr).into_owned()].join("\n");
        format!("{} -C {} -bt: {}", program.display(), cf.display(), said.trim())
    })
}

/// The answers in what it prints behind a heading.
///
/// # Errors
/// What it prints instead, or before that, about a line of the file.
fn answers(text: &str, cf: &str) -> Result<Vec<Vec<String>>, String> {
    let (before, text) = text.split_once("Enter <ruleset> <address>\n").ok_or(text)?;
    let complaints: Vec<&str> = before.lines().filter(|line| line.starts_with(&format!("{cf}: line "))).collect();
    if !complaints.is_empty() {
        return Err(complaints.join("\n"));
    }
    // Prompts stand before answers, also before those that are empty.
    let lines = text.lines().map(|line| line.trim_start_matches("> ").trim()).filter(|line| !line.is_empty());
    let mut answers = vec![Vec::new()];
    for line in lines {
        match (line == MARK, answers.last_mut()) {
            (false, Some(last)) => last.push(line.to_owned()),
            _ => answers.push(Vec::new()),
        }
    }
    answers.pop();
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: &str = "ADDRESS TEST MODE (ruleset 3 NOT automatically invoked)\nEnter <ruleset> <address>\n";

    #[test]
    fn answers_are_told_apart() {
        let text = format!("WARNING\n{HEADING}> > a.test\nb.test\n> {MARK}\n> > {MARK}\n> c.test\n> {MARK}\n> ");
        assert_eq!(answers(&text, "x.cf").unwrap(), [vec!["a.test", "b.test"], vec![], vec!["c.test"]]);
    }

    #[test]
    fn what_is_wrong_in_the_file_is_told() {
        let none = "x.cf: line 0: cannot open: No such file or directory\n";
        assert_eq!(answers(none, "x.cf").unwrap_err(), none);
        let wrong = "x.cf: line 9: invalid rewrite line \"R\" (tab expected)";
        assert_eq!(answers(&format!("{wrong}\n{HEADING}> > {MARK}\n> "), "x.cf").unwrap_err(), wrong);
    }
}
