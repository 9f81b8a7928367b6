//! `conbool-milter scope`: who is in which scope, and why; and accepting what was held back.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use crate::address::{Address, Share};
use crate::config::{Config, DEFAULT_SCOPE};
use crate::sources::Loaded;
use crate::telemetry::status::{ScopeStatus, SourceStatus};

/// Tell who is in which scope, and accept what was held back
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Tell whether addresses are in the scopes, and by which source
    Test(Test),
    /// Show every scope with its sources
    List {
        /// One JSON array
        #[arg(long)]
        json: bool,
    },
    /// Put answers of the directory in force that were held back
    Accept {
        /// Name of the scope [default: all]
        scope: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Test {
    /// Addresses
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// The scope that decides the exit code
    #[arg(long, value_name = "NAME", default_value = DEFAULT_SCOPE)]
    scope: String,
    /// Ask the directory now, instead of using the last answers that are on disk
    #[arg(long)]
    query: bool,
    /// One JSON object an address
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand. `test` exits with 0 if all addresses are in the scope, 1 if not, 2 if that cannot be said; the
/// others with 0 or 1.
pub fn run(config: &Path, arguments: &Arguments) -> ExitCode {
    let (result, failure) = match &arguments.action {
        Action::Test(test) => (run_test(config, test), ExitCode::from(2)),
        Action::List { json } => (list(config, *json), ExitCode::FAILURE),
        Action::Accept { scope } => (accept(config, scope.as_deref()), ExitCode::FAILURE),
    };
    match result {
        Ok((text, code)) => {
            // Who does not read the output still gets the exit code.
            let _ = std::io::stdout().write_all(text.as_bytes());
            code
        }
        Err(message) => {
            super::complain(&message);
            failure
        }
    }
}

type Output = Result<(String, ExitCode), String>;

/// The addresses of a scope as they are known on this host, or as the directory gives them now.
fn load(config: &Path, query: bool) -> Result<Loaded, String> {
    let (config, _, loaded) = super::load(config)?;
    let Some(directory) = super::directory(&config).filter(|_| query) else { return Ok(loaded) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(loaded.queried(&directory)).map_err(|mistakes| super::lines(&mistakes))
}

fn list(config: &Path, json: bool) -> Output {
    let status = load(config, false)?.status();
    let text = if json {
        format!("{}\n", serde_json::to_string(&status).map_err(|error| error.to_string())?)
    } else {
        status.iter().map(described).collect()
    };
    Ok((text, ExitCode::SUCCESS))
}

/// A scope and its sources, one a line.
fn described(scope: &ScopeStatus) -> String {
    let mut text = format!("{}: mode {}", scope.name, scope.mode);
    if scope.share < 1.0 {
        let _ = write!(text, ", share {}", scope.share);
    }
    let _ = writeln!(text, ", {}", entries(scope.members));
    for source in &scope.sources {
        let _ = write!(text, "  {}", source.kind);
        if !source.name.is_empty() {
            let _ = write!(text, " {}", source.name);
        }
        let _ = write!(text, ": {}", entries(source.members));
        if source.kind == "group" {
            let _ = write!(text, ", {} old", ago(source.age_seconds));
        }
        if let Some(held) = source.held_back {
            let _ = write!(text, "; held back: an answer with {}", entries(held));
        }
        if let Some(problem) = &source.problem {
            let _ = write!(text, "; {problem}");
        }
        text.push('\n');
    }
    text
}

fn entries(count: u64) -> String {
    if count == 1 { "1 entry".into() } else { format!("{count} entries") }
}

/// A time in seconds in the unit that suits it.
fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn accept(config: &Path, scope: Option<&str>) -> Output {
    let (config, _, loaded) = super::load(config)?;
    if let Some(scope) = scope {
        known(&config, scope)?;
    }
    let accepted = loaded.accept_held(scope)?;
    if accepted.is_empty() {
        return Err("nothing is held back".into());
    }
    let line = |(group, members): &(String, usize)| {
        format!(
            "group {group:?}: {} accepted; a daemon that runs uses them in a few seconds\n",
            entries(*members as u64)
        )
    };
    Ok((accepted.iter().map(line).collect(), ExitCode::SUCCESS))
}

fn known(config: &Config, scope: &str) -> Result<(), String> {
    let names: Vec<&str> = config.scope.iter().map(|(name, _)| name).collect();
    if names.contains(&scope) {
        return Ok(());
    }
    Err(format!("there is no scope {scope:?}; the scopes are {}", names.join(", ")))
}

/// An address in all scopes.
#[derive(Debug, Serialize)]
struct Answer {
    address: String,
    /// From 0.0 to below 1.0; in a share are those below it.
    position: f64,
    scopes: Vec<InScope>,
}

/// An address in one scope.
#[derive(Debug, Serialize)]
struct InScope {
    name: String,
    /// `None` if that is not known, because there is no snapshot of a group.
    #[serde(rename = "in")]
    is_in: Option<bool>,
    share: f64,
    sources: Vec<Source>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Source {
    source: String,
    entry: String,
    age_seconds: u64,
}

fn run_test(config: &Path, test: &Test) -> Output {
    let loaded = load(config, test.query)?;
    let status = loaded.status();
    known(&Config::load(config).map_err(|errors| errors.to_string())?, &test.scope)?;
    let (mut text, mut all_in) = (String::new(), Some(true));
    for written in &test.addresses {
        let address = Address::parse(written).ok_or_else(|| format!("{written:?} is no address"))?;
        let answer = Answer {
            address: address.full(),
            position: Share::position(&address),
            scopes: status.iter().map(|scope| in_scope(&loaded, scope, &address)).collect(),
        };
        let decides = answer.scopes.iter().find(|scope| scope.name == test.scope).and_then(|scope| scope.is_in);
        all_in = all_in.zip(decides).map(|(all, this)| all && this);
        if test.json {
            text.push_str(&serde_json::to_string(&answer).map_err(|error| error.to_string())?);
            text.push('\n');
        } else {
            text.push_str(&told(&answer));
        }
    }
    let code = match all_in {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::from(1),
        None => ExitCode::from(2),
    };
    Ok((text, code))
}

fn in_scope(loaded: &Loaded, scope: &ScopeStatus, address: &Address) -> InScope {
    let origins = loaded.origins(&scope.name, address);
    let share = Share::new(scope.share).unwrap_or_default();
    let unknown = scope.sources.iter().any(|source| !source.is_known);
    let problem = |source: &SourceStatus| {
        let name = format!("{} {}", source.kind, source.name);
        let held = source.held_back.map(|held| format!("{name}: an answer with {} is held back", entries(held)));
        let problem = source.problem.as_ref().map(|problem| format!("{name}: {problem}"));
        held.into_iter().chain(problem)
    };
    InScope {
        name: scope.name.clone(),
        is_in: match (origins.is_empty(), unknown) {
            (true, true) if share.contains(address) => None,
            (listed_nowhere, _) => Some(!listed_nowhere && share.contains(address)),
        },
        share: scope.share,
        problems: scope.sources.iter().flat_map(problem).collect(),
        sources: origins
            .into_iter()
            .map(|origin| Source { source: origin.source, entry: origin.entry, age_seconds: origin.age.as_secs() })
            .collect(),
    }
}

/// An answer in lines: the address, then each scope with the reasons.
fn told(answer: &Answer) -> String {
    let mut text = format!("{}\n", answer.address);
    for scope in &answer.scopes {
        let word = match scope.is_in {
            Some(true) => "in",
            Some(false) => "out",
            None => "not known",
        };
        let _ = write!(text, "  {}: {word}", scope.name);
        if scope.is_in == Some(false) && !scope.sources.is_empty() {
            let _ = write!(
                text,
                "; listed, but not in the share: its position is {:.4}, the share {}",
                answer.position, scope.share
            );
        }
        text.push('\n');
        for source in &scope.sources {
            let _ = writeln!(text, "    {}: {}, {} old", source.source, source.entry, ago(source.age_seconds));
        }
        for problem in &scope.problems {
            let _ = writeln!(text, "    {problem}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_units() {
        let told: Vec<String> = [0, 119, 120, 7199, 7200, 172_800].map(ago).into();
        assert_eq!(told, ["0 s", "119 s", "2 min", "119 min", "2 h", "2 days"]);
    }
}
