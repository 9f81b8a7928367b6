//! `conbool-milter setup postfix`: prints or writes what Postfix needs, to be put in force by hand.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::mta::postfix::{self, Existing, Fragments, Request, readable};
use crate::provider::Provider;

/// Print the main.cf and master.cf settings and the look-up tables for Postfix, merged with what it has now
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Write the fragments and tables into this directory instead of printing them
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Configuration directory of the Postfix instance, if not that of postfix.config_directory
    #[arg(long, value_name = "DIR")]
    postfix_config: Option<PathBuf>,
    /// Have exempt mail routed behind a content filter (amavis, say) instead of past it
    #[arg(long)]
    behind_content_filter: bool,
    #[command(flatten)]
    listeners: super::ListenerFlags,
}

/// Prints the configuration, or writes it and prints what to do with it; notes for the administrator go to standard
/// error.
///
/// # Errors
/// A sentence for the administrator if our configuration or the mail server's present settings cannot be read, no
/// configuration can be generated, or it cannot be written.
pub fn run(config: &Path, args: &Arguments) -> Result<(), String> {
    let config = super::load(config)?;
    super::not_of_an_edge(&config)?;
    let provider = Provider::load(&config.provider).map_err(|error| error.message)?;
    let directory = args.postfix_config.as_ref().unwrap_or(&config.postfix.config_directory);
    let directory = std::path::absolute(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let existing = Existing::read(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let generate = if args.behind_content_filter { postfix::generate_behind_filter } else { postfix::generate };
    let fragments = generate(&Request {
        config: &config,
        provider: &provider,
        config_directory: &directory,
        listeners: args.listeners.over(&existing),
        existing,
    })
    .map_err(|error| error.to_string())?;
    for note in &fragments.notes {
        eprintln!("note: {note}");
    }
    let text = match &args.output {
        Some(output) => {
            let output = std::path::absolute(output).map_err(|error| format!("{}: {error}", output.display()))?;
            write(&output, &fragments).map_err(|error| format!("{}: {error}", output.display()))?;
            next_steps(&output, &directory, &fragments)
        }
        None => listing(&fragments, &directory),
    };
    io::stdout().write_all(text.as_bytes()).map_err(|error| format!("standard output: {error}"))?;
    Ok(())
}

/// All fragments and tables, each under a heading with the file it belongs into.
fn listing(fragments: &Fragments, directory: &Path) -> String {
    let mut text =
        fragments.written_by_daemon.as_deref().map(|file| format!("# {}\n", start_first(file))).unwrap_or_default();
    for command in clearing(fragments, &quoted(directory)) {
        text.push_str(&format!("# First: {command}\n"));
    }
    for (name, content) in files(fragments) {
        let verb = if name.ends_with(".cf") { "append to" } else { "the file" };
        text.push_str(&format!("# === {name}: {verb} {}\n{content}\n", directory.join(name).display()));
    }
    text
}

fn files(fragments: &Fragments) -> impl Iterator<Item = (&str, &str)> {
    [("main.cf", fragments.main_cf.as_str()), ("master.cf", fragments.master_cf.as_str())]
        .into_iter()
        .chain(fragments.tables.iter().map(|(name, content)| (name.as_str(), content.as_str())))
}

fn write(output: &Path, fragments: &Fragments) -> io::Result<()> {
    fs::create_dir_all(output)?;
    files(fragments).try_for_each(|(name, content)| readable::replace(&output.join(name), content))
}

fn next_steps(output: &Path, directory: &Path, fragments: &Fragments) -> String {
    let (from, to) = (quoted(output), quoted(directory));
    let mut commands = vec![
        format!("cp -p {to}/main.cf {to}/main.cf.before-conbool"),
        format!("cp -p {to}/master.cf {to}/master.cf.before-conbool"),
        format!("install -m 644 {from}/conbool_* {to}/"),
    ];
    commands.extend(clearing(fragments, &to));
    commands.push(format!("cat {from}/main.cf >> {to}/main.cf"));
    commands.push(format!("cat {from}/master.cf >> {to}/master.cf"));
    commands.push(format!("postfix -c {to} check && postfix -c {to} reload"));
    let table = fragments.written_by_daemon.as_deref();
    let first = table.map(|table| format!("{}\n\n", start_first(table))).unwrap_or_default();
    format!(
        "Written to {from}: main.cf, master.cf and the tables conbool_*. Nothing is in force yet.\n\n\
         {first}To put it in force:\n\n  {}\n\n\
         Then start conbool-milter, or reload it (SIGHUP): it looks which sender table Postfix uses.\n",
        commands.join("\n  ")
    )
}

/// What is to be done before Postfix is told of the sender table.
fn start_first(table: &Path) -> String {
    format!(
        "First start conbool-milter with this configuration, or reload it: it writes {}, without which Postfix defers mail.",
        table.display()
    )
}

/// Commands that comment out what the fragments replace: present lists, which the new ones contain, and an earlier run.
fn clearing(fragments: &Fragments, directory: &str) -> Vec<String> {
    [("-#", &fragments.replaced_settings), ("-M#", &fragments.replaced_services)]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(option, names)| format!("postconf -c {directory} '{option}' {}", names.join(" ")))
        .collect()
}

/// A path as a word of a shell command.
fn quoted(path: &Path) -> String {
    postfix::quoted(&path.display().to_string())
}
