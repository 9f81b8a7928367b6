//! What the administrator should know: where the site's present configuration and ours meet.

use super::{Cf, MILTER, Request, rules};

/// All notes, the weightiest first.
pub fn notes(request: &Request<'_>, site: &Cf, names: &rules::Names) -> Vec<String> {
    let existing = request.existing;
    let mut notes = Vec::new();
    if names.socketmap.is_none() {
        notes.push(
            "socketmap.socket is not set, so that Sendmail does not ask where mail goes that bears no mark: what aliases, \
             .forward files and sendmail(1) as root send to other domains goes past the relay, whoever sent it."
                .to_owned(),
        );
    }
    if !existing.is_known() {
        notes.push(
            "Nothing is known of Sendmail's present configuration: what stands here is for one without access_db, \
             certificates and other milters."
                .to_owned(),
        );
        return notes;
    }
    if let Some(Err(error)) = &existing.site {
        notes.push(format!("What the site has is taken from sendmail.cf, for m4 makes none of sendmail.mc: {error}"));
    }
    let relay = names.relay.trim_matches(['[', ']']);
    if let Some(smart_host) = site.letter('S').filter(|host| is_host(host, relay))
        && names.direct.is_none()
    {
        notes.push(format!(
            "SMART_HOST is {smart_host}, the relay: mail that is not for the relay would go there too. Take SMART_HOST out \
             of sendmail.mc, or set direct.next_hop."
        ));
    }
    if !request.config.relay.networks.is_empty() && site.option("ServerCertFile").is_none_or(str::is_empty) {
        notes.push(
            "The SMTP server offers no TLS, so the relay cannot deliver: it is refused without. Define confSERVER_CERT and \
             confSERVER_KEY in sendmail.mc."
                .to_owned(),
        );
    }
    let milters = site.option("InputMailFilters").unwrap_or_default();
    let others: Vec<&str> =
        milters.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != MILTER).collect();
    if !others.is_empty() {
        notes.push(format!(
            "The milter comes before {}: what signs must sign the message as it leaves.",
            others.join(", ")
        ));
    }
    if existing.program.as_ref().is_some_and(|program| program.release() < (8, 18)) {
        notes.push(
            "Sendmail before 8.18 can be made to take one message for two (CVE-2023-51765), and the second would inherit the \
             relay's trust, unless the distribution has mended it. Install its updates."
                .to_owned(),
        );
    }
    notes
}

/// True if a smart host is this host, whatever mailer and brackets are written with it.
fn is_host(written: &str, host: &str) -> bool {
    let written = written.rsplit(':').next().unwrap_or(written);
    written.trim_matches(['[', ']']).trim_end_matches('.').eq_ignore_ascii_case(host)
}
