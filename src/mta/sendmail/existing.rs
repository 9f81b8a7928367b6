//! What the host's Sendmail is, and has now.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::command::Program;
use super::{Cf, Error, mc};
use crate::config;

/// The present configuration of Sendmail; by default nothing is known of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Existing {
    /// The text of sendmail.mc; `None` if there is none.
    pub mc: Option<String>,
    /// The text of sendmail.cf; `None` if there is none.
    pub cf: Option<String>,
    /// The text of the access map's source; `None` if there is none.
    pub access: Option<String>,
    /// What m4 makes of sendmail.mc without our blocks, or why it does not; `None` without a sendmail.mc.
    pub site: Option<Result<String, String>>,
    /// What Sendmail says of itself; `None` if it is not there.
    pub program: Option<Compiled>,
}

/// What Sendmail says of itself (`sendmail -d0.1`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// Its version, as it says it: `8.17.1.9`.
    pub version: String,
    /// What it is compiled with.
    pub options: Vec<String>,
}

/// Why nothing can be said of it.
#[derive(Debug)]
pub enum ExistingError {
    /// A file cannot be read.
    File(PathBuf, io::Error),
}

impl fmt::Display for ExistingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "{}: {}", path.display(), config::reason(error)),
        }
    }
}

impl std::error::Error for ExistingError {}

impl Existing {
    /// Reads what is there, and asks Sendmail and m4.
    ///
    /// # Errors
    /// [`ExistingError`]; that a file is not there is none.
    pub fn read(sendmail: &config::Sendmail) -> Result<Self, ExistingError> {
        let read = |name: &str| read(&sendmail.directory.join(name));
        let mc = read("sendmail.mc")?;
        let site = mc.as_ref().map(|mc| {
            let site = mc::without_blocks(mc).map_err(|error| error.to_string())?;
            mc::make(&sendmail.directory, &site).map(|made| made.cf).map_err(|error| error.to_string())
        });
        Ok(Self {
            mc,
            cf: read("sendmail.cf")?,
            access: read("access")?,
            site,
            program: Compiled::ask(&sendmail.program),
        })
    }

    /// True if there is a Sendmail, or a configuration of it.
    pub fn is_known(&self) -> bool {
        self.mc.is_some() || self.cf.is_some()
    }

    /// What the site has without us, as far as that is known: if m4 does not tell, what is in force, unless that has our
    /// blocks in it.
    pub fn site(&self) -> Cf {
        let made = self.site.as_ref().and_then(|site| site.as_ref().ok());
        let is_the_sites = |mc: &String| mc::without_blocks(mc).is_ok_and(|site| site == *mc);
        let in_force = self.cf.as_ref().filter(|_| self.mc.as_ref().is_none_or(is_the_sites));
        Cf::parse(made.or(in_force).map(String::as_str).unwrap_or_default())
    }

    /// What is in force.
    pub fn in_force(&self) -> Cf {
        Cf::parse(self.cf.as_deref().unwrap_or_default())
    }
}

impl Compiled {
    /// Asks Sendmail; `None` if there is none, or it is another program of that name.
    fn ask(program: &Path) -> Option<Self> {
        let sendmail = Program { path: program, package: "sendmail", directory: Path::new("/") };
        // It fails where there is no sendmail.cf yet, after it has told this.
        let (_, output) = sendmail.run_whatever(&["-d0.1", "-bt"], "").ok()?;
        Self::parse(&output.out)
    }

    fn parse(said: &str) -> Option<Self> {
        let version = said.lines().find_map(|line| line.strip_prefix("Version "))?.trim();
        let (_, options) = said.split_once("Compiled with:")?;
        let options = options.split("\n\n").next().unwrap_or_default();
        let is_option = |word: &&str| word.starts_with(|character: char| character.is_ascii_uppercase());
        Some(Self {
            version: version.to_owned(),
            options: options.split_whitespace().take_while(is_option).map(str::to_owned).collect(),
        })
    }

    /// The first two numbers of its version: `(8, 17)`.
    pub fn release(&self) -> (u32, u32) {
        let mut numbers = self.version.split('.').map(|number| number.parse().unwrap_or_default());
        (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
    }

    /// Sees that it can do what we need.
    ///
    /// # Errors
    /// [`Error::TooOld`] and [`Error::Lacks`].
    pub fn check(&self, needed: &[&'static str]) -> Result<(), Error> {
        if self.release() < (8, 15) {
            return Err(Error::TooOld(self.version.clone()));
        }
        let lacks = |option: &&&'static str| !self.options.iter().any(|known| known == **option);
        let lacking: Vec<&'static str> = needed.iter().filter(lacks).copied().collect();
        if lacking.is_empty() { Ok(()) } else { Err(Error::Lacks(lacking)) }
    }
}

fn read(path: &Path) -> Result<Option<String>, ExistingError> {
    match fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(|_| {
            let error = io::Error::other("it is not in UTF-8; convert it first (iconv -t UTF-8)");
            ExistingError::File(path.to_owned(), error)
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ExistingError::File(path.to_owned(), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sendmail_says_of_itself() {
        let said = "Version 8.16.1\n Compiled with: DNSMAP LOG MILTER MIME7TO8\n\t\tSTARTTLS XDEBUG\n\n\
                    /etc/mail/sendmail.cf: line 0: cannot open: No such file or directory\n";
        let compiled = Compiled::parse(said).unwrap();
        assert_eq!(compiled.release(), (8, 16));
        assert_eq!(compiled.options, ["DNSMAP", "LOG", "MILTER", "MIME7TO8", "STARTTLS", "XDEBUG"]);
        assert_eq!(compiled.check(&["MILTER", "SOCKETMAP"]), Err(Error::Lacks(vec!["SOCKETMAP"])));
        assert_eq!(compiled.check(&["MILTER"]), Ok(()));
        let old = Compiled { version: "8.14.9".to_owned(), ..compiled };
        assert_eq!(old.check(&[]), Err(Error::TooOld("8.14.9".to_owned())));
        assert_eq!(Compiled::parse("sendmail: fatal: unsupported: -bt\n"), None);
    }
}
