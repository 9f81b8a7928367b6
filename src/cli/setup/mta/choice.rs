//! Which mail server of this host is set up.

use std::fmt;
use std::path::{Path, PathBuf};

use super::super::Flags;
use super::super::ask::{Asker, Question};
use super::{Mta, Postfix};
use crate::config::Config;
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
    let found = match flags.mail_server {
        Some(server) => server,
        None if Path::new("/opt/zimbra").is_dir() => MailServer::Zimbra,
        None if !survey::instances().is_empty() || flags.postfix_config.is_some() => MailServer::Postfix,
        None if Path::new("/etc/mail/sendmail.cf").exists() => MailServer::Sendmail,
        None => {
            return Err(
                "No mail server is found on this host: no Postfix with a main.cf, no Zimbra. Install and start it \
                        first, or name the directory of its configuration with --postfix-config."
                    .to_owned(),
            );
        }
    };
    match found {
        MailServer::Postfix => {}
        MailServer::Zimbra => {
            return Err(
                "Zimbra regenerates the configuration of its Postfix: use `conbool-milter setup zimbra`.".to_owned()
            );
        }
        MailServer::Sendmail => return Err("Sendmail is to come: this version sets up Postfix.".to_owned()),
    }
    if asker.is_attended() {
        eprintln!("Mail server: {found}, found on this host.");
    }
    let directory = instance(flags, before, asker)?;
    Ok(directory.map(|directory| Box::new(Postfix { directory, listeners: flags.listeners.clone() }) as Box<dyn Mta>))
}

/// The Postfix instance: that of the flag, of the configuration, or the only one.
fn instance(flags: &Flags, before: Option<&Config>, asker: &mut Asker) -> Result<Option<PathBuf>, String> {
    let written = before.map(|config| &config.postfix.config_directory);
    let absolute = |path: &PathBuf| std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()));
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
