//! Postfix's log.

use super::{Delivery, QueueFile};

/// Collects the lines about one queue id.
pub fn find(log: &str, id: &str) -> QueueFile {
    let mut file = QueueFile { id: id.to_owned(), ..QueueFile::default() };
    for rest in about(log, id) {
        if rest == "removed" {
            file.removed = true;
        } else if rest.starts_with("milter-hold:") {
            file.held = true;
        } else if rest.starts_with("milter-discard:") {
            file.discarded = true;
        } else if let Some(count) = rest.starts_with("from=").then(|| field(rest, "nrcpt=")).flatten() {
            let digits = count.split(' ').next().unwrap_or_default();
            file.recipients = digits.parse().unwrap_or_default();
        } else if let Some(delivery) = delivery(rest) {
            file.deliveries.retain(|earlier| earlier.to != delivery.to);
            file.deliveries.push(delivery);
        }
    }
    file
}

/// Queue ids of the messages with this Message-ID.
pub fn by_message_id(log: &str, message_id: &str) -> Vec<String> {
    let end = format!(": message-id={message_id}");
    let id = |line: &str| Some(line.strip_suffix(&end)?.rsplit(' ').next()?.to_owned());
    log.lines().filter_map(id).collect()
}

fn about<'a>(log: &'a str, id: &str) -> impl Iterator<Item = &'a str> {
    let mark = format!("]: {id}: ");
    log.lines().filter_map(move |line| line.split_once(&mark).map(|(_, rest)| rest))
}

fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let rest = text.split_once(&format!(", {key}"))?.1;
    Some(rest.split(", ").next().unwrap_or(rest))
}

fn delivery(text: &str) -> Option<Delivery> {
    let to = text.strip_prefix("to=<")?.split_once(">, ")?.0;
    let (status, text) = text.split_once(", status=")?.1.split_once(' ')?;
    let queued_as = text.split_once(" queued as ").filter(|_| status == "sent");
    let queued_as = queued_as.map(|(_, id)| id.trim_end_matches(')').to_owned());
    Some(Delivery { to: to.to_owned(), status: status.to_owned(), text: text.to_owned(), queued_as })
}
