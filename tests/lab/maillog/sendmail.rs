//! Sendmail's log, as `-D FILE -d89.8` writes it: lines without time and process.

use super::{Delivery, QueueFile};
use conbool_milter::verdict::{DIRECT_PSEUDO_DOMAIN, RELAY_PSEUDO_DOMAIN};

/// Collects the lines about one queue id. `queue_file` is what is in the queue of it, if it is there still.
pub fn find(log: &str, id: &str, queue_file: Option<&str>) -> QueueFile {
    let mut file = QueueFile { id: id.to_owned(), ..QueueFile::default() };
    let mut waiting: Vec<String> = queue_file.map(recipients).unwrap_or_default();
    for rest in about(log, id) {
        if rest.starts_with("done; ") {
            file.removed = true;
        } else if rest.contains("quarantine=") {
            file.held = true;
        } else if rest == "Milter: data, discard" {
            file.discarded = true;
        } else if let Some((alias, members)) = alias(rest) {
            waiting.retain(|recipient| *recipient != alias);
            waiting.extend(members);
        }
        for delivery in deliveries(rest) {
            file.deliveries.retain(|earlier| earlier.to != delivery.to);
            file.deliveries.push(delivery);
        }
    }
    waiting.retain(|recipient| !file.deliveries.iter().any(|delivery| delivery.to == *recipient));
    file.recipients = file.deliveries.len() + waiting.len();
    file
}

/// Queue ids of the messages with this Message-ID that the MTA, not the submission program, has taken.
pub fn by_message_id(log: &str, message_id: &str) -> Vec<String> {
    let mark = format!(", msgid={message_id}, ");
    let of_mta = |line: &&str| line.contains(&mark) && line.contains(", daemon=");
    log.lines().filter(of_mta).filter_map(|line| Some(line.split_once(": ")?.0.to_owned())).collect()
}

fn about<'a>(log: &'a str, id: &str) -> impl Iterator<Item = &'a str> {
    let mark = format!("{id}: ");
    log.lines().filter_map(move |line| line.strip_prefix(&mark))
}

/// The recipients in a queue file, which are left to try: lines `R`, flags, colon and address.
fn recipients(queue_file: &str) -> Vec<String> {
    let recipient = |line: &str| Some(clean(line.strip_prefix('R')?.split_once(':')?.1));
    queue_file.lines().filter_map(recipient).collect()
}

/// `alias <name> => address, address`.
fn alias(text: &str) -> Option<(String, Vec<String>)> {
    let (name, members) = text.strip_prefix("alias ")?.split_once(" => ")?;
    Some((clean(name), members.split(", ").map(clean).collect()))
}

/// One for each recipient of a line `to=address,address, …, dsn=2.0.0, reply=…, stat=Sent (…)`.
fn deliveries(text: &str) -> Vec<Delivery> {
    let line = || {
        let (to, rest) = text.strip_prefix("to=")?.split_once(", ")?;
        let (_, text) = rest.split_once(", dsn=")?;
        Some((to, text, text.split_once("stat=")?.1))
    };
    let Some((to, text, stat)) = line() else { return Vec::new() };
    let status = match stat.split([' ', ':']).next() {
        Some("Sent") => "sent",
        Some("queued") => return Vec::new(),
        _ if text.starts_with('4') => "deferred",
        _ => "bounced",
    };
    to.split(',')
        .map(|to| Delivery { to: clean(to), status: status.to_owned(), text: text.to_owned(), queued_as: None })
        .collect()
}

/// An address as the recipient's, without the milter's mark for the rules in sendmail.cf.
fn clean(address: &str) -> String {
    let address = address.trim_start_matches('<').trim_end_matches('>');
    let unmarked = [RELAY_PSEUDO_DOMAIN, DIRECT_PSEUDO_DOMAIN]
        .into_iter()
        .find_map(|mark| address.strip_suffix(mark)?.strip_suffix('.'));
    unmarked.unwrap_or(address).to_owned()
}
