//! What the administrator should know: where the instance's present settings and ours meet.

use super::list;
use super::{Existing, Names, Request};

/// All notes, the weightiest first.
pub fn notes(request: &Request<'_>, names: &Names) -> Vec<String> {
    let existing = &request.existing;
    let mut notes = Vec::new();
    if !existing.is_known() {
        notes.push(
            "Nothing is known of the instance's present settings. Lists such as smtpd_milters stand here as for a fresh \
             instance: merge them by hand. smtpd_forbid_bare_newline = normalize needs Postfix 3.9, 3.8.5, 3.7.10, \
             3.6.14 or 3.5.24."
                .to_owned(),
        );
    }
    if names.routing.is_some() {
        former_route(request, &mut notes);
        sender_table(request, &mut notes);
        trust_anchors(request, &mut notes);
    }
    if !request.config.relay.networks.is_empty() {
        offered_tls(existing, &mut notes);
    }
    if names.routing.is_some() {
        other_routes(existing, &mut notes);
        content_filter(existing, names, &mut notes);
    }
    milters(existing, names, &mut notes);
    restrictions(existing, names, &mut notes);
    services(existing, &mut notes);
    notes
}

fn former_route(request: &Request<'_>, notes: &mut Vec<String>) {
    let existing = &request.existing;
    if request.config.direct.next_hop.is_some() {
        return;
    }
    if let Some(relayhost) = existing.written("relayhost") {
        notes.push(format!(
            "relayhost = {relayhost} is in use, but exempt mail would go to the recipient's MX. Set direct.next_hop = \
             \"{relayhost}\" to have it go where it went before."
        ));
    }
    for (name, plain) in [("sender_dependent_relayhost_maps", ""), ("default_transport", "smtp")] {
        if let Some(value) = existing.written(name).filter(|value| *value != plain) {
            notes.push(format!(
                "{name} = {value} is in use, but exempt mail goes to the recipient's MX. If that is wrong, set \
                 direct.next_hop."
            ));
        }
    }
    if let Some(value) = existing.written("default_filter_nexthop") {
        notes.push(format!(
            "default_filter_nexthop = {value} would take exempt mail there instead of to the recipient's MX. Clear it, or \
             set direct.next_hop."
        ));
    }
}

/// What Postfix looks up otherwise than the milter judges.
fn sender_table(request: &Request<'_>, notes: &mut Vec<String>) {
    let existing = &request.existing;
    let delimiters = existing.in_force("recipient_delimiter").unwrap_or_default();
    if !request.config.has_static_sender_table() && existing.is_known() && !delimiters.contains('+') {
        notes.push(format!(
            "recipient_delimiter has no + ({delimiters:?}): Postfix does not find alice+tag@ in the sender table where it has alice@, \
             and the milter marks each such message for the relay. Such mail in the queue that loses its mark (postsuper -r) \
             does not go to the relay. Add + to recipient_delimiter if you can."
        ));
    }
}

fn trust_anchors(request: &Request<'_>, notes: &mut Vec<String>) {
    let existing = &request.existing;
    let relay = &request.config.relay;
    let anchored = ["smtp_tls_CAfile", "smtp_tls_CApath"].iter().any(|name| existing.written(name).is_some());
    if relay.ca_file.is_none() && !anchored && existing.ca_bundle().is_none() {
        notes.push(
            "No trust anchors are found on this host, so the relay's certificate cannot be verified and mail for it stays \
             in the queue. Install the CA certificates, or set relay.ca_file."
                .to_owned(),
        );
    }
}

/// What the provider's mail to this host needs.
fn offered_tls(existing: &Existing, notes: &mut Vec<String>) {
    if !existing.is_known() {
        return;
    }
    if !existing.offers_tls() {
        notes.push(
            "The SMTP server offers no TLS, so the relay cannot deliver: it is refused without. Set \
             smtpd_tls_security_level = may and smtpd_tls_chain_files (or smtpd_tls_cert_file and smtpd_tls_key_file)."
                .to_owned(),
        );
    }
}

fn other_routes(existing: &Existing, notes: &mut Vec<String>) {
    if let Some(maps) = existing.written("transport_maps") {
        notes.push(format!(
            "transport_maps = {maps} comes before all sender tables: entries for other sites' domains, or *, take mail past \
             the relay. Domains that are only in there, not in relay_domains, are other sites to the split listeners."
        ));
    }
    for name in ["sender_canonical_maps", "canonical_maps", "masquerade_domains"] {
        if let Some(value) = existing.written(name) {
            notes.push(format!(
                "{name} = {value}: Postfix routes by the rewritten sender, the milter judges the one that the client gave. \
                 Both must be in scope, or neither."
            ));
        }
    }
}

fn content_filter(existing: &Existing, names: &Names, notes: &mut Vec<String>) {
    if names.behind_filter {
        notes.push(
            "The listener that takes mail back from the content filter has to act on the milter's routes: in master.cf, give \
             it -o cleanup_service_name=conbool-filtered and -o receive_override_options=no_unknown_recipient_checks,\
             no_address_mappings,no_milters (without no_header_body_checks). Until then, exempt mail goes to the relay."
                .to_owned(),
        );
    } else if let Some(filter) = existing.written("content_filter") {
        notes.push(format!(
            "content_filter = {filter} is in use, and the milter's routing overrides it: exempt mail would not be \
             filtered. Run `conbool-milter setup postfix --behind-content-filter`. Do not attach the milter to the listener \
             behind the filter: there every client is the filter, and nobody would be the relay."
        ));
    }
}

fn milters(existing: &Existing, names: &Names, notes: &mut Vec<String>) {
    if existing.in_force("milter_protocol").and_then(|version| version.parse::<u32>().ok()).is_some_and(|v| v < 6) {
        notes.push("milter_protocol is below 6, which the milter needs. Remove the setting.".to_owned());
    }
    if names.socket.starts_with("unix:/") && existing.smtpd_is_chrooted() {
        notes.push(format!(
            "The SMTP server runs chrooted and cannot reach {}. Let the milter listen below {}.",
            names.socket,
            existing.queue_directory().display()
        ));
    }
    let others = list::split(existing.written("smtpd_milters").unwrap_or_default());
    if others.iter().any(|item| !item.contains(names.socket.as_str())) {
        notes.push(
            "Other milters are in use. Ours comes after them in smtpd_milters and before them in non_smtpd_milters: right \
             for verifiers (OpenDKIM, OpenDMARC) of incoming and signers of local mail. A signer of outgoing SMTP mail \
             belongs after ours."
                .to_owned(),
        );
    }
    if let Some(maps) = existing.written("smtpd_milter_maps") {
        notes.push(format!(
            "smtpd_milter_maps = {maps} replaces smtpd_milters for the clients in it: the milter sees none of their mail."
        ));
    }
}

fn restrictions(existing: &Existing, names: &Names, notes: &mut Vec<String>) {
    let refusing: Vec<&str> =
        ["smtpd_client_restrictions", "smtpd_sender_restrictions", "smtpd_recipient_restrictions"]
            .into_iter()
            .filter(|name| existing.written(name).is_some())
            .collect();
    if names.hand_back && !refusing.is_empty() {
        notes.push(format!(
            "The relay hands back mail of hosted senders from its own addresses: see that {} (SPF, sender login or own \
             domain checks, block lists) does not refuse it.",
            refusing.join(", ")
        ));
    }
    if existing.is_known()
        && existing.in_force("smtpd_forbid_bare_newline").is_none()
        && existing.in_force("mail_version").is_some()
    {
        notes.push(
            "This Postfix has no smtpd_forbid_bare_newline: update it. reject_unauth_pipelining is a weaker guard against \
             smuggled messages."
                .to_owned(),
        );
    }
}

/// Options in master.cf that override what we set in main.cf.
fn services(existing: &Existing, notes: &mut Vec<String>) {
    const OURS: [&str; 6] = [
        "content_filter",
        "milter_header_checks",
        "non_smtpd_milters",
        "smtpd_milters",
        "smtpd_restriction_classes",
        "smtpd_tls_ask_ccert",
    ];
    for option in existing.options() {
        let (service, name, value) = (&option.service, &option.name, &option.value);
        if OURS.contains(&name.as_str()) && !(name == "content_filter" && value.is_empty())
            || name == "receive_override_options" && value.contains("no_milters")
            || name == "smtpd_relay_restrictions" && service == "smtp/inet"
            || name == "cleanup_service_name"
        {
            notes.push(format!(
                "master.cf has -o {name}={value} for {service}, which overrides main.cf there: see that it still fits."
            ));
        }
    }
    let direct: Vec<&str> = existing
        .options()
        .filter(|option| option.service == "smtp/unix" && option.name != "syslog_name")
        .map(|option| option.name.as_str())
        .collect();
    if !direct.is_empty() {
        notes.push(format!("conbool-direct has the options of the smtp service in master.cf: {}.", direct.join(", ")));
    }
}
