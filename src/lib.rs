//! conbool-milter: a milter that puts a cloud e-mail security service behind a company's own mail server.
//!
//! # One idea
//!
//! A message becomes a [`Case`](case::Case), one pure function judges it, a [`Verdict`](verdict::Verdict) comes out,
//! and the door it came in by carries the verdict out:
//!
//! ```text
//!   mail server's bytes → door → Case → judge ─ trust, scope, headers, kind ─→ rules (Sieve) → Verdict → the same door
//! ```
//!
//! Mechanism is Rust, policy is Sieve, delivery is the mail server's: the daemon holds no queue and sends no mail.
//!
//! What the design must never do decides wherever two ways are possible:
//!
//! - *Lose or double mail.* Every failure is a temporary error to the client, which still has the message.
//! - *Let a message of a sender in scope pass the relay because something failed.* The sender table in Postfix sends
//!   such mail to the relay with no help of ours; an exemption has to be said, message by message, and whatever gets
//!   lost on the way leaves the message on the relay.
//! - *Believe a header that anybody but the relay can write.* Trust is decided first, from the connection alone;
//!   forged fields are facts from then on, and no script can change that.
//! - *Touch a body, or re-fold a field that was not to be changed*, because signatures (DKIM) must survive.
//!
//! # The rooms
//!
//! Imports point down this list only, which `tests/layers.rs` checks; rooms on one line do not know each other.
//!
//! | room | what it is for |
//! |---|---|
//! | `main.rs`, [`cli`] | arguments; one file a subcommand. `cli::explain` is the offline door |
//! | [`server`] | composition root: sockets, accepting, worker threads, drain, watchdog; the telemetry door's own thread |
//! | [`milter`], [`policyd`], [`socketmap`], [`mta`], [`probe`], [`site`] | the milter door; the doors for Postfix's policy delegation and for what Sendmail asks; what each mail server needs to be told; what `doctor` asks others: name servers, the relay, a milter; loading a site |
//! | [`questions`], [`routing`], [`sources`] | a connection of questions and answers; where the transactions of Sendmail go; where the addresses of the scopes come from: list files, groups, snapshots |
//! | [`dns`], [`directory`], [`telemetry`], [`provider`] | the watch over MX hosts; who is in a group (LDAP); logs, metrics and status, one vocabulary; a provider is a folder |
//! | [`config`] | TOML in, checked plain values out, every mistake at once |
//! | [`judge`] | the one pipeline: `Case` in, `Verdict` out; no I/O, no clock |
//! | [`headers`], [`kind`], [`lock_down`], [`rules`], [`scope`], [`trust`] | marker fields and edits; what a message is; whom strangers may write to; the scripts; whose mail is the relay's; who the peer is |
//! | [`address`], [`case`], [`finding`], [`verdict`] | data |
//!
//! One decision cannot wait for the whole message: whom a stranger may write to. Both doors ask [`judge::locked`] at
//! RCPT, and [`judge::judge`] asks the same again, for sessions in which recipients can no more be refused one by one.
//!
//! A door only translates: nothing from [`judge`] down knows a milter, a socket or tokio. Logs, metrics, SMTP replies
//! and `explain` are all made from the verdict and from nothing else, so that they cannot disagree.
//!
//! # Six decisions worth knowing
//!
//! *How a script says relay or direct.* By a keyword (RFC 5232), `addflag "direct:calendaring"`: standard Sieve, with
//! the reason in the same word. Each exemption is a keyword of its own, so that a site's script can take back one of the
//! provider's without touching the others; the relay wins where both are asked for.
//!
//! *How a verdict reaches Postfix.* The milter marks a message only where the verdict differs from what the sender
//! table does anyway, by a field that `milter_header_checks` acts on and that is deleted in the same breath. The table
//! may be behind, or spell an address otherwise: then [`Verdict::sender_table_route`](verdict::Verdict) is unknown and
//! the message is always marked. What is certain of it, [`scope::SenderTable`] knows, from what [`mta::postfix`] wrote
//! into it or found in it.
//!
//! *How a verdict reaches Sendmail.* As a pseudo-domain at the recipient's address, which rules in sendmail.cf turn into
//! the relay's mailer ([`mta::sendmail`]), and which stands in the queue file wherever the way is not the sender's. Every
//! address that carries none, as those of aliases do, which the milter never sees, Sendmail asks for through a socketmap;
//! the answers come from [`routing`], the memory that both doors share: by the sender until there is a verdict, by the
//! verdict from then on.
//!
//! *How setup changes files.* As one transaction, [`mta::change`]: the new contents lie complete beside the old ones before
//! the first file changes, the back-up is the journal, and whatever fails, or is killed, ends with everything as it was. The
//! new main.cf is made by Postfix's own postconf on a copy. `doctor` compares with what the same generator gives.
//!
//! *What a message costs in metrics.* Each event is one function in [`telemetry`], which adds to counters of its own;
//! only when Prometheus or `status` asks are metrics and a [`Status`](telemetry::status::Status) made of them. Label
//! values that a sender could make up are counted together.
//!
//! *Why each worker has a runtime of its own.* Each connection lives on one thread ([`server`]); with few messages a
//! second, the multi-thread runtime spends more on waking threads than judging costs. `benches/README.md` has figures.

pub mod address;
pub mod case;
pub mod cli;
pub mod config;
pub mod directory;
pub mod dns;
pub mod finding;
pub mod headers;
pub mod judge;
pub mod kind;
pub mod lock_down;
pub mod milter;
pub mod mta;
pub mod policyd;
pub mod probe;
pub mod provider;
pub mod questions;
pub mod routing;
pub mod rules;
pub mod scope;
pub mod server;
pub mod site;
pub mod socketmap;
pub mod sources;
pub mod telemetry;
pub mod trust;
pub mod verdict;
