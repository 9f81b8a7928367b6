//! The new sendmail.mc, sendmail.cf and access map, made by m4(1) and makemap(8) and tried before anything changes.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::access_map::AccessMap;
use super::command::CommandError;
use super::mc::{self, Block, Marks};
use super::trial::{self, TrialError};
use super::{Cf, Fragments, Request};
use crate::config;
use crate::mta::change::{Change, ChangeError};
use crate::mta::lines::LineDiff;
use crate::mta::scratch::Failed;

/// No more differing lines than these are shown.
const SHOWN: usize = 12;

/// Why there is no new configuration. Nothing was changed.
#[derive(Debug)]
pub enum RevisionError {
    /// A program gave no answer.
    Command(CommandError),
    /// A file cannot be read or written.
    File(PathBuf, io::Error),
    /// A file cannot be changed.
    Change(ChangeError),
    /// There is no Sendmail.
    NoSendmail(PathBuf),
    /// There is no sendmail.mc.
    NoMc(PathBuf),
    /// In sendmail.mc, the lines around our blocks are not as they should be.
    Marks(PathBuf, Marks),
    /// m4 makes no sendmail.cf of the present sendmail.mc.
    NotMade(PathBuf, String),
    /// The present sendmail.cf is not what m4 makes of the present sendmail.mc: the lines that differ.
    Differs(PathBuf, Vec<String>),
    /// The lines around our lines in the access map are not as they should be.
    AccessMarks(PathBuf),
    /// The access map cannot be changed.
    AccessMap(PathBuf, String),
    /// Sendmail with the new configuration does not do what it should.
    Trial(TrialError),
}

impl fmt::Display for RevisionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(error) => error.fmt(f),
            Self::File(path, error) => write!(f, "{}: {}", path.display(), config::reason(error)),
            Self::Change(error) => error.fmt(f),
            Self::NoSendmail(program) => write!(
                f,
                "{} is not there, or is no Sendmail; if Sendmail is elsewhere, set sendmail.program",
                program.display()
            ),
            Self::NoMc(path) => write!(
                f,
                "{} is not there, and a sendmail.cf that is written by hand is not changed by setup; if sendmail.mc is \
                 elsewhere, set sendmail.directory",
                path.display()
            ),
            Self::Marks(path, marks) => write!(f, "{}: {marks}", path.display()),
            Self::NotMade(path, said) => write!(f, "m4 makes no sendmail.cf of {}: {said}", path.display()),
            Self::Differs(path, lines) => write!(
                f,
                "{} is not what m4 makes of sendmail.mc beside it: what was changed by hand would be lost. Put it into \
                 sendmail.mc, or make sendmail.cf anew, and try again. It differs (- sendmail.cf, + what m4 makes):\n  {}",
                path.display(),
                lines.join("\n  ")
            ),
            Self::AccessMarks(path) => write!(
                f,
                "{}: of the lines \"# --- conbool-milter: …\" that enclose what setup writes, one is missing or there \
                 twice; put that right by hand",
                path.display()
            ),
            Self::AccessMap(path, problem) => write!(f, "{}: {problem}", path.display()),
            Self::Trial(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RevisionError {}

macro_rules! from {
    ($($error:ty => $variant:ident),+) => {$(
        impl From<$error> for RevisionError {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        }
    )+};
}

from!(CommandError => Command, ChangeError => Change, TrialError => Trial);

impl From<Failed> for RevisionError {
    fn from((path, error): Failed) -> Self {
        Self::File(path, error)
    }
}

/// Adds to `change` what makes Sendmail work as the fragments say; it has passed [`trial::run`]. Gives back what the
/// administrator should know.
///
/// What refers to another file comes after it: the access map, sendmail.mc, sendmail.cf.
///
/// # Errors
/// [`RevisionError`]; `change` may then hold some of the files.
pub fn revise(change: &mut Change, request: &Request<'_>, fragments: &Fragments) -> Result<Vec<String>, RevisionError> {
    let sendmail = &request.config.sendmail;
    let mc_file = sendmail.directory.join("sendmail.mc");
    let cf_file = sendmail.directory.join("sendmail.cf");
    if request.existing.program.is_none() {
        return Err(RevisionError::NoSendmail(sendmail.program.clone()));
    }
    let Some(mc) = &request.existing.mc else { return Err(RevisionError::NoMc(mc_file)) };
    let marks = |marks| RevisionError::Marks(mc_file.clone(), marks);
    let not_made = |said: &String| RevisionError::NotMade(mc_file.clone(), said.clone());
    if let Some(Err(said)) = &request.existing.site {
        mc::without_blocks(mc).map_err(marks)?;
        return Err(not_made(said));
    }
    let present = mc::make(&sendmail.directory, mc)?;
    if let Some(cf) = &request.existing.cf {
        let lines = differing(cf, &present.cf);
        if !lines.is_empty() {
            return Err(RevisionError::Differs(cf_file, lines));
        }
    }
    let text = Block::Features.put(mc, &fragments.features).map_err(marks)?;
    let text = Block::Rules.put(&text, &fragments.rules).map_err(marks)?;
    let made = mc::make(&sendmail.directory, &text)?;
    trial::run(request, &made.cf)?;

    let said = made.said.lines().filter(|line| !present.said.contains(line) && !line.trim().is_empty());
    let mut notes: Vec<String> = said.map(|line| format!("m4 says of the new sendmail.mc: {}", line.trim())).collect();
    match AccessMap::of(&Cf::parse(&made.cf)) {
        Some(map) => map.revise(change, &sendmail.program, &made.cf, &fragments.access)?,
        None if fragments.access.is_empty() => {}
        None => notes.push(format!(
            "The access map is no file that setup can change. It needs these entries, or mail that the relay hands back is \
             refused: {}",
            fragments.access.join(", ").replace('\t', " ")
        )),
    }
    change.write(&mc_file, text)?;
    // A sendmail.cf that would only differ in its comments stays as it is.
    if request.existing.cf.as_ref().is_none_or(|cf| !differing(cf, &made.cf).is_empty()) {
        change.write(&cf_file, made.cf)?;
    }
    Ok(notes)
}

/// The lines that mean something in one sendmail.cf and are not in the other.
fn differing(present: &str, made: &str) -> Vec<String> {
    let (present, made) = (Cf::parse(present), Cf::parse(made));
    let diff = LineDiff::new(meaning(&present), meaning(&made));
    let mut lines: Vec<String> = diff.changes().map(|(sign, line)| format!("{sign}{line}")).collect();
    if lines.len() > SHOWN {
        let more = lines.len() - SHOWN;
        lines.truncate(SHOWN);
        lines.push(format!("… and {more} more"));
    }
    lines
}

/// The lines, without that which tells the version of Sendmail's m4 files.
fn meaning(cf: &Cf) -> Vec<&str> {
    cf.lines().map(|line| line.text.as_str()).filter(|text| !text.starts_with("DZ")).collect()
}

pub(super) fn read(path: &Path) -> Result<String, RevisionError> {
    let bytes = fs::read(path).map_err(|error| RevisionError::File(path.to_owned(), error))?;
    String::from_utf8(bytes).map_err(|_| {
        let error = io::Error::other("it is not in UTF-8; convert it first (iconv -t UTF-8)");
        RevisionError::File(path.to_owned(), error)
    })
}
