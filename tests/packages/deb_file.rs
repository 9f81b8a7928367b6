//! What is in the Debian package, as it lies.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;

use super::built;
use super::lab::namespace::{self, need};
use super::lab::process::run;
use super::lab::{self, Error};

/// Permissions, owner and path of everything in it.
const FILES: &str = include_str!("deb_file/files.txt");

/// What dpkg asks about, instead of overwriting what an administrator has changed.
const CONFIGURATION: &str = "/etc/apparmor.d/conbool-milter\n/etc/conbool-milter/conbool-milter.toml\n";

/// Fields of its control file that a mistake would change without breaking anything here.
const FIELDS: [(&str, &str); 4] = [
    ("Package", "conbool-milter"),
    // The C library's version is the oldest that is supported: RHEL 9's; Ubuntu 22.04 and Debian 12 have a newer one.
    ("Depends", "systemd | systemd-standalone-sysusers | systemd-sysusers, libc6 (>= 2.34), libgcc-s1 (>= 4.2)"),
    // Where there is another mail server, it stays.
    ("Recommends", "postfix | sendmail-bin | mail-transport-agent"),
    ("Section", "mail"),
];

/// The maintainer scripts.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

pub fn trials() -> Vec<Trial> {
    vec![
        lab::trial("deb_file::lintian", lintian_finds_nothing),
        lab::trial("deb_file::files", files),
        lab::trial("deb_file::configuration", configuration),
        lab::trial("deb_file::fields", fields),
        lab::trial("deb_file::version", version),
        lab::trial("deb_file::size", size),
        lab::trial("deb_file::program", program_names_no_place),
        lab::trial("deb_file::notices", notices),
        lab::trial("deb_file::scripts", scripts),
        lab::trial("deb_file::debugging_symbols", debugging_symbols),
        lab::trial("deb_file::same_twice", same_twice),
    ]
}

fn package() -> Result<PathBuf, Error> {
    built::package("_amd64.deb")
}

/// What dpkg-deb(1) prints when asked so about a package.
fn dpkg_deb(question: &str, package: &Path, arguments: &[&str]) -> Result<String, Error> {
    let output = run(Command::new("dpkg-deb").arg(question).arg(package).args(arguments))?;
    Ok(String::from_utf8(output.stdout)?)
}

/// The package with its control files in `DEBIAN`, unpacked below this test's directory.
fn unpacked(test: &str) -> Result<PathBuf, Error> {
    let directory = Path::new(namespace::ROOT).join(test);
    run(Command::new("dpkg-deb").arg("--raw-extract").arg(package()?).arg(&directory))?;
    Ok(directory)
}

fn expect(what: &str, found: &str, expected: &str) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: {found:?}, not {expected:?}").into())
}

fn lintian_finds_nothing() -> Result<(), Error> {
    need(&[("/usr/bin/lintian", "lintian")])?;
    // It ends with a failure then, and run() tells what it has said.
    run(Command::new("lintian").args(["--fail-on", "error,warning", "--allow-root"]).arg(package()?))?;
    Ok(())
}

fn files() -> Result<(), Error> {
    let contents = dpkg_deb("--contents", &package()?, &[])?;
    let line = |line: &str| -> Option<String> {
        let words: Vec<_> = line.split_whitespace().collect();
        let [permissions, owner, _, _, _, path] = words[..] else { return None };
        Some(format!("{permissions} {owner} {}", path.strip_prefix('.')?))
    };
    let listed: Option<Vec<_>> = contents.lines().map(line).collect();
    built::compare(&listed.ok_or(contents)?, FILES)
}

fn configuration() -> Result<(), Error> {
    expect("conffiles", &dpkg_deb("--info", &package()?, &["conffiles"])?, CONFIGURATION)
}

fn fields() -> Result<(), Error> {
    for (field, expected) in FIELDS {
        expect(field, dpkg_deb("--field", &package()?, &[field])?.trim_end(), expected)?;
    }
    Ok(())
}

/// The changelog says the version anew: it has to be that of the program.
fn version() -> Result<(), Error> {
    let expected = format!("{}-1", env!("CARGO_PKG_VERSION").replace('-', "~"));
    expect("Version", dpkg_deb("--field", &package()?, &["Version"])?.trim_end(), &expected)
}

fn size() -> Result<(), Error> {
    let kibibytes: u64 = dpkg_deb("--field", &package()?, &["Installed-Size"])?.trim_end().parse()?;
    built::small_enough(&package()?, kibibytes * 1024)
}

/// Where it was built, and who built it, is not in the program.
fn program_names_no_place() -> Result<(), Error> {
    let program = fs::read(unpacked("program")?.join("usr/sbin/conbool-milter"))?;
    for place in [env!("CARGO_MANIFEST_DIR"), "/.cargo/", "/home/", "/root/"] {
        if let Some(at) = memchr::memmem::find(&program, place.as_bytes()) {
            let seen = String::from_utf8_lossy(&program[at..program.len().min(at + 120)]);
            return Err(format!("the program names {place}: {seen}").into());
        }
    }
    Ok(())
}

/// What is linked in is named, and its licences with it.
fn notices() -> Result<(), Error> {
    let documents = unpacked("notices")?.join("usr/share/doc/conbool-milter");
    let copyright = fs::read_to_string(documents.join("copyright"))?;
    let unpacked = run(Command::new("zcat").arg(documents.join("third-party-licences.gz")))?;
    let licences = String::from_utf8(unpacked.stdout)?;
    for (text, words) in [
        (&copyright, "License: AGPL-3.0-only\n GNU AFFERO GENERAL PUBLIC LICENSE"),
        (&licences, "  tokio 1."),
        (&licences, "  indymilter 0.3"),
        (&licences, "Copyright (c) Tokio Contributors"),
        (&licences, "The Rust Standard Library is dual-licensed under Apache 2.0 and MIT terms."),
    ] {
        if !text.contains(words) {
            return Err(format!("not said: {words:?}").into());
        }
    }
    Ok(())
}

fn scripts() -> Result<(), Error> {
    need(&[("/usr/bin/shellcheck", "shellcheck")])?;
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    let ours = SCRIPTS.map(|script| tree.join("debian").join(format!("conbool-milter.{script}")));
    run(Command::new("shellcheck").args(ours))?;
    run(Command::new("shellcheck").args(["build-deb", "third-party-licences"].map(|script| tree.join(script))))?;
    // What debhelper has put in is not in our style.
    let control = unpacked("scripts")?.join("DEBIAN");
    for script in SCRIPTS.map(|script| control.join(script)) {
        run(Command::new("dash").arg("-n").arg(&script))?;
        run(Command::new("shellcheck").arg("--severity=error").arg(&script))?;
    }
    Ok(())
}

/// They belong to this very program.
fn debugging_symbols() -> Result<(), Error> {
    let version = dpkg_deb("--field", &package()?, &["Version"])?;
    let symbols = format!("debug/conbool-milter-dbgsym_{}_amd64.deb", version.trim_end());
    let of = dpkg_deb("--field", &built::directory().join(symbols), &["Build-Ids"])?;
    let notes = run(Command::new("readelf").arg("--notes").arg(unpacked("symbols")?.join("usr/sbin/conbool-milter")))?;
    if String::from_utf8_lossy(&notes.stdout).contains(&format!("Build ID: {}", of.trim_end())) {
        return Ok(());
    }
    Err(format!("the debugging symbols are of another program: {of}").into())
}

/// The same program and sources make the same package; another revision of it is newer.
fn same_twice() -> Result<(), Error> {
    let directory = Path::new(namespace::ROOT).join("same-twice");
    fs::create_dir_all(&directory)?;
    let program = directory.join("program");
    fs::write(&program, "#!/bin/sh\n")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let build = |name: &str, revision: &str| -> Result<PathBuf, Error> {
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/build-deb"));
        let packages = directory.join(name);
        run(command.arg(&packages).env("PROGRAM", &program).env("REVISION", revision))?;
        Ok(packages.join(format!("conbool-milter_{}-{revision}_amd64.deb", env!("CARGO_PKG_VERSION"))))
    };
    run(Command::new("cmp").args([build("once", "1")?, build("again", "1")?]))?;
    let newer = dpkg_deb("--field", &build("newer", "2")?, &["Version"])?;
    run(Command::new("dpkg").args(["--compare-versions", newer.trim_end(), "gt", env!("CARGO_PKG_VERSION")]))?;
    Ok(())
}
