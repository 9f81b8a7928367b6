//! What a Postfix instance is set to now, as postconf(1) tells it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::command::{self, CommandError};
use super::{Listeners, list};
use crate::config::Socket;

/// Parameters whose value in force matters, set in main.cf or not.
const IN_FORCE: &[&str] = &[
    "compatibility_level",
    "content_filter",
    "default_database_type",
    "default_filter_nexthop",
    "default_transport",
    "mail_owner",
    "mail_version",
    "default_process_limit",
    "message_size_limit",
    "milter_default_action",
    "milter_header_checks",
    "milter_protocol",
    "mydestination",
    "mynetworks",
    "non_smtpd_milters",
    "queue_directory",
    "receive_override_options",
    "recipient_delimiter",
    "relay_domains",
    "relayhost",
    "sender_dependent_relayhost_maps",
    "smtp_tls_CAfile",
    "smtp_tls_CApath",
    "smtp_tls_security_level",
    "smtpd_data_restrictions",
    "smtpd_forbid_bare_newline",
    "smtpd_forbid_bare_newline_reject_code",
    "smtpd_milter_maps",
    "smtpd_milters",
    "smtpd_recipient_restrictions",
    "smtpd_relay_restrictions",
    "smtpd_tls_security_level",
    "smtpd_use_tls",
    "syslog_name",
    "transport_maps",
    "virtual_alias_domains",
    "virtual_mailbox_domains",
];

/// What a Postfix instance is set to. Empty (`default()`) means that nothing is known about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Existing {
    known: bool,
    written: BTreeMap<String, String>,
    in_force: BTreeMap<String, String>,
    services: Vec<Service>,
    options: Vec<ServiceOption>,
    ca_bundle: Option<PathBuf>,
}

/// One line of master.cf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    /// `name/type`.
    pub name: String,
    /// The eight fields of the line, the arguments of the command not among them.
    pub fields: Vec<String>,
}

impl Service {
    /// True if its processes run chrooted. The default is no since Postfix 3.0; before, it was yes.
    pub fn is_chrooted(&self) -> bool {
        self.fields.get(4).is_some_and(|field| field == "y")
    }

    /// The program.
    pub fn command(&self) -> &str {
        self.fields.last().map(String::as_str).unwrap_or_default()
    }
}

/// One `-o name=value` of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceOption {
    /// `name/type` of the service.
    pub service: String,
    /// Parameter.
    pub name: String,
    /// Value, not expanded.
    pub value: String,
}

impl Existing {
    /// Asks postconf what the instance in `config_directory` is set to.
    ///
    /// Without a main.cf there nothing is known of the instance but the host's trust anchors.
    ///
    /// # Errors
    /// [`CommandError`] if there is a main.cf but no postconf, or postconf does not understand it.
    pub fn read(config_directory: &Path) -> Result<Self, CommandError> {
        let host = Self { ca_bundle: super::find_ca_bundle(), ..Self::default() };
        if !config_directory.join("main.cf").exists() {
            return Ok(host);
        }
        let ask = |arguments: &[&str]| command::run("postconf", config_directory, arguments);
        let written = ask(&["-n"])?;
        let in_force = ask(&[&["-x"], IN_FORCE].concat())?;
        // A directory with main.cf only is no instance yet, and no reason to stop.
        let master = config_directory.join("master.cf").exists();
        let services = if master { ask(&["-M"])? } else { String::new() };
        let options = if master { ask(&["-P"])? } else { String::new() };
        Ok(Self { ca_bundle: host.ca_bundle, ..Self::parse(&written, &in_force, &services, &options) })
    }

    /// The same with `$name` expanded in the options of services.
    ///
    /// # Errors
    /// [`CommandError`] if postconf does not understand them.
    pub(super) fn with_expanded_options(&self, config_directory: &Path) -> Result<Self, CommandError> {
        let options = command::run("postconf", config_directory, &["-Px"])?;
        Ok(Self { options: settings(&options).filter_map(service_option).collect(), ..self.clone() })
    }

    /// Takes the output of `postconf -n`, `postconf -x NAME…`, `postconf -M` and `postconf -P`.
    pub fn parse(written: &str, in_force: &str, services: &str, options: &str) -> Self {
        Self {
            known: true,
            written: settings(written).collect(),
            in_force: settings(in_force).collect(),
            services: services.lines().filter_map(service).collect(),
            options: settings(options).filter_map(service_option).collect(),
            ca_bundle: None,
        }
    }

    /// True if anything is known about the instance.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// The services of an earlier run in master.cf, `name/type`.
    pub(super) fn our_services(&self) -> Vec<String> {
        self.services.iter().map(|service| &service.name).filter(|name| self.is_ours(name)).cloned().collect()
    }

    /// The same without the milters that were ours under another name.
    #[must_use]
    pub fn without_milters(mut self, sockets: &[Socket]) -> Self {
        let queue = self.queue_directory();
        let written: Vec<String> = sockets
            .iter()
            .filter_map(|socket| super::milter_socket(std::slice::from_ref(socket), &queue).ok())
            .collect();
        let is_former = |item: &&str| {
            let inner = item.trim_start_matches('{').trim_end_matches('}');
            list::split(inner).first().is_some_and(|first| written.iter().any(|socket| socket == first))
        };
        for name in ["smtpd_milters", "non_smtpd_milters"] {
            for settings in [&mut self.written, &mut self.in_force] {
                if let Some(value) = settings.get_mut(name) {
                    *value =
                        list::split(value).into_iter().filter(|item| !is_former(item)).collect::<Vec<_>>().join(" ");
                }
            }
        }
        self
    }

    fn is_ours(&self, service: &str) -> bool {
        service.starts_with("conbool-")
            || self.options.iter().any(|option| {
                option.service == service && option.name == "cleanup_service_name" && option.value == "conbool-cleanup"
            })
    }

    /// The settings of an earlier run in main.cf that are of nobody else's services.
    pub(super) fn our_settings(&self) -> impl Iterator<Item = &str> {
        let is_ours = |name: &&str| name.starts_with("conbool-") || name.starts_with("conbool_");
        self.written.keys().map(String::as_str).filter(is_ours)
    }

    /// The value of a parameter as written in main.cf; empty values and parameters that are not set are `None`.
    pub(super) fn written(&self, name: &str) -> Option<&str> {
        self.written.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// True if main.cf sets the parameter, to whatever.
    pub(super) fn is_written(&self, name: &str) -> bool {
        self.written.contains_key(name)
    }

    /// The value in force of one of the parameters asked for, with `$name` expanded; `None` if unknown.
    pub(super) fn in_force(&self, name: &str) -> Option<&str> {
        self.in_force.get(name).or_else(|| self.written.get(name)).map(String::as_str)
    }

    /// All services, and whether each is one of ours.
    pub(super) fn services(&self) -> impl Iterator<Item = (&Service, bool)> {
        self.services.iter().map(|service| (service, self.is_ours(&service.name)))
    }

    /// The value of an option of a service, which may be one of ours.
    pub(super) fn option(&self, service: &str, name: &str) -> Option<&str> {
        let mut options = self.options.iter();
        options.find(|option| option.service == service && option.name == name).map(|option| option.value.as_str())
    }

    /// Where the split listeners listen: where an earlier run put them, or else the default.
    pub fn listeners(&self) -> Listeners {
        self.split_listeners().unwrap_or_default()
    }

    /// Where those of an earlier run listen; `None` if there are none.
    pub fn split_listeners(&self) -> Option<Listeners> {
        let mut listeners = None;
        for (service, _) in self.services().filter(|(_, ours)| *ours) {
            let place = service.name.strip_suffix("/inet").and_then(|place| place.rsplit_once(':'));
            let Some((address, port)) = place else { continue };
            let address = address.trim_start_matches('[').trim_end_matches(']').parse();
            let (Ok(address), Ok(port)) = (address, port.parse()) else { continue };
            let listeners: &mut Listeners = listeners.get_or_insert_default();
            listeners.address = address;
            match self.option(&service.name, "smtpd_recipient_restrictions") {
                Some(filter) if filter.contains("conbool-relay:") => listeners.relay_port = port,
                _ => listeners.direct_port = port,
            }
        }
        listeners
    }

    /// The largest message that the instance takes, in bytes; `None` if there is no limit, or nothing is known.
    pub fn message_size_limit(&self) -> Option<u64> {
        self.in_force("message_size_limit")?.parse().ok().filter(|limit| *limit > 0)
    }

    /// `queue_directory`.
    pub(super) fn queue_directory(&self) -> PathBuf {
        PathBuf::from(self.in_force("queue_directory").unwrap_or("/var/spool/postfix"))
    }

    /// All `-o` options of all services but our own.
    pub(super) fn options(&self) -> impl Iterator<Item = &ServiceOption> {
        self.options.iter().filter(|option| !self.is_ours(&option.service))
    }

    /// True if some SMTP server process runs chrooted.
    pub(super) fn smtpd_is_chrooted(&self) -> bool {
        self.services.iter().any(|service| service.is_chrooted() && service.name == "smtp/inet")
    }

    /// True if the SMTP server offers TLS.
    pub(super) fn offers_tls(&self) -> bool {
        let level = self.in_force("smtpd_tls_security_level").unwrap_or_default();
        let offers =
            matches!(level, "may" | "encrypt") || level.is_empty() && self.in_force("smtpd_use_tls") == Some("yes");
        offers && self.certificates().next().is_some()
    }

    /// The files of the SMTP server's certificates, as written.
    pub(super) fn certificates(&self) -> impl Iterator<Item = &str> {
        let parameters = ["smtpd_tls_cert_file", "smtpd_tls_chain_files", "smtpd_tls_eccert_file"];
        parameters.into_iter().filter_map(|name| self.written(name)).flat_map(list::split)
    }

    /// The host's own trust anchors.
    pub(super) fn ca_bundle(&self) -> Option<&Path> {
        self.ca_bundle.as_deref()
    }

    /// The same, with these trust anchors of the host.
    #[must_use]
    pub fn with_ca_bundle(self, bundle: &Path) -> Self {
        Self { ca_bundle: Some(bundle.to_owned()), ..self }
    }
}

fn settings(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    text.lines().filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    })
}

fn service(line: &str) -> Option<Service> {
    let fields: Vec<String> = line.split_whitespace().take(8).map(str::to_owned).collect();
    Some(Service { name: format!("{}/{}", fields.first()?, fields.get(1)?), fields })
}

fn service_option((name, value): (String, String)) -> Option<ServiceOption> {
    let (service, name) = name.rsplit_once('/')?;
    Some(ServiceOption { service: service.to_owned(), name: name.to_owned(), value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postconf_output() {
        let existing = Existing::parse(
            "mydestination = a.test, b.test\nrelayhost =\nsmtpd_milters = { inet:localhost:8891, default_action=accept }\n",
            "queue_directory = /srv/spool\n",
            "smtp       inet  n       -       y       -       -       smtpd\nsmtp unix - - n - - smtp\n",
            "smtp/unix/syslog_name = postfix/out\n127.0.0.1:10025/inet/smtpd_milters = \n",
        );
        assert!(existing.is_known());
        assert_eq!(existing.written("mydestination"), Some("a.test, b.test"));
        assert_eq!(existing.written("relayhost"), None);
        assert!(existing.is_written("relayhost"));
        assert_eq!(existing.written("smtpd_milters"), Some("{ inet:localhost:8891, default_action=accept }"));
        assert_eq!(existing.queue_directory(), Path::new("/srv/spool"));
        assert!(existing.smtpd_is_chrooted());
        assert_eq!(existing.our_services(), Vec::<String>::new());
        let options: Vec<_> =
            existing.options().map(|option| (option.service.as_str(), option.name.as_str())).collect();
        assert_eq!(options, [("smtp/unix", "syslog_name"), ("127.0.0.1:10025/inet", "smtpd_milters")]);
    }
}
