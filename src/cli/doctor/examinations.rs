//! The examinations: which there are, and what each is given of the [`Context`].

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;

use super::context::Context;
use super::{config, mail_server, sockets, telemetry};
use crate::finding::{Area, Finding};
use crate::probe;

/// One that runs beside the others.
pub struct Examination {
    /// The area it belongs to.
    pub area: Area,
    /// What it is called as long as it runs, and if it does not end.
    pub name: &'static str,
    /// Examines; to end by the context's deadline, with what could not be found out as unknown.
    pub examine: fn(Arc<Context>) -> Examining,
}

type Examining = Pin<Box<dyn Future<Output = Vec<Finding>> + Send>>;

/// All of them; those of one area are shown in this order.
pub const EXAMINATIONS: &[Examination] = &[
    Examination { area: Area::Config, name: "config", examine: |context| in_thread(context, config::examine) },
    Examination { area: Area::Sockets, name: "sockets", examine: |context| in_thread(context, sockets::examine) },
    Examination { area: Area::Sockets, name: "telemetry", examine: |context| Box::pin(telemetry::examine(context)) },
    Examination {
        area: Area::MailServer,
        name: "mail-server",
        examine: |context| in_thread(context, mail_server::examine),
    },
    Examination { area: Area::Dns, name: "dns", examine: |context| Box::pin(dns(context)) },
    Examination { area: Area::Relay, name: "relay", examine: |context| Box::pin(relay(context)) },
];

/// An examination that blocks.
fn in_thread(context: Arc<Context>, examine: fn(&Context) -> Vec<Finding>) -> Examining {
    Box::pin(async move {
        match tokio::task::spawn_blocking(move || examine(&context)).await.map_err(JoinError::try_into_panic) {
            Ok(findings) => findings,
            // To be told of like that of any other examination.
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            Err(Err(_)) => Vec::new(),
        }
    })
}

async fn dns(context: Arc<Context>) -> Vec<Finding> {
    probe::dns::examine(&context.config, context.provider.as_ref(), context.deadline).await
}

async fn relay(context: Arc<Context>) -> Vec<Finding> {
    let asked = context.clone();
    // Without the mail server, or with one that hangs, the relay can be examined all the same.
    let client = tokio::task::spawn_blocking(move || mail_server::relay_client(&asked.config, true));
    let client = match tokio::time::timeout(SETTING_PATIENCE, client).await {
        Ok(Ok(client)) => client,
        _ => mail_server::relay_client(&context.config, false),
    };
    probe::relay::examine(&context.config, context.provider.as_ref(), client, context.deadline).await
}

/// How long the mail server may take to tell a setting.
const SETTING_PATIENCE: Duration = Duration::from_secs(5);
