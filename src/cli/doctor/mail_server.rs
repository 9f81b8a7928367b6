//! The mail server's wiring.

use std::path::PathBuf;

use super::context::Context;
use crate::config::{Config, MailServer};
use crate::finding::{Area, Finding, Status};
use crate::mta::delivery::Post;
use crate::mta::sendmail::Cf;
use crate::mta::{self, MilterClient, postfix, sendmail};
use crate::probe::relay;
use crate::sources::Loaded;

/// Examines the mail server that the milter serves.
pub fn examine(context: &Context) -> Vec<Finding> {
    let config = &context.config;
    let Some(provider) = &context.provider else {
        let seen = "the provider cannot be loaded, so that it is not known what the mail server needs";
        return vec![Finding::new(Area::MailServer, "mail-server", "", Status::Unknown, seen)];
    };
    let setting = setting(config);
    if let Some(wrong) = setting.iter().find(|finding| finding.status == Status::Fail) {
        return vec![wrong.clone()];
    }
    let setup_command = &context.command("setup --apply");
    let found = match mta::mail_server(config) {
        MailServer::Postfix => {
            let directory = crate::cli::directory(config);
            // What is wrong with the scopes, the examination of the configuration tells.
            let loaded = Loaded::offline(config, directory.as_ref()).ok();
            let sets = loaded.filter(|loaded| loaded.unknown().is_empty()).map(|loaded| loaded.sets());
            let senders = sets.as_ref().map(|sets| &*sets.default);
            postfix::inspect::examine(&postfix::inspect::Examined { config, provider, senders, setup_command })
        }
        MailServer::Sendmail => {
            let sender = context.sender_in_scope();
            let sender = sender.as_deref();
            sendmail::inspect::examine(&sendmail::inspect::Examined { config, provider, sender, setup_command })
        }
    };
    setting.into_iter().chain(found).collect()
}

/// Whether the configuration means the mail server that is here; nothing where there is no question.
fn setting(config: &Config) -> Option<Finding> {
    const CHECK: &str = "mail-server";
    let postfix = config.postfix.config_directory.join("main.cf");
    let sendmail = config.sendmail.directory.join("sendmail.cf");
    let (of_postfix, of_sendmail) = ((MailServer::Postfix, &postfix), (MailServer::Sendmail, &sendmail));
    let finding = |status, seen: String| Finding::new(Area::MailServer, CHECK, "mail_server", status, seen);
    let line = |server: MailServer| format!("mail_server = \"{}\"", server.name());
    match (config.mail_server, postfix.is_file(), sendmail.is_file()) {
        (None, true, true) => {
            let taken = mta::mail_server(config);
            let seen = format!(
                "is not set, and both mail servers are here ({}, {}): it is taken for {}",
                postfix.display(),
                sendmail.display(),
                taken.title()
            );
            Some(finding(Status::Warn, seen).mended_by(format!("{}, if that is right", line(taken))))
        }
        (Some(set), has_postfix, has_sendmail) => {
            let ((_, missing), (other, found)) =
                if set == MailServer::Postfix { (of_postfix, of_sendmail) } else { (of_sendmail, of_postfix) };
            let wrong = has_postfix != has_sendmail && !missing.is_file();
            let seen = match wrong {
                true => format!(
                    "{}, but {} is not there; here is {} ({})",
                    line(set),
                    missing.display(),
                    other.title(),
                    found.display()
                ),
                false => line(set),
            };
            Some(match wrong {
                true => finding(Status::Fail, seen).mended_by(line(other)),
                false => finding(Status::Pass, seen),
            })
        }
        (None, ..) => None,
    }
}

/// The mail server as the relay's client; `ask` it, or leave out what only it can tell.
pub fn relay_client(config: &Config, ask: bool) -> relay::Client {
    match mta::mail_server(config) {
        MailServer::Postfix => {
            let existing = ask.then(|| postfix::Existing::read(&config.postfix.config_directory).ok()).flatten();
            relay::Client {
                name: "Postfix",
                message_size_limit: existing.and_then(|existing| existing.message_size_limit()),
                set_message_size_limit: "postconf -e message_size_limit=LIMIT",
                trust_anchors: Vec::new(),
            }
        }
        MailServer::Sendmail => {
            let cf = Cf::parse(
                &sendmail::Existing::read(&config.sendmail).ok().and_then(|found| found.cf).unwrap_or_default(),
            );
            let limit = cf.option("MaxMessageSize").and_then(|limit| limit.parse().ok());
            let anchors = ["CACertFile", "CACertPath"].into_iter().filter_map(|option| cf.option(option));
            relay::Client {
                name: "Sendmail",
                // 0 is no limit.
                message_size_limit: limit.filter(|limit| *limit > 0),
                set_message_size_limit: "define(`confMAX_MESSAGE_SIZE', `LIMIT')dnl in sendmail.mc, then m4 and a restart",
                trust_anchors: anchors.map(PathBuf::from).filter(|place| place.exists()).collect(),
            }
        }
    }
}

/// The mail server, to send by.
///
/// # Errors
/// A sentence, if it cannot be asked how.
pub fn post(config: &Config) -> Result<Box<dyn Post>, String> {
    Ok(match mta::mail_server(config) {
        MailServer::Postfix => Box::new(postfix::delivery::Postal::of(&config.postfix.config_directory)?),
        MailServer::Sendmail => Box::new(sendmail::delivery::Postal::of(&config.sendmail)),
    })
}

/// The mail server as the milter's client. One that cannot be asked is told of by the examination of the mail server.
pub fn milter_client(config: &Config) -> Option<MilterClient> {
    match mta::mail_server(config) {
        MailServer::Postfix => postfix::milter_client(config).ok().flatten(),
        MailServer::Sendmail => sendmail::milter_client(config),
    }
}
