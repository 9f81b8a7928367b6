//! The mail server's wiring.

use super::context::Context;
use crate::config::Config;
use crate::finding::{Area, Finding, Status};
use crate::mta::delivery::Post;
use crate::mta::postfix::Existing;
use crate::mta::postfix::delivery::Postal;
use crate::mta::postfix::inspect::{self, Examined};
use crate::mta::{MilterClient, postfix};
use crate::probe::relay;
use crate::sources::Loaded;

/// Examines the Postfix instance that the configuration names.
pub fn examine(context: &Context) -> Vec<Finding> {
    let config = &context.config;
    let Some(provider) = &context.provider else {
        let seen = "the provider cannot be loaded, so that it is not known what the mail server needs";
        return vec![Finding::new(Area::MailServer, "postfix", "", Status::Unknown, seen)];
    };
    let directory = crate::cli::directory(config);
    // What is wrong with the scopes, the examination of the configuration tells.
    let loaded = Loaded::offline(config, directory.as_ref()).ok();
    let sets = loaded.filter(|loaded| loaded.unknown().is_empty()).map(|loaded| loaded.sets());
    inspect::examine(&Examined {
        config,
        provider,
        senders: sets.as_ref().map(|sets| &*sets.default),
        setup_command: &context.command("setup --apply"),
    })
}

/// The mail server as the relay's client; `ask` it, or leave out what only it can tell.
pub fn relay_client(config: &Config, ask: bool) -> relay::Client {
    let existing = ask.then(|| Existing::read(&config.postfix.config_directory).ok()).flatten();
    relay::Client {
        name: "Postfix",
        message_size_limit: existing.and_then(|existing| existing.message_size_limit()),
        set_message_size_limit: "postconf -e message_size_limit=LIMIT",
        trust_anchors: Vec::new(),
    }
}

/// The mail server, to send by.
///
/// # Errors
/// A sentence, if it cannot be asked how.
pub fn post(config: &Config) -> Result<Box<dyn Post>, String> {
    Ok(Box::new(Postal::of(&config.postfix.config_directory)?))
}

/// The mail server as the milter's client. One that cannot be asked is told of by the examination of the mail server.
pub fn milter_client(config: &Config) -> Option<MilterClient> {
    postfix::milter_client(config).ok().flatten()
}
