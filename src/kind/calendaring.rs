//! Meeting requests and responses (RFC 6047).

use super::calendar::{self, is_meeting_method};
use super::entity::{Defect, Entity, check_bytes};
use super::walk::{Part, Step, Walker};
use super::{Answer, Kept, Settings, tnef};

/// Decides if a message is calendaring. `by_header` says that its header section makes it so; `entity` is the message's
/// structure, as far as that matters.
pub(super) fn decide(settings: &Settings, by_header: bool, entity: Option<&Entity>, kept: &Kept) -> Answer<()> {
    let answer = match entity {
        Some(entity) if entity.boundary.is_some() => in_multipart(settings, by_header, entity, kept),
        Some(entity) => by_itself(settings, by_header, entity, kept),
        None if by_header => Answer::Yes(()),
        None => Answer::No,
    };
    match answer {
        Answer::No => Answer::No,
        undecided_or_yes => match fits_in_size(settings, kept) {
            Answer::Yes(()) => undecided_or_yes,
            otherwise => otherwise,
        },
    }
}

/// True if the body is not larger than the setting. Not known before its end.
fn fits_in_size(settings: &Settings, kept: &Kept) -> Answer<()> {
    match settings.calendaring_max_size {
        None => Answer::Yes(()),
        Some(most) if kept.bytes.len() > most => Answer::No,
        Some(_) if kept.complete => Answer::Yes(()),
        Some(_) => kept.used_up(),
    }
}

/// A message that is no multipart.
fn by_itself(settings: &Settings, by_header: bool, entity: &Entity, kept: &Kept) -> Answer<()> {
    if settings.calendaring_alone && is_extra(entity, "") {
        return Answer::No;
    }
    if by_header {
        return Answer::Yes(());
    }
    judge_part(settings, entity, kept.bytes, kept.complete, kept)
}

/// A message whose parts must be looked at. Once a meeting part is found, only `calendaring_alone` makes the rest
/// matter.
fn in_multipart(settings: &Settings, by_header: bool, entity: &Entity, kept: &Kept) -> Answer<()> {
    let mut found = by_header;
    let mut before = Vec::new();
    let mut walker = Walker::new(entity, kept);
    loop {
        if found && !settings.calendaring_alone {
            return Answer::Yes(());
        }
        let part = match walker.step() {
            Ok(Step::Part(part)) => part,
            Ok(Step::UsedUp) => return kept.used_up(),
            Ok(Step::End) if found => return Answer::Yes(()),
            Ok(Step::End) | Err(Defect) => return Answer::No,
        };
        if part.entity.boundary.is_some() {
            continue;
        }
        if settings.calendaring_alone && is_extra(&part.entity, &part.parent) {
            return Answer::No;
        }
        if found {
            continue;
        }
        match judge_part(settings, &part.entity, part.content, part.ended, kept) {
            Answer::Yes(()) if is_sound(&before, &part, kept) => found = true,
            Answer::Yes(()) => return Answer::No,
            Answer::Open => return Answer::Open,
            // This part does not make it calendaring; a later one may.
            Answer::No => before.push(part),
        }
    }
}

/// True if everything before the deciding part is without defect, too.
fn is_sound(before: &[Part], deciding: &Part, kept: &Kept) -> bool {
    check_bytes(&kept.bytes[..deciding.start]).is_ok()
        && before.iter().all(|part| part.entity.decode(part.content, false).is_ok())
}

/// True if one part is a meeting request or response. `ended` says that `content` is the whole of it.
///
/// A part counts when it was read whole, so that a defect or a METHOD at its end counts, too. Only where the limit cuts
/// it off, what was read decides: a calendar whose properties were all read, that is, one in which a component has
/// begun.
fn judge_part(settings: &Settings, entity: &Entity, content: &[u8], ended: bool, kept: &Kept) -> Answer<()> {
    let is_tnef = settings.lenient_calendaring && is_tnef(&entity.media_type);
    let is_calendar = entity.media_type == "text/calendar" && method_allows(settings, entity);
    if !is_tnef && !is_calendar {
        return Answer::No;
    }
    if !ended && !kept.cut {
        // A whole body that ends inside a part is truncated.
        return kept.used_up();
    }
    let Ok(content) = entity.decode(content, !ended) else { return Answer::No };
    let is_meeting = if is_tnef {
        tnef::is_meeting(&content)
    } else {
        check_bytes(&content).is_ok() && is_meeting_calendar(&content, !ended, entity.methods.is_empty())
    };
    if is_meeting { Answer::Yes(()) } else { Answer::No }
}

/// True if the method outside is one of a meeting; if there is none, that is left to the calendar where lenient.
fn method_allows(settings: &Settings, entity: &Entity) -> bool {
    let all_fit = entity.methods.iter().all(|method| is_meeting_method(method.as_bytes()));
    all_fit && (settings.lenient_calendaring || !entity.methods.is_empty())
}

fn is_meeting_calendar(text: &[u8], cut: bool, needs_method: bool) -> bool {
    let scan = calendar::scan(text, cut);
    scan.is_calendar && !scan.has_other_method && (scan.has_method || !needs_method) && (scan.has_component || !cut)
}

fn is_tnef(media_type: &str) -> bool {
    matches!(media_type, "application/ms-tnef" | "application/vnd.ms-tnef")
}

/// True if a part is something else than the meeting, its description, and what belongs to these: signatures, and
/// pictures of a formatted description. TNEF may hold anything; what stands in a digest are messages.
fn is_extra(entity: &Entity, parent: &str) -> bool {
    match entity.media_type.as_str() {
        "text/calendar" | "application/ics" => false,
        "text/plain" | "text/html" => entity.is_file || parent == "multipart/digest",
        "application/pkcs7-signature" | "application/x-pkcs7-signature" | "application/pgp-signature" => {
            parent != "multipart/signed"
        }
        other => !(other.starts_with("image/") && parent == "multipart/related"),
    }
}
