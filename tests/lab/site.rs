//! A customer's site: a lab with Postfix and the daemon in it, set up from a file in `tests/sites`.

use std::fs;
use std::path::Path;
use std::process::Command;

use conbool_milter::config::Config;

use super::daemon::{Daemon, program};
use super::postfix::{Postfix, Prepared};
use super::process::{run, wait_for};
use super::{Error, Lab};

/// The sender table that the daemon writes, in the lab's directory.
pub const SENDER_TABLE: &str = "state/conbool_senders.db";

/// A site at work. Everything stops when it is dropped.
pub struct Site {
    /// The milter.
    pub daemon: Daemon,
    /// The mail server.
    pub postfix: Postfix,
    /// Everything around.
    pub lab: Lab,
}

impl Site {
    /// Starts the site that `tests/sites/<name>.toml` describes, with the lines of `<name>.main.cf`, if there is such
    /// a file, as the Postfix configuration that the site had before. `@lab@` in both stands for the lab's directory.
    /// `<name>.sieve` becomes `site.sieve` next to the configuration.
    ///
    /// The calling thread is then in the site's network.
    pub fn start(name: &str) -> Result<Self, Error> {
        let sites = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sites");
        let file = sites.join(name).with_extension("toml");
        let config = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let text = |extension: &str| fs::read_to_string(sites.join(name).with_extension(extension)).unwrap_or_default();
        Self::configure(name, &config, &text("main.cf"), &text("sieve"))
    }

    /// Starts a site with this daemon configuration, these additional lines of main.cf, and this script in
    /// `site.sieve`, which the configuration may name. Where the lab keeps state and Postfix is added to the configuration.
    pub fn configure(name: &str, config: &str, main_cf: &str, script: &str) -> Result<Self, Error> {
        let lab = Lab::start(name)?;
        let prepared = Prepared::new(&lab, main_cf)?;
        fs::write(lab.dir.join("site.sieve"), script)?;
        let file = lab.dir.join("conbool-milter.toml");
        let config =
            format!("state_directory = \"@lab@/state\"\n{config}\n[postfix]\nconfig_directory = \"@lab@/etc\"\n");
        fs::write(&file, prepared.fill_in(&config))?;
        let fragments = lab.dir.join("fragments");
        let mut setup = Command::new(program()?);
        setup.args(["setup", "postfix", "--config"]).arg(&file).arg("--output").arg(&fragments);
        run(&mut setup)?;
        prepared.add_fragments(&fragments)?;
        let daemon = Daemon::start(&file, &lab.dir.join("daemon.log"))?;
        let table = lab.dir.join(SENDER_TABLE);
        if !Config::load(&file)?.has_static_sender_table() {
            wait_for("the sender table", || table.exists().then_some(()))?;
        }
        let postfix = prepared.start()?;
        Ok(Self { daemon, postfix, lab })
    }
}
