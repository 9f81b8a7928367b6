//! A host with Debian's Sendmail in `/etc/mail`, which is never started.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use conbool_milter::config::Config;
use conbool_milter::mta::change::Change;
use conbool_milter::mta::sendmail::{self, Cf, Existing, Fragments, Request, revision};
use conbool_milter::provider::Provider;

use crate::lab::Error;
use crate::lab::namespace::{self, ROOT};
use crate::lab::process::run;
use crate::lab::sendmail::{FOLDER, PROGRAM};

/// What every sendmail.mc of a test begins with.
pub const HEAD: &str = "include(`/usr/share/sendmail/cf/m4/cf.m4')dnl\nOSTYPE(`linux')dnl\n";

/// And ends with.
pub const MAILERS: &str = "MAILER(`local')dnl\nMAILER(`smtp')dnl\n";

const CONFIG: &str = "provider = \"conbool\"\ndomains = [\"customer.test\", \"xn--mller-kva.test\"]\n\
                      relay_networks = [\"192.0.2.0/24\", \"198.51.100.0/23\"]\n\
                      socket = \"unix:/run/conbool-milter/milter.sock\"\n";

/// Files of Debian's packages that their installation makes.
const MADE: [&str; 5] = ["m4/dialup.m4", "m4/provider.m4", "local-host-names", "relay-domains", "trusted-users"];

pub struct Host {
    config: String,
}

impl Host {
    /// With this sendmail.mc, its sendmail.cf, and this access map.
    pub fn new(name: &str, mc: &str, access: &str) -> Result<Self, Error> {
        namespace::own_system(&Path::new(ROOT).join(name))?;
        namespace::bind(&Path::new(FOLDER).join("usr/share"), Path::new("/usr/share"))?;
        for user in ["smmta", "smmsp"] {
            let entry = format!("{user}:x:990:990::/nonexistent:/usr/sbin/nologin\n");
            fs::OpenOptions::new().append(true).open("/etc/passwd")?.write_all(entry.as_bytes())?;
        }
        fs::create_dir_all("/etc/mail/m4")?;
        for name in MADE {
            fs::write(file(name), "")?;
        }
        fs::write(file("local-host-names"), "customer.test\n")?;
        fs::write(file("access"), access)?;
        fs::write(file("sendmail.mc"), mc)?;
        let host = Self { config: format!("{CONFIG}[sendmail]\nprogram = \"{PROGRAM}\"\n") };
        host.make_cf()?;
        let kind = host.cf()?.map("access").and_then(|map| map.split(' ').next()).unwrap_or_default().to_owned();
        if ["hash", "btree"].contains(&kind.as_str()) {
            make_map(&kind, "access", access)?;
        }
        Ok(host)
    }

    /// Adds lines to the configuration: top-level keys before it, sections after it.
    pub fn configure(mut self, keys: &str, sections: &str) -> Self {
        self.config = format!("{keys}{}{sections}", self.config);
        self
    }

    /// Writes something else into the configuration.
    pub fn replace(&mut self, written: &str, instead: &str) {
        self.config = self.config.replace(written, instead);
    }

    /// The text of the configuration.
    pub fn text(&self) -> &str {
        &self.config
    }

    pub fn config(&self) -> Result<Config, Error> {
        Ok(Config::parse(&self.config, Path::new("/etc/conbool-milter.toml"))?)
    }

    /// As the administrator makes it.
    pub fn make_cf(&self) -> Result<(), Error> {
        Ok(fs::write(file("sendmail.cf"), m4(&file("sendmail.mc"))?)?)
    }

    pub fn cf(&self) -> Result<Cf, Error> {
        Ok(Cf::parse(&fs::read_to_string(file("sendmail.cf"))?))
    }

    /// What setup would change, and what it tells.
    pub fn revise(&self) -> Result<(Change, Vec<String>), Error> {
        let mut change = Change::new();
        let (request, notes) = self.with_fragments(|request, fragments| {
            let notes = revision::revise(&mut change, request, fragments).map_err(Error::from);
            (fragments.notes.clone(), notes)
        })?;
        Ok((change, [request, notes?].concat()))
    }

    pub fn fragments(&self) -> Result<Fragments, Error> {
        self.with_fragments(|_, fragments| fragments.clone())
    }

    fn with_fragments<T>(&self, then: impl FnOnce(&Request<'_>, &Fragments) -> T) -> Result<T, Error> {
        let config = self.config()?;
        let provider = Provider::load(&config.provider).map_err(|error| error.message)?;
        let existing = Existing::read(&config.sendmail)?;
        let request = Request { config: &config, provider: &provider, existing: &existing };
        let fragments = sendmail::generate(&request)?;
        Ok(then(&request, &fragments))
    }

    /// Puts it in force, and sees that a second run has nothing to do; gives back what was told.
    pub fn apply(&self) -> Result<Vec<String>, Error> {
        let (change, notes) = self.revise()?;
        if change.is_empty() {
            return Err("nothing to change".into());
        }
        write(&change)?;
        let (again, told) = self.revise()?;
        if !again.is_empty() {
            return Err(format!("a second run changes it again:\n{}", again.diff()).into());
        }
        match told == notes {
            true => Ok(notes),
            false => Err(format!("told first: {notes:#?}\nand then: {told:#?}").into()),
        }
    }

    /// Sees that setup refuses, and says this.
    pub fn refuses(&self, parts: &[&str]) -> Result<(), Error> {
        match self.revise() {
            Ok((change, _)) => Err(format!("it is not refused:\n{}", change.diff()).into()),
            Err(error) => contains(&error.to_string(), parts),
        }
    }

    /// Where Sendmail would send mail for an address, with the daemon saying nothing.
    pub fn resolve(&self, address: &str) -> Result<String, Error> {
        let quiet: String = fs::read_to_string(file("sendmail.cf"))?
            .lines()
            .map(|line| {
                if line.starts_with("Kconbool ") {
                    "Kconbool null".to_owned()
                } else {
                    line.replace("$: none $)", "$: usual $)")
                }
            })
            .map(|line| line + "\n")
            .collect();
        fs::write(file("quiet.cf"), quiet)?;
        fs::write(file("question"), format!("/parse {address}\n"))?;
        let mut sendmail = Command::new(PROGRAM);
        sendmail.args(["-bt", "-C", "/etc/mail/quiet.cf"]).stdin(fs::File::open(file("question"))?);
        // It ends with an error where the name service does not answer.
        let said = String::from_utf8(sendmail.output()?.stdout)?;
        let found = said.lines().rev().find(|line| line.starts_with("mailer "));
        Ok(found.ok_or_else(|| said.clone())?.replace("., user ", ", user "))
    }
}

/// What m4 makes of a sendmail.mc.
pub fn m4(mc: &Path) -> Result<String, Error> {
    Ok(String::from_utf8(run(Command::new("m4").arg(mc).current_dir("/etc/mail"))?.stdout)?)
}

/// Writes the new files, as a transaction does.
pub fn write(change: &Change) -> Result<(), Error> {
    for file in change.files() {
        match &file.after {
            Some(content) => fs::write(&file.path, &content.bytes)?,
            None => fs::remove_file(&file.path)?,
        }
    }
    Ok(())
}

/// A file of Sendmail's.
pub fn file(name: &str) -> PathBuf {
    Path::new("/etc/mail").join(name)
}

/// The entries of a map, sorted.
pub fn entries(kind: &str, name: &str) -> Result<Vec<String>, Error> {
    let dumped = run(makemap().arg("-u").arg(kind).arg(file(name)))?;
    let mut entries: Vec<String> = String::from_utf8(dumped.stdout)?.lines().map(str::to_owned).collect();
    entries.sort_unstable();
    Ok(entries)
}

/// Makes a map of a text, as the administrator does.
pub fn make_map(kind: &str, name: &str, text: &str) -> Result<(), Error> {
    fs::write(file(name), text)?;
    run(makemap().arg(kind).arg(file(name)).stdin(fs::File::open(file(name))?))?;
    Ok(())
}

fn makemap() -> Command {
    let mut command = Command::new(Path::new(FOLDER).join("usr/sbin/makemap"));
    command.arg("-C").arg(file("sendmail.cf"));
    command
}

/// Sees that a text has all of these parts.
pub fn contains(text: &str, parts: &[&str]) -> Result<(), Error> {
    match parts.iter().find(|part| !text.contains(**part)) {
        Some(part) => Err(format!("{part:?} is not in: {text}").into()),
        None => Ok(()),
    }
}

/// Sees that two things are the same.
pub fn equal<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Result<(), Error> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{found:#?} should be {expected:#?}").into()),
    }
}
