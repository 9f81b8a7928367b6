//! `conbool-milter completion`: the shells themselves read the scripts, and complete command lines with them.

use std::path::PathBuf;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_conbool-milter");

/// The script for this shell, in a file that is named as shells look for it.
struct Script {
    folder: PathBuf,
    file: PathBuf,
}

impl Script {
    fn of(shell: &str, test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("conbool-milter-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join(if shell == "zsh" { "_conbool-milter" } else { "conbool-milter.fish" });
        // No configuration file is looked for.
        let output = Command::new(PROGRAM).args(["--config", "/nonexistent", "completion", shell]).output().unwrap();
        std::fs::write(&file, text(output)).unwrap();
        Self { folder, file }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn text(output: Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn shell(shell: &str, arguments: &[&str]) -> String {
    let output = Command::new(shell).args(arguments).output();
    text(output.unwrap_or_else(|error| panic!("{shell} is needed: {error}")))
}

/// What bash offers for the last of these words.
fn offered_by_bash(script: &Script, words: &[&str]) -> Vec<String> {
    // As bash does it (bash(1), "Programmable Completion"): compgen does not call functions of `complete`.
    let ask = r#"
        source "$1"; shift
        compopt() { :; }
        registered=$(complete -p conbool-milter)
        function=${registered#*-F }
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        "${function%% *}" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        [ ${#COMPREPLY[@]} = 0 ] || printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let file = script.file.to_str().unwrap();
    let arguments = [&["-euc", ask, "bash", file, "conbool-milter"], words].concat();
    shell("bash", &arguments).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_subcommands_flags_and_values() {
    let script = Script::of("bash", "bash");
    let offered = |words: &[&str]| offered_by_bash(&script, words);
    assert_eq!(offered(&["se"]), ["setup"]);
    assert_eq!(offered(&["setup", "ex"]), ["exchange-online"]);
    assert_eq!(offered(&["scope", "te"]), ["test"]);
    assert_eq!(offered(&["setup", "--roll"]), ["--rollback"]);
    assert_eq!(offered(&["setup", "exchange-online", "--guide"]), ["--guide-only"]);
    assert_eq!(offered(&["setup", "--mail-server", "s"]), ["sendmail"]);
    assert_eq!(offered(&["doctor", "mail"]), ["mail-server"]);
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    assert_eq!(offered(&["--config", manifest.strip_suffix("ml").unwrap()]), [manifest]);
    assert!(offered(&[""]).contains(&"explain".to_owned()));
}

#[test]
fn what_is_hidden_is_not_offered() {
    let hidden: Vec<String> = conbool_milter::cli::command()
        .get_subcommands()
        .filter(|command| command.is_hide_set())
        .map(|command| command.get_name().to_owned())
        .collect();
    assert_eq!(hidden, ["handshake"]);
    for shell in ["bash", "zsh", "fish"] {
        let script = Script::of(shell, &format!("hidden-{shell}"));
        assert!(!script.text().contains("handshake"), "{shell} offers what is hidden");
    }
}

#[test]
fn zsh_loads_its_script() {
    let script = Script::of("zsh", "zsh");
    shell("zsh", &["-n", script.file.to_str().unwrap()]);
    // As it is found and loaded by the completion system (zshcompsys(1)).
    let load = r#"fpath=("$1" $fpath); autoload -Uz compinit; compinit -D -u; print $_comps[conbool-milter]
        autoload +X _conbool-milter; functions _conbool-milter"#;
    let told = shell("zsh", &["-fc", load, "zsh", script.folder.to_str().unwrap()]);
    assert!(told.starts_with("_conbool-milter\n"), "{told}");
    for word in ["'explain:", "'exchange-online:", "--customer-id="] {
        assert!(told.contains(word), "{word} is not in:\n{told}");
    }
}

#[test]
fn fish_completes_subcommands_and_flags() {
    let script = Script::of("fish", "fish");
    let file = script.file.to_str().unwrap();
    shell("fish", &["--no-execute", file]);
    let offered = |line: &str| {
        let told = shell("fish", &["--no-config", "-c", "source $argv[1]; complete -C $argv[2]", file, line]);
        told.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(offered("conbool-milter se"), ["setup"]);
    assert_eq!(offered("conbool-milter setup ex"), ["exchange-online"]);
    assert_eq!(offered("conbool-milter setup --roll"), ["--rollback"]);
    assert_eq!(offered("conbool-milter setup --mail-server s"), ["sendmail"]);
}

#[test]
fn other_shells_are_named_as_unknown() {
    let output = Command::new(PROGRAM).args(["completion", "tcsh"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("[possible values: bash, zsh, fish]"));
}
