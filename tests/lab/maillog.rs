//! What Postfix's log says about one message: recipients, deliveries, and whether it is done.

/// The last thing that happened to one recipient of one queue file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Recipient after alias expansion.
    pub to: String,
    /// `sent`, `deferred`, `bounced`, `expired` …
    pub status: String,
    /// What the next hop or the delivery agent said.
    pub text: String,
}

/// One queue file, from acceptance to removal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueFile {
    /// Its queue id.
    pub id: String,
    /// Recipients after alias expansion, as the queue manager counts them.
    pub recipients: usize,
    /// One for each recipient that was tried.
    pub deliveries: Vec<Delivery>,
    /// True once nothing is left to do.
    pub removed: bool,
    /// True if it is held for the administrator.
    pub held: bool,
    /// True if the milter had it thrown away.
    pub discarded: bool,
}

impl QueueFile {
    /// Collects the log lines about one queue id.
    pub fn find(log: &str, id: &str) -> Self {
        let mut file = Self { id: id.to_owned(), ..Self::default() };
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

    /// True when every recipient was delivered, bounced or tried in vain, or the message is on hold.
    pub fn settled(&self) -> bool {
        self.removed || self.held || self.discarded || (self.recipients > 0 && self.deliveries.len() >= self.recipients)
    }
}

impl Delivery {
    /// Queue id under which a Postfix, the same or another, has taken the copy.
    pub fn queued_as(&self) -> Option<&str> {
        let rest = self.text.split_once(" queued as ")?.1;
        (self.status == "sent").then(|| rest.trim_end_matches(')'))
    }
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
    Some(Delivery { to: to.to_owned(), status: status.to_owned(), text: text.to_owned() })
}
