//! The examinations: which there are, and what each is given of the [`Context`].

use std::pin::Pin;
use std::sync::Arc;

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
];

/// An examination that blocks.
fn in_thread(context: Arc<Context>, examine: fn(&Context) -> Vec<Finding>) -> Examining {
    Box::pin(async move {
        // One that panicked is reported by the panic; the others go on.
        tokio::task::spawn_blocking(move || examine(&context)).await.unwrap_or_default()
    })
}

async fn dns(context: Arc<Context>) -> Vec<Finding> {
    probe::dns::examine(&context.config, context.provider.as_ref(), context.deadline).await
}
