//! `conbool-milter status`: the state of the running daemon.

pub(super) mod client;
mod page;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use crate::config::{self, Socket};
use crate::telemetry::status::Status;

/// What the subcommand is given.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Show it again and again, every so many seconds
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    watch: Option<u64>,
}

/// Asks the daemon that was started with this configuration, and shows what it says.
///
/// # Errors
/// When it does not run, or offers no telemetry.
pub fn run(config: &Path, arguments: &Arguments) -> Result<(), String> {
    let sockets = config::telemetry_sockets(config).map_err(|errors| errors.to_string())?;
    if sockets.is_empty() {
        return Err(format!(
            "{}: telemetry.socket is not set, so that the daemon cannot be asked; add, for example, \
             socket = \"unix:/run/conbool-milter/telemetry.sock\" in section [telemetry], and restart it",
            config.display()
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(show(&sockets, arguments))
}

async fn show(sockets: &[Socket], arguments: &Arguments) -> Result<(), String> {
    let mut asked = client::ask(sockets).await?;
    loop {
        // Nobody looks any more at a closed standard output.
        if print(&asked, arguments).is_err() {
            return Ok(());
        }
        let Some(seconds) = arguments.watch else { return Ok(()) };
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        // A daemon that is being restarted will come back.
        asked = match client::ask(sockets).await {
            Err(trouble) if !arguments.json => Answer::Trouble(trouble),
            answer => answer?,
        };
    }
}

/// What came of asking.
pub(super) enum Answer {
    Status(Box<Status>, String),
    Trouble(String),
}

/// Goes to the upper left corner and erases what is below (ECMA-48, CUP and ED).
const REPAINT: &str = "\x1b[H\x1b[J";

fn print(answer: &Answer, arguments: &Arguments) -> std::io::Result<()> {
    let stdout = std::io::stdout();
    if arguments.watch.is_some() && stdout.is_terminal() && !arguments.json {
        stdout.lock().write_all(REPAINT.as_bytes())?;
    }
    // Leaves out the colours where they are not wanted.
    let mut output = anstream::AutoStream::auto(stdout.lock());
    match answer {
        Answer::Status(_, json) if arguments.json => writeln!(output, "{}", json.trim_end())?,
        Answer::Status(status, _) => write!(output, "{}", page::page(status))?,
        Answer::Trouble(trouble) => writeln!(output, "{trouble}")?,
    }
    output.flush()
}
