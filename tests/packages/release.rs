//! What `make tarball` makes, with a small static program in place of conbool-milter: the real one takes minutes to build.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;
use serde_json::Value;

use super::lab::process::run;
use super::lab::{self, Error};

const SOURCES: &str = env!("CARGO_MANIFEST_DIR");
const VERSION: &str = env!("CARGO_PKG_VERSION");

pub fn trials() -> Vec<Trial> {
    vec![lab::trial("release::tarball", tarball), lab::trial("release::needs_a_static_program", needs_a_static_program)]
}

/// A program that does nothing, successfully.
fn program(folder: &Path, linked: &str) -> Result<PathBuf, Error> {
    let (source, program) = (folder.join("program.c"), folder.join("program"));
    fs::write(&source, "int main(void) { return 0; }\n")?;
    run(Command::new("cc").arg(linked).arg("-o").arg(&program).arg(&source))?;
    Ok(program)
}

fn make(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new(Path::new(SOURCES).join("packaging/build-tarball"));
    command.arg(directory).env("PROGRAM", program);
    command
}

fn tarball() -> Result<(), Error> {
    let folder = folder_of("tarball")?;
    let program = program(&folder, "-static")?;
    let (first, second) = (folder.join("first"), folder.join("second"));
    fs::create_dir_all(&first)?;
    fs::write(first.join("another.deb"), "a package that was there")?;
    run(&mut make(&program, &first))?;
    run(&mut make(&program, &second))?;

    let name = format!("conbool-milter-{VERSION}-x86_64-linux-musl");
    let file = format!("{name}.tar.xz");
    let sbom = format!("conbool-milter-{VERSION}.cdx.json");
    for made in [&file, &sbom] {
        assert_eq!(fs::read(first.join(made))?, fs::read(second.join(made))?, "{made} is not the same the second time");
    }
    assert!(!Path::new(SOURCES).join(&sbom).exists(), "{sbom} is left among the sources");
    run(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&first))?;
    let sums = fs::read_to_string(first.join("SHA256SUMS"))?;
    for summed in [&file, &sbom, "another.deb"] {
        assert!(sums.lines().any(|line| line.ends_with(&format!("  {summed}"))), "{sums}");
    }
    contents(&first.join(&file), &name)?;
    components(&first.join(&sbom))?;
    fs::remove_dir_all(folder)?;
    Ok(())
}

/// The same as `make install` installs, and what is read first.
fn contents(tarball: &Path, name: &str) -> Result<(), Error> {
    let listed = run(Command::new("tar").args(["--list", "--verbose", "--numeric-owner", "--file"]).arg(tarball))?;
    let listed = String::from_utf8(listed.stdout)?;
    for line in listed.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[1], "0/0", "{line}");
        assert!(!words[0].contains("rwxrwx") && words[5].starts_with(name), "{line}");
    }
    for wanted in [
        "INSTALL",
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "root/usr/sbin/conbool-milter",
        "root/etc/conbool-milter/conbool-milter.toml",
        "root/usr/share/man/man8/conbool-milter.8.gz",
        "root/usr/lib/systemd/system/conbool-milter.service",
        "root/usr/lib/sysusers.d/conbool-milter.conf",
        "root/usr/share/doc/conbool-milter/third-party-licences.gz",
    ] {
        assert!(
            listed.lines().any(|line| line.ends_with(&format!(" {name}/{wanted}"))),
            "{wanted} is not in\n{listed}"
        );
    }
    Ok(())
}

/// CycloneDX, and every crate that cargo links into the program is in it, and no other.
fn components(sbom: &Path) -> Result<(), Error> {
    let text = fs::read_to_string(sbom)?;
    assert!(!text.contains(SOURCES), "it names the folder of the sources");
    let sbom: Value = serde_json::from_str(&text)?;
    assert_eq!((&sbom["bomFormat"], &sbom["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    assert_eq!(sbom["metadata"]["component"]["name"], "conbool-milter");
    let components = sbom["components"].as_array().ok_or("no components")?;
    let listed: BTreeSet<String> = components
        .iter()
        .filter_map(|component| Some(format!("{} v{}", component["name"].as_str()?, component["version"].as_str()?)))
        .collect();
    let tree = run(Command::new("cargo")
        .args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--target", "x86_64-unknown-linux-musl"])
        .current_dir(SOURCES))?;
    let linked: BTreeSet<String> = String::from_utf8(tree.stdout)?
        .lines()
        .map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
        .filter(|name| !name.is_empty() && !name.starts_with("conbool-milter "))
        .collect();
    assert_eq!(linked.difference(&listed).collect::<Vec<_>>(), Vec::<&String>::new(), "linked, and not in the SBOM");
    assert_eq!(listed.difference(&linked).collect::<Vec<_>>(), Vec::<&String>::new(), "in the SBOM, and not linked");
    Ok(())
}

fn needs_a_static_program() -> Result<(), Error> {
    let folder = folder_of("dynamic")?;
    let program = program(&folder, "-pie")?;
    let output = make(&program, &folder.join("made")).output()?;
    let said = String::from_utf8(output.stderr)?;
    assert!(!output.status.success() && said.contains("needs libraries of the system"), "{said}");
    assert!(!folder.join("made").exists(), "something was made");
    fs::remove_dir_all(folder)?;
    Ok(())
}

/// A folder for one trial.
fn folder_of(name: &str) -> Result<PathBuf, Error> {
    let folder = std::env::temp_dir().join(format!("conbool-milter-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
