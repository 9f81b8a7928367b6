//! `conbool-milter completion`: what a shell needs to complete the command line.

use std::io::Write;

use clap::{Arg, Command, ValueEnum, ValueHint};
use clap_complete::aot;

/// Print the script by which a shell completes this command
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Shell that reads it
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script for `command`, whose hidden subcommands and flags it does not offer.
///
/// # Errors
/// If standard output cannot be written to.
pub fn run(command: &Command, arguments: &Arguments) -> Result<(), String> {
    let script = script(command, arguments.shell);
    std::io::stdout().write_all(script.as_bytes()).map_err(|error| format!("standard output: {error}"))
}

fn script(command: &Command, shell: Shell) -> String {
    let (mut visible, mut script) = (visible(command), Vec::new());
    let name = command.get_name();
    match shell {
        Shell::Bash => aot::generate(aot::Bash, &mut visible, name, &mut script),
        Shell::Zsh => aot::generate(aot::Zsh, &mut visible, name, &mut script),
        Shell::Fish => aot::generate(aot::Fish, &mut visible, name, &mut script),
    }
    // For bash, a program with a dash in its name is spelt in two ways, and nothing is completed after a subcommand
    // (clap issue 6421).
    String::from_utf8_lossy(&script).replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"))
}

/// A copy without what is hidden, because generators do not heed that. It can complete command lines, but not read them.
fn visible(command: &Command) -> Command {
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set()).map(visible);
    let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set()).cloned().map(hinted);
    let mut copy = Command::new(command.get_name().to_owned()).args(arguments).subcommands(shown);
    if let Some(about) = command.get_about() {
        copy = copy.about(about.clone());
    }
    match command.get_version() {
        Some(version) => copy.version(version.to_owned()),
        None => copy,
    }
}

/// With what its value is: a file, a directory, or a word that is no file's name.
fn hinted(argument: Arg) -> Arg {
    if !argument.get_action().takes_values() || !argument.get_possible_values().is_empty() {
        return argument;
    }
    let hint = match argument.get_value_names().and_then(|names| names.first()).map(|name| name.as_str()) {
        Some("DIR") => ValueHint::DirPath,
        Some("FILE" | "all|FILE") => ValueHint::FilePath,
        _ => ValueHint::Other,
    };
    argument.value_hint(hint)
}
