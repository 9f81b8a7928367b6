//! The verdicts on messages by which `doctor --probe` tries the whole path, kept for whoever asks for the status.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::status::ProbeStatus;

/// How the Message-ID of such a message begins. Anybody can write one: it is kept, and means nothing else.
pub const PROBE: &str = "conbool-probe.";

/// So many are kept, the latest.
const KEPT: usize = 16;

static PROBES: Mutex<VecDeque<ProbeStatus>> = Mutex::new(VecDeque::new());

/// True for the Message-ID of a probe.
pub fn is_probe(message_id: &str) -> bool {
    message_id.trim_start_matches('<').starts_with(PROBE)
}

/// Keeps a verdict.
pub fn keep(probe: ProbeStatus) {
    let mut probes = PROBES.lock().unwrap_or_else(PoisonError::into_inner);
    if probes.len() == KEPT {
        probes.pop_front();
    }
    probes.push_back(probe);
}

/// The verdicts kept, the oldest first.
pub fn kept() -> Vec<ProbeStatus> {
    PROBES.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}
