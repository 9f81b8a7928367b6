//! `conbool-milter doctor`: examines an installation and says what mends it.

mod config;
mod context;
mod examinations;
pub mod handshake;
mod mail_server;
mod progress;
mod report;
mod sockets;
mod telemetry;
mod trial;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::context::Context;
use self::examinations::{EXAMINATIONS, Examination};
use self::progress::Progress;
use crate::finding::{Area, Finding, Status};

/// Examine the installation and tell what mends it
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to examine [default: all]
    #[arg(value_name = "AREA")]
    areas: Vec<Area>,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Also send a message there, from a sender in scope, and wait for what becomes of it
    #[arg(long, value_name = "ADDRESS", value_parser = trial::address)]
    probe: Option<String>,
    /// How long the examination of an area may take
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
}

impl ValueEnum for Area {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

/// How much longer than it is told an examination gets to say what it could not find out.
const GRACE: Duration = Duration::from_secs(1);

/// Examines what is asked for and shows the findings. Exits with 0 if nothing failed, 1 if something did, 3 if nothing
/// failed but something could not be found out.
pub fn run(config: &Path, arguments: &Arguments) -> ExitCode {
    let areas = if arguments.areas.is_empty() { Area::ALL.to_vec() } else { arguments.areas.clone() };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            super::complain(&format!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let findings = runtime.block_on(examine(config, &areas, arguments));
    // What hangs in a thread of its own must not keep the program from ending.
    runtime.shutdown_background();
    if let Err(error) = report::print(&findings, arguments.json) {
        super::complain(&format!("the findings cannot be written: {error}"));
    }
    let any = |status| findings.iter().any(|finding| finding.status == status);
    if any(Status::Fail) {
        ExitCode::FAILURE
    } else if any(Status::Unknown) {
        ExitCode::from(3)
    } else {
        ExitCode::SUCCESS
    }
}

/// The findings of all examinations of these areas, area by area, and of the probe that was asked for.
async fn examine(config: &Path, areas: &[Area], arguments: &Arguments) -> Vec<Finding> {
    let time = Duration::from_secs(arguments.timeout);
    let context = Arc::new(Context::load(config, Instant::now() + time));
    let wanted = EXAMINATIONS.iter().filter(|examination| areas.contains(&examination.area));
    let mut progress = Progress::start(wanted.clone());
    let mut running = JoinSet::new();
    for (order, examination) in wanted.enumerate() {
        // In a task of its own, so that one that panics is missed, and the others go on.
        let examined = tokio::spawn(one(examination, context.clone(), time));
        running.spawn(async move {
            let findings = examined.await.unwrap_or_else(|_| {
                let seen = "the examination broke off, which is a mistake in conbool-milter";
                vec![Finding::new(examination.area, examination.name, "", Status::Unknown, seen)]
            });
            (order, examination, findings)
        });
    }
    let mut done = Vec::new();
    while let Some(finished) = running.join_next().await {
        if let Ok((order, examination, findings)) = finished {
            progress.finished(examination);
            done.push((examination.area, order, findings));
        }
    }
    drop(progress);
    done.sort_by_key(|(area, order, _)| (*area, *order));
    let examined = done.into_iter().flat_map(|(.., findings)| findings);
    let mut findings: Vec<Finding> = context.mistakes().into_iter().chain(examined).collect();
    if let Some(recipient) = &arguments.probe {
        // When the others have ended: what they do must not be in the way of the message, and the report waits for both.
        findings.extend(trial::run(&context, recipient, Instant::now() + time).await);
    }
    findings
}

/// The findings of one examination, which ends in any case.
async fn one(examination: &'static Examination, context: Arc<Context>, time: Duration) -> Vec<Finding> {
    match tokio::time::timeout_at(context.deadline + GRACE, (examination.examine)(context.clone())).await {
        Ok(findings) => findings,
        Err(_) => {
            let seen = format!("not done within {} seconds; --timeout gives it longer", time.as_secs());
            vec![Finding::new(examination.area, examination.name, "", Status::Unknown, seen)]
        }
    }
}
