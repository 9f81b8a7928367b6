//! The difference between two texts, line by line.

use std::fmt::Write;
use std::ops::Range;

use similar::algorithms::{Capture, Compact, Replace, myers};
use similar::{DiffOp, DiffTag, group_diff_ops};

/// Unchanged lines shown around what changes, as diff(1) shows them.
const CONTEXT: usize = 3;

/// How one sequence of lines becomes another.
pub struct LineDiff<'a> {
    before: Vec<&'a str>,
    after: Vec<&'a str>,
    steps: Vec<DiffOp>,
}

impl<'a> LineDiff<'a> {
    /// Between two texts; lines keep their ends.
    pub fn of_texts(before: &'a str, after: &'a str) -> Self {
        Self::new(before.split_inclusive('\n').collect(), after.split_inclusive('\n').collect())
    }

    /// Between two sequences of lines.
    pub fn new(before: Vec<&'a str>, after: Vec<&'a str>) -> Self {
        // By Myers' algorithm alone: similar's own types bring six, which make the program larger by half a megabyte.
        let mut steps = Compact::new(Replace::new(Capture::new()), &before, &after);
        let Ok(()) = myers::diff(&mut steps, &before, 0..before.len(), &after, 0..after.len());
        let steps = steps.into_inner().into_inner().into_ops();
        Self { before, after, steps }
    }

    /// The lines of one step, each with its sign: a space, `-` or `+`.
    fn lines(&self, step: &DiffOp) -> impl Iterator<Item = (char, &'a str)> {
        let (gone, come) = match step.tag() {
            DiffTag::Equal => (' ', 0..0),
            _ => ('-', step.new_range()),
        };
        let before = self.before[step.old_range()].iter().map(move |line| (gone, *line));
        before.chain(self.after[come].iter().map(|line| ('+', *line)))
    }

    /// The lines that go (`-`) and come (`+`), in order.
    pub fn changes(&self) -> impl Iterator<Item = (char, &'a str)> {
        self.steps.iter().filter(|step| step.tag() != DiffTag::Equal).flat_map(|step| self.lines(step))
    }

    /// What changes, in diff's unified format without its header; empty if nothing does.
    pub fn unified(&self) -> String {
        let mut unified = String::new();
        for hunk in group_diff_ops(self.steps.clone(), CONTEXT) {
            let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else { continue };
            let before = place(first.old_range().start..last.old_range().end);
            let after = place(first.new_range().start..last.new_range().end);
            let _ = writeln!(unified, "@@ -{before} +{after} @@");
            for (sign, line) in hunk.iter().flat_map(|step| self.lines(step)) {
                unified.push(sign);
                unified.push_str(line);
                if !line.ends_with('\n') {
                    unified.push_str("\n\\ No newline at end of file\n");
                }
            }
        }
        unified
    }
}

/// Lines as a hunk's head names them: the first, counted from 1, and their number unless it is 1. Of no lines, the one before.
fn place(lines: Range<usize>) -> String {
    match lines.len() {
        0 => format!("{},0", lines.start),
        1 => format!("{}", lines.start + 1),
        number => format!("{},{number}", lines.start + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `patch` is the judge of the format.
    #[test]
    fn patch_makes_the_new_text_of_the_old_one() {
        let long: String = (0..40).map(|number| format!("{number}\n")).collect();
        let changed = long.replace("\n7\n", "\nseven\n").replace("\n30\n31\n", "\n") + "last";
        for (before, after) in
            [("", "a\nb\n"), ("a\nb\n", ""), ("a\n", "a"), ("a", "a\n"), ("a\nb\nc\n", "a\nc\n"), (&long, &changed)]
        {
            assert_eq!(apply(before, &LineDiff::of_texts(before, after).unified()), after);
        }
        assert_eq!(LineDiff::of_texts(&long, &long).unified(), "");
    }

    fn apply(before: &str, unified: &str) -> String {
        let name = format!("conbool-milter-{}-lines", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let (file, diff) = (folder.join("file"), folder.join("diff"));
        std::fs::write(&file, before).unwrap();
        std::fs::write(&diff, format!("--- file\n+++ file\n{unified}")).unwrap();
        let output = std::process::Command::new("patch").args(["--silent", "--fuzz=0"]).arg(&file).arg(&diff).output();
        let output = output.expect("patch is needed: apt-get install patch");
        assert!(output.status.success(), "{unified}{}", String::from_utf8_lossy(&output.stdout));
        // It removes a file that becomes empty.
        let made = std::fs::read_to_string(&file).unwrap_or_default();
        std::fs::remove_dir_all(&folder).unwrap();
        made
    }
}
