//! The examinations: which there are, and what each is given of the [`Context`].

use std::pin::Pin;
use std::sync::Arc;

use super::context::Context;
use crate::finding::{Area, Finding};

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
pub const EXAMINATIONS: &[Examination] = &[];
