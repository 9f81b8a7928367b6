//! A verdict as milter actions and the final reply.

use std::ffi::CString;

use indymilter::{ActionError, ContextActions, EomActions, SetErrorReply, SmtpReply, Status};

use super::marking::Mark;
use crate::verdict::{Disposition, HeaderEdit, ROUTE_FIELD, Reply, Verdict};

/// What was agreed with the mail server about how to say things.
#[derive(Debug, Clone, Copy)]
pub struct Rendering<'a> {
    /// Header values carry their leading space.
    pub leading_space: bool,
    /// How the mail server is told of the route.
    pub route: RouteMarks<'a>,
}

/// How a mail server is told of a message's route.
#[derive(Debug, Clone, Copy)]
pub enum RouteMarks<'a> {
    /// Postfix: by a field.
    Field,
    /// Sendmail: by its recipients.
    Recipients(&'a [Mark]),
}

impl Rendering<'_> {
    /// Sends the edits, and returns the reply that ends the message.
    ///
    /// # Errors
    /// When the mail server does not take them.
    pub async fn carry_out(
        self,
        verdict: &Verdict,
        actions: &EomActions,
        reply: &mut SmtpReply,
    ) -> Result<Status, ActionError> {
        Ok(match &verdict.disposition {
            Disposition::Tempfail(text) => refuse(reply, text, Status::Tempfail),
            Disposition::Reject(text) => refuse(reply, text, Status::Reject),
            Disposition::Discard => Status::Discard,
            Disposition::Continue | Disposition::Quarantine(_) => {
                self.edit(verdict, actions).await?;
                Status::Continue
            }
        })
    }

    async fn edit(self, verdict: &Verdict, actions: &EomActions) -> Result<(), ActionError> {
        // The mark last: behind a content filter Postfix makes a field of it that must not be taken for a forged one of
        // that name, nor be counted among them.
        let mark = match self.route {
            RouteMarks::Field => route_mark(verdict),
            RouteMarks::Recipients(marks) => {
                replace_recipients(marks, actions).await?;
                Vec::new()
            }
        };
        for edit in verdict.edits.iter().chain(&mark) {
            match edit {
                HeaderEdit::Delete { name, index } => {
                    let index = i32::try_from(*index).unwrap_or(i32::MAX);
                    actions.change_header(text(name), index, None::<CString>).await?;
                }
                HeaderEdit::Add { name, value } => actions.add_header(text(name), self.value(value)).await?,
                HeaderEdit::Insert { name, value } => actions.insert_header(0, text(name), self.value(value)).await?,
            }
        }
        if let Disposition::Quarantine(why) = &verdict.disposition {
            actions.quarantine(text(why)).await?;
        }
        Ok(())
    }

    fn value(self, value: &str) -> CString {
        if self.leading_space { text(&format!(" {value}")) } else { text(value) }
    }
}

/// Replaces recipients. All are deleted first: Sendmail, which deletes by where an address leads, would take a mark for its
/// recipient; and one that it is given before the recipient is gone, it takes for a double of it.
async fn replace_recipients(marks: &[Mark], actions: &EomActions) -> Result<(), ActionError> {
    for mark in marks {
        actions.delete_recipient(mark.argument.clone()).await?;
    }
    for (address, parameters) in marks.iter().filter_map(|mark| mark.replacement.clone()) {
        actions.add_recipient_ext(address, parameters).await?;
    }
    Ok(())
}

/// The field that makes Postfix's `milter_header_checks` route a message other than its sender table would. Postfix
/// acts on it when it is inserted; deleting it in the same breath keeps it out of the message. It is inserted before
/// any field of that name that came with the message, so that the deletion always hits ours.
fn route_mark(verdict: &Verdict) -> Vec<HeaderEdit> {
    if verdict.sender_table_route == Some(verdict.route) {
        return Vec::new();
    }
    vec![
        HeaderEdit::Insert { name: ROUTE_FIELD.into(), value: verdict.route.name().into() },
        HeaderEdit::Delete { name: ROUTE_FIELD.into(), index: 1 },
    ]
}

/// Sets the reply that goes with a status.
pub fn refuse(reply: &mut SmtpReply, text: &Reply, status: Status) -> Status {
    // Doubled as libmilter's smfi_setreply() wants it: Postfix and Sendmail make one % of two.
    let line = self::text(&text.text.replace('%', "%%"));
    // Without a text of ours the mail server says 451 4.7.1 or 550 5.7.1, which is right too.
    let _ = reply.set_error_reply(text.code, Some(text.enhanced), [line]);
    status
}

/// Text for the protocol, in which NUL ends a string.
fn text(text: &str) -> CString {
    CString::new(text.replace('\0', "")).unwrap_or_default()
}
