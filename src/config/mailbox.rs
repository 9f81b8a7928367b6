//! Section `[mailbox]`.

use super::reader::Reader;

/// Where spam is filed, if `mailbox.spam_folder` does not name another: the folder of the guides.
pub const DEFAULT_SPAM_FOLDER: &str = "Spam";

/// The longest name of a mailbox, in octets: far more than clients can show, and what one `set` of a Sieve script takes
/// for certain (RFC 5229, section 6: a variable holds at least 4000 characters).
const NAME_MAX: usize = 1000;

/// What the script at the mailboxes does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// `mailbox.spam_folder`: the mailbox that flagged mail is filed into, UTF-8, with the mail store's own hierarchy
    /// separator; default `"Spam"`, at most 1000 octets.
    pub spam_folder: String,
}

/// Asks for every key of the section.
pub fn read(reader: &mut Reader) -> Mailbox {
    let folder = reader.string("mailbox.spam_folder", r#""Spam""#, mailbox_name);
    Mailbox { spam_folder: folder.unwrap_or_else(|| DEFAULT_SPAM_FOLDER.into()) }
}

/// The name of a mailbox (RFC 9051, section 5.1): any text without control characters and line separators.
fn mailbox_name(written: &str) -> Result<String, String> {
    if written.trim().is_empty() {
        Err("is empty; write the name of a folder, such as \"Spam\"".into())
    } else if written.chars().any(|letter| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}')) {
        Err("has a control character, which no folder's name can have; remove it".into())
    } else if written.len() > NAME_MAX {
        Err(format!("has more than {NAME_MAX} octets; write a shorter name"))
    } else if written.eq_ignore_ascii_case("INBOX") {
        Err("is where all other mail goes; write the folder for spam".into())
    } else {
        Ok(written.to_owned())
    }
}
