//! Delivery reports (RFC 3464) and read receipts (RFC 8098): `multipart/report` (RFC 6522).

use super::entity::{Entity, check_bytes};
use super::walk::{Step, Walker};
use super::{Answer, Kept};
use crate::verdict::Kind;

/// What the top-level entity declares itself to be by its report-type.
pub(super) fn declared(entity: &Entity) -> Option<Kind> {
    let first = entity.report_types.first().filter(|_| entity.multipart() == Some("report"))?;
    if entity.report_types.iter().any(|other| other != first) {
        return None;
    }
    match first.as_str() {
        "delivery-status" => Some(Kind::Bounce),
        "disposition-notification" => Some(Kind::ReadReceipt),
        _ => None,
    }
}

/// What a report says by its second part when it declares no report-type.
fn second_part(entity: &Entity) -> Option<Kind> {
    match entity.media_type.as_str() {
        "message/delivery-status" | "message/global-delivery-status" => Some(Kind::Bounce),
        "message/disposition-notification" | "message/global-disposition-notification" => Some(Kind::ReadReceipt),
        _ => None,
    }
}

/// What is to be looked at in a multipart to find the report.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Its first part may be the report: signed messages, and lists that add a footer.
    First,
    /// It is a report without a type: its second part tells.
    Second,
}

fn look(entity: &Entity) -> Option<Look> {
    match entity.multipart()? {
        "signed" | "mixed" => Some(Look::First),
        "report" if entity.report_types.is_empty() => Some(Look::Second),
        _ => None,
    }
}

/// Looks for a report that `entity`, the message, does not declare itself to be: inside multipart/signed or as the
/// first part of multipart/mixed, in any combination, and without report-type.
pub(super) fn decide(entity: &Entity, kept: &Kept) -> Answer<Kind> {
    let Some(mut look_at) = look(entity) else { return Answer::No };
    let mut depth = 1;
    let mut walker = Walker::new(entity, kept);
    loop {
        let part = match walker.step() {
            Ok(Step::Part(part)) => part,
            Ok(Step::UsedUp) => return kept.used_up(),
            Ok(Step::End) | Err(_) => return Answer::No,
        };
        // In the first part of a report without type, or past the end of that report.
        let wanted = if look_at == Look::First { 0 } else { 1 };
        if part.depth > depth || (part.depth == depth && part.index < wanted) {
            continue;
        }
        if part.depth < depth || check_bytes(&kept.bytes[..part.start]).is_err() {
            return Answer::No;
        }
        let found = if look_at == Look::First { declared(&part.entity) } else { second_part(&part.entity) };
        if let Some(kind) = found {
            return Answer::Yes(kind);
        }
        match look(&part.entity) {
            Some(next) if look_at == Look::First => {
                look_at = next;
                depth += 1;
            }
            _ => return Answer::No,
        }
    }
}
