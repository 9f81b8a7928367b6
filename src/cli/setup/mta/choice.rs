//! Which mail server of this host is set up.

use std::fmt;
use std::path::{Path, PathBuf};

use super::super::Flags;
use super::super::ask::{Asker, Question};
use super::{Mta, Postfix, Sendmail};
use crate::config::{self, Config};
use crate::mta::postfix::survey;

/// A kind of mail server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum MailServer {
    /// Postfix.
    Postfix,
    /// Zimbra, which has a Postfix of its own.
    Zimbra,
    /// Sendmail.
    Sendmail,
}

impl fmt::Display for MailServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Postfix => "Postfix",
            Self::Zimbra => "Zimbra",
            Self::Sendmail => "Sendmail",
        })
    }
}

/// The mail server to set up; `None` if nobody is there to say which.
///
/// # Errors
/// If there is none, or one that is set up in another way.
pub fn choose(flags: &Flags, before: Option<&Config>, asker: &mut Asker) -> Result<Option<Box<dyn Mta>>, String> {
    let chosen = match flags.named().or(before.and_then(written)) {
        Some(named) => named,
        None => match found(flags, before, asker)? {
            Some(found) => found,
            None => return Ok(None),
        },
    };
    not_of_another(before, chosen)?;
    match chosen {
        MailServer::Postfix => {
            let directory = instance(flags, before, asker)?;
            let listeners = flags.listeners.clone();
            let is_alone = sendmail(flags, before).map(|places| !places.directory.join("sendmail.cf").exists())?;
            Ok(directory.map(|directory| Box::new(Postfix { directory, listeners, is_alone }) as Box<dyn Mta>))
        }
        MailServer::Sendmail => Ok(Some(Box::new(Sendmail { places: sendmail(flags, before)? }))),
        MailServer::Zimbra => {
            Err("Zimbra regenerates the configuration of its Postfix: use `conbool-milter setup zimbra`.".to_owned())
        }
    }
}

/// The one that the configuration is for, if it says so.
fn written(config: &Config) -> Option<MailServer> {
    config.mail_server.map(|written| match written {
        config::MailServer::Postfix => MailServer::Postfix,
        config::MailServer::Sendmail => MailServer::Sendmail,
    })
}

/// Sees that the configuration is not for another mail server, which would be left without its daemon.
///
/// # Errors
/// A sentence, if it is.
pub fn not_of_another(before: Option<&Config>, chosen: MailServer) -> Result<(), String> {
    match before.and_then(written).filter(|written| *written != chosen) {
        Some(written) => Err(format!(
            "The configuration is for {written}, by its mail_server, and not for {chosen}. To change over, go back first \
             (conbool-milter setup --rollback), and remove that line."
        )),
        None => Ok(()),
    }
}

impl Flags {
    /// The mail server that the flags name, by itself or by its files.
    fn named(&self) -> Option<MailServer> {
        let of_sendmail = self.sendmail_config.is_some() || self.sendmail_program.is_some();
        self.mail_server
            .or(self.postfix_config.is_some().then_some(MailServer::Postfix))
            .or(of_sendmail.then_some(MailServer::Sendmail))
    }
}

/// The mail server that is on this host, or the one that is meant if there are several.
fn found(flags: &Flags, before: Option<&Config>, asker: &mut Asker) -> Result<Option<MailServer>, String> {
    if Path::new("/opt/zimbra").is_dir() {
        return Ok(Some(MailServer::Zimbra));
    }
    let has_postfix = !survey::instances().is_empty()
        || before.is_some_and(|before| before.postfix.config_directory.join("main.cf").exists());
    let has_sendmail = sendmail(flags, before)?.directory.join("sendmail.cf").exists();
    let found = [(MailServer::Postfix, has_postfix), (MailServer::Sendmail, has_sendmail)];
    let found: Vec<MailServer> =
        found.into_iter().filter(|(_, is_there)| *is_there).map(|(server, _)| server).collect();
    match found.as_slice() {
        [] => Err("No mail server is found on this host: no Postfix with a main.cf, no Sendmail with a sendmail.cf, no \
                   Zimbra. Install and start it first, or name the directory of its configuration with --postfix-config \
                   or --sendmail-config."
            .to_owned()),
        [only] => {
            if asker.is_attended() {
                eprintln!("Mail server: {only}, found on this host.");
            }
            Ok(Some(*only))
        }
        _ => {
            let question = Question {
                prompt: "Mail server",
                flag: "--mail-server postfix|sendmail (both are on this host)",
                why: "There are a Postfix and a Sendmail on this host: the one that sends mail to other sites is meant.",
            };
            asker.choice(&question, found, 0)
        }
    }
}

/// Where the files of Sendmail are: as the flags say, or the configuration.
///
/// # Errors
/// If that is no path.
fn sendmail(flags: &Flags, before: Option<&Config>) -> Result<config::Sendmail, String> {
    let mut places = before.map(|before| before.sendmail.clone()).unwrap_or_default();
    if let Some(directory) = &flags.sendmail_config {
        places.directory = absolute(directory)?;
    }
    if let Some(program) = &flags.sendmail_program {
        places.program = absolute(program)?;
    }
    Ok(places)
}

/// The Postfix instance: that of the flag, of the configuration, or the only one.
fn instance(flags: &Flags, before: Option<&Config>, asker: &mut Asker) -> Result<Option<PathBuf>, String> {
    // The configuration that packages install knows of no instance yet.
    let is_known = |directory: &&PathBuf| {
        before.is_some_and(Config::is_set_up) || directory.as_path() != Path::new(config::DEFAULT_POSTFIX_DIRECTORY)
    };
    let written = before.map(|config| &config.postfix.config_directory).filter(is_known);
    if let Some(named) = flags.postfix_config.as_ref().or(written) {
        return absolute(named).map(Some);
    }
    let question = Question {
        prompt: "Postfix instance",
        flag: "--postfix-config DIR (there are several Postfix instances: postmulti -l)",
        why: "There are several Postfix instances on this host: the one that sends mail to other sites is meant.",
    };
    let choices = survey::instances().iter().map(|path| path.display().to_string()).collect();
    Ok(asker.choice(&question, choices, 0)?.map(PathBuf::from))
}

fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))
}
