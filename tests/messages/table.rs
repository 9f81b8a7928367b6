//! Reads `expected.txt`; its head says what the lines mean.

/// One message with the runs it has.
#[derive(Debug)]
pub struct Entry {
    /// Name of the file.
    pub file: String,
    /// What is asked, and what must come out.
    pub runs: Vec<Run>,
}

/// One `explain` of a message, and what must come out.
#[derive(Debug, Default)]
pub struct Run {
    /// Which configuration; empty for `site.toml`.
    pub site: String,
    /// Options of `explain`.
    pub options: String,
    /// Values of [`FIELDS`], `*` for any.
    pub is: Vec<String>,
    /// The reasons, joined with spaces.
    pub why: String,
    /// The edits, as `delete NAME INDEX` and `add NAME VALUE`.
    pub edits: Vec<String>,
}

/// What an `is` line gives, in its order.
pub const FIELDS: [&str; 7] = ["kind", "direction", "peer", "scope", "route", "spam", "disposition"];

/// Reads the table.
///
/// # Errors
/// The number of the first line that makes no sense, and why.
pub fn read(text: &str) -> Result<Vec<Entry>, String> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut site = String::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = |why: &str| format!("expected.txt:{}: {why}: {line:?}", index + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if !line.starts_with(' ') {
            entries.push(Entry { file: line.to_owned(), runs: Vec::new() });
            continue;
        }
        let entry = entries.last_mut().ok_or_else(|| wrong("no message before it"))?;
        let (key, value) = line.trim().split_once(' ').ok_or_else(|| wrong("a key without a value"))?;
        let value = value.trim();
        match (key, entry.runs.last_mut()) {
            ("site", _) => site = value.to_owned(),
            ("run", _) => {
                let site = std::mem::take(&mut site);
                entry.runs.push(Run { site, options: value.to_owned(), ..Run::default() });
            }
            ("is", Some(run)) => {
                run.is = value.split_whitespace().map(str::to_owned).collect();
                if run.is.len() != FIELDS.len() {
                    return Err(wrong("wrong number of values"));
                }
            }
            ("why", Some(run)) => run.why = value.to_owned(),
            ("edit", Some(run)) => run.edits.push(value.to_owned()),
            _ => return Err(wrong("unknown key, or no run before it")),
        }
    }
    for entry in &entries {
        if entry.runs.is_empty() || entry.runs.iter().any(|run| run.is.is_empty() || run.why.is_empty()) {
            return Err(format!("expected.txt: {}: a run without `is` or `why`, or no run at all", entry.file));
        }
    }
    Ok(entries)
}
