//! The milters: ours among others, and where master.cf says otherwise than main.cf.

use super::{Inspection, list};
use crate::finding::Status;
use crate::mta::postfix::main_cf;

/// How the sockets of milters that verify or sign messages are called, or where they are by custom.
const SIGNERS: [&str; 9] =
    ["opendkim", "opendmarc", "dkimpy", "dkim-milter", "rspamd", ":8891", ":8893", ":12301", ":11332"];

/// Which of the site's milters verify or sign.
fn signs(item: &str) -> bool {
    let item = item.to_ascii_lowercase();
    SIGNERS.iter().any(|name| item.contains(name))
}

/// A parameter of a milter that stands in braces (MILTER_README, "per-Milter settings").
fn parameter<'a>(item: &'a str, name: &str) -> Option<&'a str> {
    let inner = item.strip_prefix('{')?.strip_suffix('}')?;
    list::split(inner).into_iter().find_map(|part| part.split_once('=').filter(|(key, _)| *key == name)).map(|(_, v)| v)
}

/// True if the service can be reached from this host only: what a content filter hands back comes there.
fn is_on_loopback(service: &str) -> bool {
    ["127.", "[::1]:", "localhost:"].iter().any(|start| service.starts_with(start))
}

impl Inspection<'_> {
    fn is_ours(&self, item: &str) -> bool {
        main_cf::is_our_milter(item, self.existing(), &self.needed.names)
    }

    /// True if the milter is where the architecture of a site with a content filter wants it (`-o smtpd_milters` of the
    /// listener that the filter hands mail back to), instead of in main.cf.
    pub(super) fn is_attached_behind_the_filter(&self) -> bool {
        let filtered = self.existing().in_force("content_filter").is_some_and(|filter| !filter.is_empty());
        filtered
            && self.expanded.options().any(|option| {
                option.name == "smtpd_milters"
                    && is_on_loopback(&option.service)
                    && list::split(&option.value).into_iter().any(|item| self.is_ours(item))
            })
    }

    /// Looks at our milter among the others.
    pub(super) fn milters(&mut self) {
        for setting in ["smtpd_milters", "non_smtpd_milters"] {
            let items: Vec<String> = self.in_force(setting).into_iter().map(str::to_owned).collect();
            self.failure_action(setting, &items);
            self.order(setting, &items);
        }
        self.milter_maps();
        self.connections();
        let overrides = self.existing().in_force("receive_override_options").unwrap_or_default().to_owned();
        if overrides.contains("no_milters") {
            let seen = format!("receive_override_options = {overrides}: no message is judged");
            let mend = self.set("receive_override_options", &without_no_milters(&overrides));
            self.mend(Status::Fail, ("milter-override", "main.cf"), seen, mend);
        }
        let filter = self.existing().in_force("content_filter").unwrap_or_default().to_owned();
        if !filter.is_empty() && !self.is_attached_behind_the_filter() {
            let seen = format!(
                "content_filter = {filter}, and the milter before it: its routes override the filter, so that exempt mail \
                 is not filtered"
            );
            let ours = self.our_item();
            let mend = format!(
                "give the listener behind the filter the option -o {{smtpd_milters={ours}}} instead of smtpd_milters in main.cf"
            );
            self.mend(Status::Warn, ("content-filter", ""), seen, mend);
        }
    }

    /// Our milter as setup writes it into a list.
    fn our_item(&self) -> String {
        main_cf::our_milter(&self.needed.names)
    }

    /// What Postfix does while the milter does not answer.
    fn failure_action(&mut self, setting: &str, items: &[String]) {
        let Some(ours) = items.iter().find(|item| self.is_ours(item)) else { return };
        let global = self.existing().in_force("milter_default_action").unwrap_or("tempfail");
        let action = parameter(ours, "default_action").unwrap_or(global).to_owned();
        match action.as_str() {
            "tempfail" => self.pass("milter-failure", setting, "default_action=tempfail: clients try again later"),
            _ => {
                let seen = format!(
                    "default_action={action}: while the milter is down, {}",
                    match action.as_str() {
                        "accept" => "mail passes unjudged, exempt or not, with forged fields",
                        "reject" => "mail is refused for good",
                        _ => "mail is held back for the administrator",
                    }
                );
                let needed = self.our_item();
                let items: Vec<&str> =
                    items.iter().map(|item| if item == ours { needed.as_str() } else { item }).collect();
                let mend = self.set(setting, &items.join(" "));
                let status = if action == "accept" { Status::Fail } else { Status::Warn };
                self.mend(status, ("milter-failure", setting), seen, mend);
            }
        }
    }

    /// Incoming mail is verified as it came, before ours changes fields; outgoing mail is signed as it leaves, after ours.
    fn order(&mut self, setting: &str, items: &[String]) {
        let Some(ours) = items.iter().position(|item| self.is_ours(item)) else { return };
        let after = setting == "smtpd_milters";
        let (before, behind) = (&items[..ours], &items[ours + 1..]);
        let wrong = if after { behind } else { before };
        match wrong.iter().find(|item| signs(item)) {
            Some(wrong) => {
                let seen = match after {
                    true => format!(
                        "{wrong} comes after the milter: it verifies messages that were changed since they came"
                    ),
                    false => format!("{wrong} comes before the milter: it signs messages that are changed afterwards"),
                };
                let mut sorted: Vec<&str> = items.iter().map(String::as_str).collect();
                let item = sorted.remove(ours);
                sorted.insert(if after { sorted.len() } else { 0 }, item);
                let mend = self.set(setting, &sorted.join(" "));
                self.mend(Status::Warn, ("milter-order", setting), seen, mend);
            }
            None if items.len() > 1 => {
                self.pass("milter-order", setting, format!("{} of {}", ours + 1, items.len()));
            }
            None => {}
        }
        if behind.iter().any(|item| self.is_ours(item)) {
            let seen = "the milter is in the list more than once, and judges each message as often";
            let mut once: Vec<&str> = Vec::new();
            once.extend(
                items.iter().enumerate().filter(|(at, item)| *at == ours || !self.is_ours(item)).map(|(_, i)| &**i),
            );
            let mend = self.set(setting, &once.join(" "));
            self.mend(Status::Warn, ("milter", setting), seen, mend);
        }
    }

    /// Each SMTP server process keeps a connection to the milter while a session lasts.
    fn connections(&mut self) {
        let limit = self.existing().in_force("default_process_limit").and_then(|limit| limit.parse::<usize>().ok());
        let ours = self.examined.config.milter.max_connections;
        if let Some(limit) = limit.filter(|limit| *limit > ours) {
            let seen =
                format!("Postfix may run {limit} SMTP sessions at once, and the milter takes {ours} connections");
            let mend = format!("[milter]\nmax_connections = {}", limit * 2);
            self.mend(Status::Warn, ("milter-connections", ""), seen, mend);
        }
    }

    /// Clients for whom other milters are asked (postconf(5), smtpd_milter_maps).
    fn milter_maps(&mut self) {
        let networks = &self.examined.config.relay.networks;
        let relay = networks.iter().map(|network| (network.addr().to_string(), "the relay"));
        let internal = self.examined.config.internal_networks.iter().map(|network| network.addr().to_string());
        let own = internal.chain(["127.0.0.1".to_owned()]).map(|address| (address, "the site's own clients"));
        let clients: Vec<_> = relay.chain(own).collect();
        for table in self.tables_of("smtpd_milter_maps") {
            let mut well = true;
            for (address, whose) in &clients {
                match self.look_up(&table, address) {
                    Ok(None) => {}
                    Ok(Some(found)) if list::split(&found).into_iter().any(|item| self.is_ours(item)) => {}
                    Ok(Some(found)) => {
                        well = false;
                        let seen = format!("{address} has {found:?}: mail of {whose} is not judged");
                        let mend = format!("take {address} out of {table}, or add {} to its milters", self.our_item());
                        self.mend(Status::Fail, ("milter-maps", &table), seen, mend);
                    }
                    Err(error) => {
                        well = false;
                        self.add("milter-maps", &table, Status::Unknown, error.to_string());
                    }
                }
            }
            if well {
                self.pass("milter-maps", &table, "neither the relay nor the site's own clients are in it");
            }
        }
    }

    /// Options in master.cf by which a service does not do what main.cf says.
    pub(super) fn overrides(&mut self) {
        let mut overridden = Vec::new();
        for option in self.expanded.options() {
            let Some((service, _)) = self.existing().services().find(|(service, _)| service.name == option.service)
            else {
                continue;
            };
            let judged = match service.command() {
                "smtpd" => !is_on_loopback(&service.name),
                "pickup" | "cleanup" => true,
                _ => false,
            };
            if judged && let Some((check, consequence)) = self.overriding(&option.service, &option.name, &option.value)
            {
                overridden.push((
                    check,
                    option.service.clone(),
                    option.name.clone(),
                    option.value.clone(),
                    consequence,
                ));
            }
        }
        if overridden.is_empty() {
            self.pass("milter-override", "master.cf", "no service leaves the milter out");
        }
        for (check, service, name, value, consequence) in overridden {
            let seen = format!("master.cf has -o {name}={value} for {service}: {consequence}");
            let mend = match without_no_milters(&value) {
                rest if name == "receive_override_options" && !rest.is_empty() => {
                    self.set_option(&service, &name, &rest)
                }
                _ => self.unset_option(&service, &name),
            };
            self.mend(Status::Fail, (check, &service), seen, mend);
        }
    }

    /// Whether an option takes away what main.cf gives: by which check, and what follows.
    fn overriding(&self, service: &str, name: &str, value: &str) -> Option<(&'static str, &'static str)> {
        let items = || list::split(value).into_iter();
        let lacks_our_table = |table: &str| !value.contains(table);
        let faces_the_world =
            service.starts_with("smtp/") || service.ends_with(":smtp/inet") || service.ends_with(":25/inet");
        match name {
            "smtpd_milters" if !items().any(|item| self.is_ours(item)) => {
                Some(("milter-override", "what comes there is not judged"))
            }
            "non_smtpd_milters" if service.starts_with("cleanup/") && !items().any(|item| self.is_ours(item)) => {
                Some(("milter-override", "what programs on this host send is not judged"))
            }
            "receive_override_options" if value.contains("no_milters") => {
                Some(("milter-override", "what comes there is not judged"))
            }
            "milter_header_checks" if lacks_our_table("/conbool_routes") => {
                Some(("routing-header", "the milter's verdicts change no route"))
            }
            "smtpd_relay_restrictions" if faces_the_world && lacks_our_table("/conbool_clients") => {
                Some(("hand-back", "the relay cannot hand back mail of hosted senders"))
            }
            "smtpd_forbid_bare_newline" if faces_the_world && value == "no" => {
                Some(("bare-newline", "a message smuggled through the relay has the relay's trust"))
            }
            "smtpd_tls_security_level" if faces_the_world && value == "none" => {
                Some(("tls-offered", "the relay finds no TLS, and is refused without"))
            }
            _ => None,
        }
    }
}

fn without_no_milters(options: &str) -> String {
    list::split(options).into_iter().filter(|option| *option != "no_milters").collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_a_milter() {
        let item = "{ unix:conbool/milter.sock, connect_timeout=5s, default_action=accept }";
        assert_eq!(parameter(item, "default_action"), Some("accept"));
        assert_eq!(parameter(item, "protocol"), None);
        assert_eq!(parameter("inet:localhost:8891", "default_action"), None);
    }

    #[test]
    fn what_is_left_of_overrides() {
        assert_eq!(without_no_milters("no_address_mappings, no_milters"), "no_address_mappings");
        assert_eq!(without_no_milters("no_milters"), "");
    }
}
