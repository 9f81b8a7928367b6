//! Runs `conbool-milter explain --json` and reads what it says.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Nothing that is judged may take longer, not even in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The folder of the message files, their table and the configurations they are judged with.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages")
}

/// Path of a configuration: `""` is `site.toml`, `"list"` is `site-list.toml`, and so on.
pub fn site(variant: &str) -> PathBuf {
    folder().join(if variant.is_empty() { "site.toml".to_owned() } else { format!("site-{variant}.toml") })
}

/// A file name of its own for this test process, below cargo's folder for such things.
pub fn scratch(suffix: &str) -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("explain-{}-{number}{suffix}", std::process::id()))
}

/// Explains the message files with the configuration; one JSON value for each, in order.
///
/// # Errors
/// A text that says what went wrong: no end in time, a failure, an answer that is not one JSON object a file.
pub fn explain(config: &Path, options: &[&str], files: &[&Path]) -> Result<Vec<Value>, String> {
    let (out, err) = (scratch(".out"), scratch(".err"));
    let answer = run(config, options, files, &out, &err);
    let _ = fs::remove_file(out);
    let _ = fs::remove_file(err);
    answer
}

fn run(config: &Path, options: &[&str], files: &[&Path], out: &Path, err: &Path) -> Result<Vec<Value>, String> {
    let io = |error: std::io::Error| error.to_string();
    // Files, not pipes: a full pipe would stop the child, and nobody reads while we wait.
    let mut child = Command::new(env!("CARGO_BIN_EXE_conbool-milter"))
        .args(["explain", "--json", "--config"])
        .arg(config)
        .args(options)
        .args(files)
        .stdin(Stdio::null())
        .stdout(File::create(out).map_err(io)?)
        .stderr(File::create(err).map_err(io)?)
        .spawn()
        .map_err(io)?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(io)? {
            break status;
        }
        if start.elapsed() > PATIENCE {
            child.kill().map_err(io)?;
            child.wait().map_err(io)?;
            return Err(format!("no answer after {} seconds", PATIENCE.as_secs()));
        }
        thread::sleep(Duration::from_millis(1));
    };
    let answer = fs::read_to_string(out).map_err(io)?;
    if !status.success() {
        let complaint = fs::read(err).map_err(io)?;
        return Err(format!("{status}: {}", String::from_utf8_lossy(&complaint).trim_end()));
    }
    let values = serde_json::Deserializer::from_str(&answer)
        .into_iter::<Value>()
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("no JSON: {error}"))?;
    if values.len() != files.len() {
        return Err(format!("{} answers for {} files", values.len(), files.len()));
    }
    Ok(values)
}

/// The reasons of an answer, joined with spaces.
pub fn reasons(answer: &Value) -> String {
    let names = answer["reasons"].as_array().map_or(&[][..], Vec::as_slice);
    names.iter().map(|name| name.as_str().unwrap_or("?")).collect::<Vec<_>>().join(" ")
}
