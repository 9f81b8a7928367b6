//! What of a verdict is carried out, and what is only watched.

use crate::verdict::{Disposition, Mode, Peer, Route, Spam, Verdict};

/// The mode of the whole, and of single effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modes {
    /// Of everything: if it is monitored, no message is changed, refused or routed.
    pub whole: Mode,
    /// Of routes.
    pub routing: Mode,
    /// Of `X-Spam-Flag` and the other spam marks.
    pub spam: Mode,
}

impl Modes {
    /// Everything is carried out.
    pub const ENFORCE: Self = Self { whole: Mode::Enforce, routing: Mode::Enforce, spam: Mode::Enforce };

    /// Whether mail is sent to the relay, or past it where the relay would be the default.
    pub fn routes(&self) -> bool {
        self.whole == Mode::Enforce && self.routing == Mode::Enforce
    }

    /// Whether spam marks are set and removed.
    pub fn marks_spam(&self) -> bool {
        self.whole == Mode::Enforce && self.spam == Mode::Enforce
    }

    /// Takes out of a verdict what is only watched, the spam marks excepted, and remembers in it what it was.
    ///
    /// `enforced` is the verdict that carries out everything.
    pub fn watch(&self, mut done: Verdict, enforced: Verdict) -> Verdict {
        if self.whole == Mode::Monitor {
            done.disposition = Disposition::Continue;
            done.spam = Spam::None;
            done.edits = Vec::new();
            done.mode = Mode::Monitor;
        }
        // What the relay hands back stays on its way in every mode: if the mail server has a sender table all the same,
        // it would send the message to the relay again, and so forth.
        let handed_back = done.peer == Peer::Relay && done.route == Route::Direct;
        if !self.routes() && !handed_back {
            done.route = Route::Direct;
            // In monitor mode there is no sender table.
            done.sender_table_route = Some(Route::Direct);
        }
        if (done.route, done.sender_table_route) != (enforced.route, enforced.sender_table_route)
            || done.edits != enforced.edits
            || done.disposition != enforced.disposition
        {
            done.mode = Mode::Monitor;
            done.would = Some(Box::new(enforced));
        }
        done
    }
}
