//! Asks Sendmail itself where addresses would go, by `sendmail -bt` on a sendmail.cf.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use super::command::{CommandError, Program};
use super::{DIRECT_MAILER, Names, RELAY_MAILER, Request, rules};
use crate::mta::scratch::{Failed, Scratch};
use crate::verdict::{DIRECT_PSEUDO_DOMAIN, RELAY_PSEUDO_DOMAIN};

/// No more hosted domains than these are tried.
const DOMAINS: usize = 20;

/// Why a sendmail.cf does not pass.
#[derive(Debug)]
pub enum TrialError {
    /// A file of the trial cannot be written.
    File(PathBuf, std::io::Error),
    /// Sendmail gives no answer.
    Command(CommandError),
    /// It finds mistakes in the file.
    Mistakes(Vec<String>),
    /// It gives another answer than it should.
    Answer {
        /// What was asked, for people.
        asked: String,
        /// What it should say.
        expected: String,
        /// What it says.
        found: String,
    },
}

impl fmt::Display for TrialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "{}: {}", path.display(), crate::config::reason(error)),
            Self::Command(error) => error.fmt(f),
            Self::Mistakes(lines) => write!(f, "Sendmail says of its new configuration: {}", lines.join("; ")),
            Self::Answer { asked, expected, found } => {
                write!(f, "sendmail -bt: {asked} should give \"{expected}\", and gives \"{found}\"")
            }
        }
    }
}

impl std::error::Error for TrialError {}

impl From<CommandError> for TrialError {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

impl From<Failed> for TrialError {
    fn from((path, error): Failed) -> Self {
        Self::File(path, error)
    }
}

/// What the daemon answers in a trial, in the words of a map that needs no daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Daemon {
    /// It does not run.
    Away,
    /// It answers this to every question.
    Says(&'static str),
}

/// Sees that Sendmail with this sendmail.cf sends addresses where they should go: marked ones to the relay or past it,
/// those of hosted domains where they went without us, all others where the daemon says, and nowhere if it is away. And that the relay is not taken for the relay without a verified certificate.
///
/// # Errors
/// [`TrialError`].
pub fn run(request: &Request<'_>, cf: &str) -> Result<(), TrialError> {
    let scratch = Scratch::new()?;
    let site = match &request.existing.site {
        Some(Ok(site)) => Some(Sendmail::new(request, &scratch, "site.cf", site)?),
        _ => None,
    };
    let new = Sendmail::new(request, &scratch, "new.cf", cf)?;
    let known = site.as_ref().map(|site| site.mistakes.clone()).unwrap_or_default();
    let mistakes: Vec<String> = new.mistakes.difference(&known).cloned().collect();
    if !mistakes.is_empty() {
        return Err(TrialError::Mistakes(mistakes));
    }
    let Ok(Some(names)) = Names::new(request) else { return Ok(()) };
    let usual = Sendmail::new(request, &scratch, "usual.cf", &with_daemon(cf, Daemon::Says("usual")))?;
    let away = Sendmail::new(request, &scratch, "away.cf", &with_daemon(cf, Daemon::Away))?;

    let relay = &names.rules.relay;
    let plain = "someone@remote.invalid";
    for (address, clean) in
        [("someone@remote.invalid.PSEUDO", plain), ("someone%[192.0.2.1]@lit.PSEUDO", "someone@[192.0.2.1]")]
    {
        let to_relay = address.replace("PSEUDO", RELAY_PSEUDO_DOMAIN);
        new.must_resolve(&to_relay, &format!("mailer {RELAY_MAILER}, host {relay}, user {clean}"))?;
        let direct = address.replace("PSEUDO", DIRECT_PSEUDO_DOMAIN);
        match (&names.rules.direct, &site) {
            (Some(host), _) => {
                new.must_resolve(&direct, &format!("mailer {DIRECT_MAILER}, host {host}, user {clean}"))?
            }
            (None, Some(site)) => new.must_resolve(&direct, &site.resolve(clean)?)?,
            (None, None) => {}
        }
    }
    if let Some(site) = &site {
        for domain in request.config.domains.iter().take(DOMAINS) {
            let address = format!("postmaster@{domain}");
            let before = site.resolve(&address)?;
            new.must_resolve(&address, &before)?;
            away.must_resolve(&address, &before)?;
        }
        usual.must_resolve(plain, &site.resolve(plain)?)?;
        usual.must_resolve("postmaster", &site.resolve("postmaster")?)?;
    }
    if names.rules.socketmap.is_some() {
        let asked = Sendmail::new(request, &scratch, "relay.cf", &with_daemon(cf, Daemon::Says("relay")))?;
        asked.must_resolve(plain, &format!("mailer {RELAY_MAILER}, host {relay}, user {plain}"))?;
        let found = away.resolve(plain)?;
        if !found.starts_with("mailer *error*, host 4.") {
            let expected = "mailer *error*, host 4.…".to_owned();
            return Err(TrialError::Answer { asked: format!("{plain}, while the daemon is away,"), expected, found });
        }
    }
    for verify in ["NONE", "NO", "FAIL", "TEMP", "PROTOCOL", "SOFTWARE", "CONFIG"] {
        let found = new.verified(relay, verify)?;
        if !found.starts_with("$# error $@ 4") {
            let asked = format!("a connection to {relay} with {{verify}} = {verify:?}");
            return Err(TrialError::Answer { asked, expected: "$# error $@ 4…".to_owned(), found });
        }
    }
    Ok(())
}

/// A sendmail.cf whose socketmap is another map, which needs no daemon.
fn with_daemon(cf: &str, daemon: Daemon) -> String {
    let socket = format!("K{} socket ", rules::MAP);
    let map = match daemon {
        Daemon::Away => format!("K{} socket -T<TMPF> unix:/nonexistent/conbool-milter.sock", rules::MAP),
        Daemon::Says(_) => format!("K{} null", rules::MAP),
    };
    let cf = match daemon {
        Daemon::Away => cf.to_owned(),
        Daemon::Says(answer) => cf.replace(rules::NO_ANSWER, &format!("$: {answer} $)")),
    };
    cf.lines().map(|line| if line.starts_with(&socket) { format!("{map}\n") } else { format!("{line}\n") }).collect()
}

/// Sendmail with a sendmail.cf of the trial.
struct Sendmail<'a> {
    program: Program<'a>,
    cf: String,
    /// What it finds wrong in the file, without the places.
    mistakes: BTreeSet<String>,
}

impl<'a> Sendmail<'a> {
    fn new(request: &'a Request<'_>, scratch: &Scratch, name: &str, text: &str) -> Result<Self, TrialError> {
        let sendmail = &request.config.sendmail;
        let program = Program { path: &sendmail.program, package: "sendmail", directory: &sendmail.directory };
        let cf = scratch.write(name, text)?.to_string_lossy().into_owned();
        let mut new = Self { program, cf, mistakes: BTreeSet::new() };
        let place = format!("{}: line ", new.cf);
        let said = new.said("")?;
        let mistake = |line: &str| line.strip_prefix(&place)?.split_once(": ").map(|(_, mistake)| mistake.to_owned());
        new.mistakes = said.lines().filter_map(mistake).collect();
        Ok(new)
    }

    fn said(&self, commands: &str) -> Result<String, TrialError> {
        let (_, output) = self.program.run_whatever(&["-bt", "-C", &self.cf], commands)?;
        if !output.out.contains("ADDRESS TEST MODE") {
            let said = format!("{}{}", output.out, output.err).trim().to_owned();
            return Err(CommandError::Failed(self.program.path.to_owned(), said).into());
        }
        Ok(output.out + &output.err)
    }

    /// Where an address goes: `mailer esmtp, host remote.test, user bob@remote.test`. The host has a dot at its end if the
    /// name service knows it, which does not matter here.
    fn resolve(&self, address: &str) -> Result<String, TrialError> {
        let said = self.said(&format!("/parse {address}\n"))?;
        let found = said.lines().rev().find(|line| line.starts_with("mailer "));
        Ok(found.unwrap_or("no mailer").replace("., user ", ", user "))
    }

    fn must_resolve(&self, address: &str, expected: &str) -> Result<(), TrialError> {
        let found = self.resolve(address)?;
        // Sendmail writes names of hosts in lower case.
        if found.eq_ignore_ascii_case(expected) {
            return Ok(());
        }
        Err(TrialError::Answer { asked: address.to_owned(), expected: expected.to_owned(), found })
    }

    /// What the ruleset `tls_server` makes of a connection to this host.
    fn verified(&self, host: &str, verify: &str) -> Result<String, TrialError> {
        let said = self.said(&format!(".Dh{host}\ntls_server {verify}\n"))?;
        let found = said.lines().rev().find_map(|line| line.strip_prefix("tls_server")?.split_once("returns:"));
        Ok(found.map(|(_, found)| found.trim()).unwrap_or("no answer").to_owned())
    }
}
