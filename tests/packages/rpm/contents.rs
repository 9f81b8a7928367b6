//! What is in the packages, as they lie.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{query, requirements as required};
use crate::built;
use crate::lab::namespace::need;
use crate::lab::process::run;
use crate::lab::{Error, namespace};

/// Files of the package for RHEL: permissions, owner, path, and rpm's flags (c configuration, d document, g ghost, l
/// licence, n not replaced when edited).
const FILES: &str = include_str!("files.txt");

/// What the package for Fedora has more than that.
const FEDORA_FILES: &str = "\
drwxr-xr-x root:root /usr/lib/systemd/system/conbool-milter.service.d
-rw-r--r-- root:root /usr/lib/systemd/system/conbool-milter.service.d/notify-reload.conf
";

/// The newest interface of the C library that RHEL 9 has.
const GLIBC: (u32, u32) = (2, 34);

pub fn rhel() -> Result<PathBuf, Error> {
    built::package(".el9.x86_64.rpm")
}

fn packages() -> Result<[PathBuf; 2], Error> {
    Ok([rhel()?, built::package(".fc42.x86_64.rpm")?])
}

pub fn rpmlint_finds_nothing() -> Result<(), Error> {
    need(&[("/usr/bin/rpmlint", "rpmlint")])?;
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("rpmlint");
    command.current_dir(tree).args(["--config", "packaging/rpm/rpmlintrc.toml", "packaging/rpm/conbool-milter.spec"]);
    let output = run(command.args(packages()?))?;
    let words = String::from_utf8(output.stdout)?;
    let is_clean = words.contains("2 packages and 1 specfiles checked; 0 errors, 0 warnings");
    if is_clean { Ok(()) } else { Err(words.into()) }
}

pub fn files() -> Result<(), Error> {
    let listed = |package: &Path| -> Result<Vec<String>, Error> {
        let format = "[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILENAMES} %{FILEFLAGS:fflags}\n]";
        Ok(query(package, format)?.lines().map(|line| line.trim_end().to_owned()).collect())
    };
    let [rhel, fedora] = packages()?;
    built::compare(&listed(&rhel)?, FILES)?;
    built::compare(&listed(&fedora)?, &format!("{FILES}{FEDORA_FILES}"))
}

pub fn size() -> Result<(), Error> {
    for package in packages()? {
        let size: u64 = query(&package, "%{LONGSIZE}")?.parse()?;
        built::small_enough(&package, size)?;
    }
    Ok(())
}

pub fn scriptlets() -> Result<(), Error> {
    need(&[("/usr/bin/shellcheck", "shellcheck")])?;
    let directory = Path::new(namespace::ROOT).join("scriptlets");
    fs::create_dir_all(&directory)?;
    for package in packages()? {
        if query(&package, "[%{TRIGGERNAME} ]")? != "postfix sendmail " {
            return Err("not one trigger for Postfix and one for Sendmail".into());
        }
        for tag in ["PREIN", "POSTIN", "PREUN", "POSTUN", "[%{TRIGGERSCRIPTS}\n]"] {
            let format = if tag.starts_with('[') { tag.to_owned() } else { format!("%{{{tag}}}\n") };
            let script = directory.join("scriptlet");
            fs::write(&script, query(&package, &format)?)?;
            for check in ["dash -n", "bash --posix -n", "shellcheck --shell=sh"] {
                run(Command::new("sh").arg("-c").arg(format!("{check} \"$0\"")).arg(&script))?;
            }
        }
    }
    Ok(())
}

/// Nothing is needed that RHEL 9 and Fedora do not have.
pub fn requirements() -> Result<(), Error> {
    let by_hand = ["/bin/sh", "config(conbool-milter)", "shadow-utils", "systemd"];
    let libraries = ["ld-linux-x86-64.so.2", "libc.so.6", "libgcc_s.so.1", "libm.so.6", "rtld"];
    for package in packages()? {
        let required = required(&package)?;
        if let Some(missing) = by_hand.iter().find(|name| !required.iter().any(|required| required == *name)) {
            return Err(format!("does not require {missing}").into());
        }
        for name in required.iter().filter(|name| !by_hand.contains(&name.as_str())) {
            let (library, interface) = name.split_once('(').unwrap_or((name, ""));
            if !libraries.contains(&library) || glibc(interface).is_some_and(|version| version > GLIBC) {
                return Err(format!("requires {name}").into());
            }
        }
        let recommended = query(&package, "[%{RECOMMENDNAME}\n]")?;
        if recommended != "(postfix or sendmail)\nca-certificates\n" {
            return Err(format!("recommends {recommended}").into());
        }
    }
    Ok(())
}

/// Major and minor number of an interface such as `GLIBC_2.34)(64bit)`; none of any other.
fn glibc(interface: &str) -> Option<(u32, u32)> {
    let version = interface.strip_prefix("GLIBC_")?.split(')').next()?;
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

pub fn version() -> Result<(), Error> {
    let expected = env!("CARGO_PKG_VERSION").replace('-', "~");
    for (package, release) in packages()?.iter().zip(["1.el9", "1.fc42"]) {
        let named = query(package, "%{NAME} %{VERSION} %{RELEASE} %{ARCH} %{LICENSE}")?;
        if named != format!("conbool-milter {expected} {release} x86_64 AGPL-3.0-only") {
            return Err(named.into());
        }
    }
    Ok(())
}
