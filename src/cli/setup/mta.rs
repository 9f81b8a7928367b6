//! The mail server that is set up, whichever it is: what it says of the site, what has to change in its configuration, and
//! how it is told. The plan, the transaction and the way back are the same for all.

mod choice;
mod postfix;
mod sendmail;

use std::path::{Path, PathBuf};

use ipnet::IpNet;
use toml_edit::Value;

pub use choice::{MailServer, choose, not_of_another};
pub use postfix::Postfix;
pub use sendmail::Sendmail;

use crate::config::Config;
use crate::mta::change::Change;
use crate::provider::Provider;

/// A mail server on this host.
pub trait Mta {
    /// What people call it.
    fn name(&self) -> &'static str;

    /// Where it says which domains are hosted, and which networks are the site's own.
    fn sources(&self) -> Sources;

    /// Asks it about the site.
    ///
    /// # Errors
    /// A sentence, if it does not understand its own configuration.
    fn survey(&self) -> Result<Survey, String>;

    /// Keys of our configuration by which it is found again, as far as they are not so in `before`. `socket` is the one
    /// that the milter will listen on, if it is new.
    fn settings(&self, before: Option<&Config>, socket: Option<&str>) -> Vec<(String, Option<Value>)>;

    /// Adds to `change` what makes it work as our configuration says. `before` is what that said until now.
    ///
    /// # Errors
    /// A sentence, if that cannot be made, or does not pass the mail server's own check.
    fn revise(
        &self,
        change: &mut Change,
        config: &Config,
        before: Option<&Config>,
        provider: &Provider,
    ) -> Result<Wiring, String>;

    /// True for a file that its own programs make of others: people look at those.
    fn is_made(&self, file: &Path) -> bool;

    /// The group that reaches the milter's socket by owning its directory; `None` where none is needed.
    fn socket_group(&self) -> Option<u32>;

    /// True if it runs.
    ///
    /// # Errors
    /// A sentence, if that cannot be found out.
    fn is_running(&self) -> Result<bool, String>;

    /// Looks at the configuration that is in place.
    ///
    /// # Errors
    /// What the mail server says of it.
    fn check(&self) -> Result<(), String>;

    /// Has the running mail server use the configuration that is in place, and sees that it does.
    ///
    /// # Errors
    /// A sentence, if it does not.
    fn reload(&self) -> Result<(), String>;

    /// True if the daemon looks into its configuration, and has to do so again when that has changed.
    fn is_watched_by_daemon(&self) -> bool;

    /// The messages in its queue that cannot do without what `back` takes away.
    ///
    /// # Errors
    /// A sentence, if the queue cannot be looked at.
    fn waiting(&self, back: &Change, config: &Config) -> Result<Vec<Waiting>, String>;

    /// How to try, and how to remove, what is in its queue.
    fn queue_commands(&self) -> QueueCommands;
}

/// Where answers come from by default, in words that follow "The default is".
#[derive(Debug, Clone, Copy)]
pub struct Sources {
    /// The hosted domains.
    pub domains: &'static str,
    /// The internal networks.
    pub networks: &'static str,
}

/// What a mail server says of the site.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// Domains for which it takes mail, but not the host's own names.
    pub domains: Vec<String>,
    /// Clients of the site's own, without this host.
    pub internal_networks: Vec<IpNet>,
    /// Where all mail for other sites goes now, if not to the recipient's MX and if our configuration has to know.
    pub next_hop: Option<String>,
    /// Where it would look for the milter's socket.
    pub socket: PathBuf,
    /// What else it said that cannot be used, a sentence each.
    pub notes: Vec<String>,
}

/// What is to be known of a change of the mail server's configuration.
#[derive(Debug)]
pub struct Wiring {
    /// What the administrator should know or decide, a sentence or two each.
    pub notes: Vec<String>,
    /// The table that the daemon has to write before the mail server is told of it.
    pub table: Option<PathBuf>,
    /// What keeps the change from being put in force as things are.
    pub obstacle: Result<(), String>,
}

/// A message in the queue that needs the rules.
#[derive(Debug)]
pub struct Waiting {
    /// Its queue id.
    pub queue_id: String,
    /// Its envelope sender.
    pub sender: String,
    /// What would become of it without them.
    pub fate: &'static str,
}

/// Commands for the queue, without a full stop.
#[derive(Debug, Clone, Copy)]
pub struct QueueCommands {
    /// Tries everything now.
    pub flush: &'static str,
    /// Removes a message.
    pub delete: &'static str,
}

/// The mail server whose files these are. `config` knows the rest of it.
pub fn of_files<'a>(mut files: impl Iterator<Item = &'a Path>, config: &Config) -> Option<Box<dyn Mta>> {
    files.find_map(|file| {
        let postfix = || Postfix::of_file(file).map(|postfix| Box::new(postfix) as Box<dyn Mta>);
        postfix().or_else(|| Some(Box::new(Sendmail::of_file(file, config)?)))
    })
}
