//! How Sendmail is told where a message's recipients go: each is replaced (SMFIR_DELRCPT, SMFIR_ADDRCPT_PAR) by itself
//! below a pseudo-domain, which a rule in sendmail.cf takes off again while it chooses the way.
//!
//! Whatever Sendmail cannot parse of what a milter adds, it drops, and takes the message all the same. So only what it is
//! sure to take is sent (sendmail/milter.c, `milter_addrcpt_par`; parseaddr.c; srvrsmtp.c, `rcpt_esmtp_args`).

use std::collections::HashSet;
use std::ffi::{CStr, CString};

use super::recipients::{Recipient, Recipients, is_of};
use super::session::{self, FromSendmail, Message};
use super::xtext;
use crate::judge::Site;
use crate::verdict::{DIRECT_PSEUDO_DOMAIN, Disposition, Peer, RELAY_PSEUDO_DOMAIN, Reason, Reply, Route, Verdict};

/// The longest address that Sendmail takes, angle brackets included, in octets (`MAXNAME` less one). It counts what is
/// not ASCII twice.
const MAX_ADDRESS: usize = 255;

/// The longest ORCPT parameter (RFC 3461, 4.2), in octets.
const MAX_ORCPT: usize = 500;

/// The label below which address literals stand: they cannot stand below a domain.
const LITERAL_LABEL: &str = "lit";

/// One recipient's replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The recipient as Sendmail knows it.
    pub argument: CString,
    /// What takes its place, with its ESMTP parameters; `None`: another recipient's mark is the same.
    pub replacement: Option<(CString, Option<CString>)>,
}

/// What carries out the route of a verdict on a message from Sendmail: the marks, none if it goes there by itself.
///
/// A recipient that cannot be marked stays as it is where the relay, which is safe, is the worst that can happen to it. Any
/// other must neither be lost nor pass the relay, and the message is refused for good; the verdict says so then. So it is
/// with one whose client wrote a mark by itself.
pub fn carry_out(verdict: &mut Verdict, message: &Message, sendmail: &FromSendmail) -> Vec<Mark> {
    let goes_on = matches!(verdict.disposition, Disposition::Continue | Disposition::Quarantine(_));
    if !goes_on || !message.site.modes.routes() {
        return Vec::new();
    }
    let by_sender = sendmail.transaction.by_sender();
    let written = sendmail.recipients.iter().find(|recipient| names_a_pseudo_domain(&recipient.argument));
    if let Some(recipient) = written {
        refuse(verdict, "pseudo-domain", "is in a domain that nobody may write to", recipient);
        return Vec::new();
    }
    if let Some(reply) = not_handed_back(message, &sendmail.recipients) {
        verdict.reasons.insert(0, Reason::own("not-handed-back", reply.text.clone()));
        refuse_with(verdict, Disposition::Reject(reply));
        return Vec::new();
    }
    if (verdict.route, by_sender) == (Route::Direct, Route::Direct) {
        return Vec::new();
    }
    let (marks, unmarkable) = marks(&sendmail.recipients, verdict.route, &message.site, message.case.host.as_deref());
    // On its way to the relay instead, which is safe. What the relay hands back would go round in circles.
    let may_stay = verdict.route == Route::Direct && verdict.peer != Peer::Relay;
    if let Some(recipient) = unmarkable.first().filter(|_| !may_stay) {
        refuse(
            verdict,
            "unroutable-recipient",
            "is too long, or not in the form, for the way that its mail has to go",
            recipient,
        );
        return Vec::new();
    }
    marks
}

/// Makes a verdict one that refuses the message, for the sake of a recipient: for good, or for now if Sendmail has not said
/// what it makes of its address, as in a session that began before a reload.
fn refuse(verdict: &mut Verdict, name: &'static str, what: &str, recipient: &Recipient) {
    const MAX_SHOWN: usize = 200;
    let shown: String = recipient.argument.to_string_lossy().chars().filter(|letter| !letter.is_control()).collect();
    let text = format!("Recipient {} {what}", &shown[..shown.floor_char_boundary(MAX_SHOWN)]);
    verdict.reasons.insert(0, Reason::own(name, text.clone()));
    let refusal = if recipient.address().is_empty() {
        Disposition::Tempfail(Reply { code: "451", enhanced: "4.3.0", text })
    } else {
        Disposition::Reject(Reply { code: "553", enhanced: "5.1.3", text })
    };
    refuse_with(verdict, refusal);
}

fn refuse_with(verdict: &mut Verdict, refusal: Disposition) {
    verdict.disposition = refusal;
    verdict.edits = Vec::new();
    verdict.would = None;
}

/// The reply to a message for somebody whom the relay may not reach through this host, where recipients could not be refused
/// one by one.
fn not_handed_back(message: &Message, recipients: &Recipients) -> Option<Reply> {
    let case = &message.case;
    case.envelope
        .recipients
        .iter()
        .zip(recipients.iter())
        .find_map(|(recipient, told)| session::not_handed_back(&message.site, case, recipient, told))
}

/// The marks that send a message's external recipients this way. Those that cannot be marked come apart.
fn marks<'a>(
    recipients: &'a Recipients,
    route: Route,
    site: &Site,
    host: Option<&str>,
) -> (Vec<Mark>, Vec<&'a Recipient>) {
    let (mut marks, mut unmarkable, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    for recipient in recipients.iter().filter(|recipient| recipient.is_external(site, host)) {
        let Some(address) = marked(recipient.address(), route) else {
            unmarkable.push(recipient);
            continue;
        };
        // Sendmail removes doubles among the client's recipients, not among a milter's.
        let replacement = seen.insert(address.clone()).then(|| (address, parameters(recipient, recipients.has_dsn())));
        marks.push(Mark { argument: recipient.argument.clone(), replacement });
    }
    (marks, unmarkable)
}

/// Whether an argument of RCPT names one of the pseudo-domains, which are nobody's to write: with quotes, backslashes,
/// comments and white space left out, as Sendmail may.
fn names_a_pseudo_domain(argument: &CStr) -> bool {
    let argument = argument.to_string_lossy().to_ascii_lowercase();
    let mut depth = 0_u32;
    let bare: String = argument
        .chars()
        .filter(|character| {
            depth = match character {
                '(' => depth + 1,
                ')' => depth.saturating_sub(1),
                _ => depth,
            };
            depth == 0 && !"\"\\) \t".contains(*character)
        })
        .collect();
    [RELAY_PSEUDO_DOMAIN, DIRECT_PSEUDO_DOMAIN].iter().any(|domain| bare.contains(domain) || argument.contains(domain))
}

fn pseudo_domain(route: Route) -> &'static str {
    match route {
        Route::Relay => RELAY_PSEUDO_DOMAIN,
        Route::Direct => DIRECT_PSEUDO_DOMAIN,
    }
}

/// An address, as rule set 0 gives it, below the pseudo-domain; `None` if Sendmail would not take it, or not as the same.
fn marked(address: &[u8], route: Route) -> Option<CString> {
    let at = address.iter().rposition(|byte| *byte == b'@')?;
    let (local_part, domain) = (&address[..at], &address[at + 1..]);
    if !is_dot_string(local_part) && !is_quoted_string(local_part) {
        return None;
    }
    let pseudo_domain = pseudo_domain(route);
    let mut marked = vec![b'<'];
    marked.extend_from_slice(local_part);
    if is_literal(domain) {
        marked.push(b'%');
        marked.extend_from_slice(domain);
        marked.extend_from_slice(format!("@{LITERAL_LABEL}.{pseudo_domain}>").as_bytes());
    } else {
        let domain = domain.strip_suffix(b".").unwrap_or(domain);
        if !is_domain(domain) || domain.eq_ignore_ascii_case(LITERAL_LABEL.as_bytes()) {
            return None;
        }
        marked.push(b'@');
        marked.extend_from_slice(domain);
        marked.extend_from_slice(format!(".{pseudo_domain}>").as_bytes());
    }
    let length = marked.len() + marked.iter().filter(|byte| !byte.is_ascii()).count();
    if length > MAX_ADDRESS { None } else { CString::new(marked).ok() }
}

/// RFC 5321, 4.1.2, with dots anywhere, as there are such mailboxes, and with the octets of RFC 6531 that Sendmail takes without support for it: not those that it uses
/// itself (sendmail.h, from `MATCHZANY` on).
fn is_dot_string(local_part: &[u8]) -> bool {
    let is_atext = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(byte) || *byte >= 0xa0;
    !local_part.is_empty() && local_part.iter().all(|byte| *byte == b'.' || is_atext(byte))
}

fn is_quoted_string(local_part: &[u8]) -> bool {
    let inner = local_part.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let Some(inner) = inner.filter(|_| local_part.len() > 1) else { return false };
    let mut escaped = false;
    let is_text = inner.iter().all(|byte| {
        let begins_pair = *byte == b'\\' && !escaped;
        let fits = matches!(byte, b' '..=b'~' | 0xa0..) && (escaped || *byte != b'"');
        escaped = begins_pair;
        fits
    });
    is_text && !escaped
}

/// A domain of letters, digits, hyphens and underscores, or of octets as in [`is_dot_string`].
fn is_domain(domain: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte) || *byte >= 0xa0;
    domain.split(|byte| *byte == b'.').all(|label| !label.is_empty() && label.iter().all(fits))
}

/// An address literal (RFC 5321, 4.1.3).
fn is_literal(domain: &[u8]) -> bool {
    let inner = domain.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    inner.is_some_and(|inner| {
        !inner.is_empty() && inner.iter().all(|byte| byte.is_ascii_alphanumeric() || b".:-".contains(byte))
    })
}

/// The ESMTP parameters of a replacement: the client's, and ORCPT, the address that it gave, if it gave none.
fn parameters(recipient: &Recipient, has_dsn: bool) -> Option<CString> {
    if !has_dsn {
        return None;
    }
    let of = |keyword: &str, fits: fn(&[u8]) -> bool| {
        let parameter = recipient.parameters.iter().find(|parameter| is_of(parameter, keyword))?;
        let value = &parameter.to_bytes()[keyword.len() + 1..];
        fits(value).then(|| parameter.to_bytes().to_vec())
    };
    let orcpt = of("ORCPT", is_orcpt).or_else(|| original_recipient(&recipient.argument));
    let parameters: Vec<Vec<u8>> = of("NOTIFY", is_notify).into_iter().chain(orcpt).collect();
    CString::new(parameters.join(&b' ')).ok().filter(|parameters| !parameters.is_empty())
}

/// RFC 3461, 4.1.
fn is_notify(value: &[u8]) -> bool {
    let is = |word: &[u8], known: &str| word.eq_ignore_ascii_case(known.as_bytes());
    let is_event = |word: &[u8]| ["SUCCESS", "FAILURE", "DELAY"].iter().any(|event| is(word, event));
    is(value, "NEVER") || value.split(|byte| *byte == b',').all(is_event)
}

/// RFC 3461, 4.2: a type and an address in xtext.
fn is_orcpt(value: &[u8]) -> bool {
    let mut parts = value.splitn(2, |byte| *byte == b';');
    let (kind, address) = (parts.next().unwrap_or_default(), parts.next());
    let is_atom = !kind.is_empty() && kind.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    is_atom && address.is_some_and(xtext::is_valid)
}

/// The ORCPT parameter that tells the address of a RCPT command's argument. Type rfc822 has ASCII only.
fn original_recipient(argument: &CStr) -> Option<Vec<u8>> {
    let argument = argument.to_bytes();
    let address = argument.strip_prefix(b"<").and_then(|rest| rest.strip_suffix(b">")).unwrap_or(argument);
    let parameter = format!("ORCPT=rfc822;{}", xtext::encode(address));
    (address.is_ascii() && parameter.len() <= MAX_ORCPT).then(|| parameter.into_bytes())
}

#[cfg(test)]
mod tests;
