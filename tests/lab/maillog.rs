//! What a mail server's log says about one message: recipients, deliveries, and whether it is done.

pub mod postfix;
pub mod sendmail;

/// The last thing that happened to one recipient of one queue file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Recipient after alias expansion.
    pub to: String,
    /// `sent`, `deferred`, `bounced`, `expired` …
    pub status: String,
    /// What the next hop or the delivery agent said.
    pub text: String,
    /// Queue id under which the same server, or another one of the host, has taken the copy.
    pub queued_as: Option<String>,
}

/// One queue file, from acceptance to removal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueFile {
    /// Its queue id.
    pub id: String,
    /// How many recipients it has after alias expansion; 0 as long as that is unknown.
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
    /// True when every recipient was delivered, bounced or tried in vain, or the message is on hold.
    pub fn settled(&self) -> bool {
        self.removed || self.held || self.discarded || (self.recipients > 0 && self.deliveries.len() >= self.recipients)
    }
}
