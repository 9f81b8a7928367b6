//! The examinations: which there are, and what each is given of the [`Context`].

use std::pin::Pin;
use std::sync::Arc;

use super::context::Context;
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
pub const EXAMINATIONS: &[Examination] =
    &[Examination { area: Area::Dns, name: "dns", examine: |context| Box::pin(dns(context)) }];

async fn dns(context: Arc<Context>) -> Vec<Finding> {
    probe::dns::examine(&context.config, context.provider.as_ref(), context.deadline).await
}
