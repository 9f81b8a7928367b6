//! What the running daemon says of itself.

use std::sync::Arc;

use super::context::Context;
use crate::cli::status::{Answer, client};
use crate::finding::{Area, Finding, Status};
use crate::telemetry::status;

/// Asks the daemon, where the configuration gives it a door for that.
pub async fn examine(context: Arc<Context>) -> Vec<Finding> {
    let sockets = &context.config.telemetry.sockets;
    let Some(first) = sockets.first() else { return Vec::new() };
    let finding = |check, status, seen: String| Finding::new(Area::Sockets, check, first.to_string(), status, seen);
    match client::ask(sockets).await {
        Ok(Answer::Status(status, _)) => told(&status, &context, finding),
        Ok(Answer::Trouble(trouble)) | Err(trouble) => {
            vec![finding("telemetry", Status::Fail, trouble).mended_by("systemctl start conbool-milter")]
        }
    }
}

fn told(
    status: &status::Status,
    context: &Context,
    finding: impl Fn(&'static str, Status, String) -> Finding,
) -> Vec<Finding> {
    let mut findings = vec![match &status.not_ready {
        None => finding("telemetry", Status::Pass, format!("ready for {} seconds", status.uptime_seconds)),
        Some(why) => finding("telemetry", Status::Fail, format!("the daemon is not ready: {why}")),
    }];
    if status.version != env!("CARGO_PKG_VERSION") {
        let seen = format!("the daemon runs version {}, this is {}", status.version, env!("CARGO_PKG_VERSION"));
        findings.push(finding("version", Status::Warn, seen).mended_by("systemctl restart conbool-milter"));
    }
    if let Some(failed) = &status.config.failed {
        let seen = format!(
            "the daemon runs with an older configuration, for the present one has mistakes: {}",
            failed.mistake
        );
        let mend = format!("{}, then systemctl reload conbool-milter", context.command("check"));
        findings.push(finding("configuration-in-force", Status::Fail, seen).mended_by(mend));
    } else if changed_since(context, status.config.loaded) {
        let seen = format!("{} changed since the daemon loaded it", context.file.display());
        findings
            .push(finding("configuration-in-force", Status::Warn, seen).mended_by("systemctl reload conbool-milter"));
    } else {
        findings.push(finding(
            "configuration-in-force",
            Status::Pass,
            "the daemon has loaded this file as it is".into(),
        ));
    }
    for door in &status.doors {
        if door.limit > 0 && door.connections * 10 >= door.limit * 9 {
            let seen =
                format!("{} of {} connections of the {} door are in use", door.connections, door.limit, door.door);
            let mend = format!("[{}]\nmax_connections = {}", door.door, door.limit * 2);
            findings.push(finding("connections", Status::Warn, seen).mended_by(mend));
        }
    }
    findings
}

/// True if the configuration file is younger than what the daemon loaded, which is known to the second.
fn changed_since(context: &Context, loaded: u64) -> bool {
    let changed = std::fs::metadata(&context.file).and_then(|metadata| metadata.modified()).ok();
    let changed = changed.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    changed.is_some_and(|at| at.as_secs() > loaded)
}
