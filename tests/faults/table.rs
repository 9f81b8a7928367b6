//! The tables of faults.

use std::fmt;
use std::fs;
use std::path::Path;

use super::installation::Found;
use super::lab::Error;

/// A way to break a good installation, and what is found then.
#[derive(Debug)]
pub struct Fault {
    pub name: String,
    pub steps: Vec<Step>,
    pub expected: Vec<Expected>,
    /// Whether what the first of these findings says is done then, and has to mend it.
    pub is_mended: bool,
}

/// One thing that is done.
#[derive(Debug)]
pub enum Step {
    /// Commands of a shell.
    Shell(String),
    /// The same, without the mail server being told.
    Unnoticed(String),
    /// Something that a shell in the lab cannot do: `daemon`, `dns`, with its arguments.
    Lab(String),
}

/// A finding.
#[derive(Debug)]
pub struct Expected {
    pub status: String,
    pub area: String,
    pub check: String,
    /// A part of the subject.
    subject: String,
    /// A part of what is seen.
    seen: String,
    /// A part of what mends it.
    mend: String,
}

impl Expected {
    pub fn fits(&self, found: &Found) -> bool {
        (&found.status, &found.area, &found.check) == (&self.status, &self.area, &self.check)
            && found.subject.contains(&self.subject)
            && found.seen.contains(&self.seen)
            && found.mend.contains(&self.mend)
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, area, check, subject, seen, mend } = self;
        write!(f, "{status} {area} {check} | {subject} | {seen} | {mend}")
    }
}

/// The faults of a file.
pub fn read(file: &Path) -> Result<Vec<Fault>, Error> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut faults: Vec<Fault> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = |what: &str| format!("{}:{}: {what}", file.display(), number + 1);
        if let Some(name) = line.strip_prefix("== ") {
            faults.push(Fault { name: name.to_owned(), steps: Vec::new(), expected: Vec::new(), is_mended: false });
            continue;
        }
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let fault = faults.last_mut().ok_or_else(|| wrong("no fault begins here"))?;
        if let Some(command) = line.strip_prefix("$ ") {
            fault.steps.push(Step::Shell(command.to_owned()));
        } else if let Some(command) = line.strip_prefix("& ") {
            fault.steps.push(Step::Unnoticed(command.to_owned()));
        } else if let Some(step) = line.strip_prefix("! ") {
            fault.steps.push(Step::Lab(step.to_owned()));
        } else if line == "mended" {
            fault.is_mended = true;
        } else {
            let mut parts = line.split('|').map(str::trim);
            let mut next = || parts.next().map(str::to_owned);
            let head = next().unwrap_or_default();
            let words: Vec<&str> = head.split_whitespace().collect();
            let [status, area, check] = words[..] else { return Err(wrong("no status, area and check").into()) };
            let (Some(subject), Some(seen), Some(mend)) = (next(), next(), next()) else {
                return Err(wrong("a finding needs `| subject | seen | mend`").into());
            };
            let [status, area, check] = [status, area, check].map(str::to_owned);
            fault.expected.push(Expected { status, area, check, subject, seen, mend });
        }
    }
    match faults.iter().find(|fault| fault.steps.is_empty() || fault.expected.is_empty()) {
        Some(fault) => Err(format!("{}: {:?} has no step, or no finding", file.display(), fault.name).into()),
        None => Ok(faults),
    }
}
