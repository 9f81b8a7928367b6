//! A question of Sendmail's: a netstring of the map's name, a space and the key, which the rules make of queue id, sender
//! and domain with a bar between them.
//!
//! A sender or a domain can have bars of its own. So the queue id, which is Sendmail's alone, comes first, and of what
//! follows every reading counts as the sender: whoever is in scope cannot hide behind an odd address.

use std::fmt;

use memchr::memchr;

use crate::routing::{MAP, Query};

/// Longest question, in bytes. Sendmail's addresses have up to 256 (`MAXNAME`).
pub const MAX_QUESTION: usize = 4096;

/// Most bars among sender and domain that are made sense of.
const MAX_BARS: usize = 32;

/// Why something is no question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// It does not end.
    Incomplete,
    /// It is longer than any question.
    TooLong,
    /// It is no netstring.
    NoNetstring,
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Incomplete => "the question does not end",
            Self::TooLong => "the question is too long",
            Self::NoNetstring => "it is no netstring",
        })
    }
}

/// The netstring at the beginning of the input, and the length of all of it; `None` if more must come.
///
/// # Errors
/// If no netstring of a question can come of it.
pub fn netstring(input: &[u8]) -> Result<Option<(&[u8], usize)>, Malformed> {
    /// Digits of [`MAX_QUESTION`].
    const MAX_DIGITS: usize = 4;
    let digits = input.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match input.get(digits) {
        _ if digits > MAX_DIGITS => return Err(Malformed::TooLong),
        None => return Ok(None),
        Some(b':') if digits == 1 || (digits > 1 && input[0] != b'0') => {}
        Some(_) => return Err(Malformed::NoNetstring),
    }
    let length = input[..digits].iter().fold(0, |length, digit| 10 * length + usize::from(digit - b'0'));
    if length > MAX_QUESTION {
        return Err(Malformed::TooLong);
    }
    let begin = digits + 1;
    match input.get(begin + length) {
        None => Ok(None),
        Some(b',') => Ok(Some((&input[begin..begin + length], begin + length + 1))),
        Some(_) => Err(Malformed::NoNetstring),
    }
}

/// Reads a question for our map.
///
/// # Errors
/// Why it is none of the rules' questions, for the mail server's log.
pub fn query(question: &[u8]) -> Result<Query, &'static str> {
    let space = memchr(b' ', question).ok_or("the question has no key")?;
    let (map, key) = question.split_at(space);
    if map != MAP.as_bytes() {
        return Err("there is no such map");
    }
    let key = String::from_utf8_lossy(&key[1..]);
    let (queue_id, rest) = key.split_once('|').ok_or("the key has no queue id")?;
    let (sender, domain) = rest.rsplit_once('|').ok_or("the key has no sender")?;
    let bars = sender.match_indices('|');
    if bars.clone().count() > MAX_BARS {
        return Err("the key has too many bars");
    }
    let prefixes = bars.map(|(bar, _)| sender[..bar].trim().to_owned());
    let senders: Vec<String> = prefixes.chain([sender.trim().to_owned()]).collect();
    // With bars about, it may be the end of another.
    let domain = (senders.len() == 1).then(|| domain.trim().to_owned());
    Ok(Query { queue_id: queue_id.trim().to_owned(), senders, domain })
}
