//! What an edge's instance is set to before the milter comes in.

use super::super::list::setting;
use super::super::master_cf::Service;
use super::super::{Error, Request, path, table};
use super::{EdgeError, GROUP, Host, Layout, MARK};
use crate::config::{Authentication, Config, Edge, InnerTls, VerifyRecipients};

// Classes, file names of tables and of SASL settings. The prefix conbool is for what every Postfix gets from us.
const INNER: &str = "edge_inner";
const RECIPIENTS: &str = "edge_recipients";
const CERTIFICATES: &str = "edge_certificates";
const SASL: &str = "edge_smtpd";
/// Debian's Postfix looks in this directory whatever cyrus_sasl_config_path says.
pub const SASL_DIRECTORY: &str = "sasl";
const SASL_FILE: &str = "sasl/edge_smtpd.conf";

/// The files besides main.cf and master.cf that an edge may have, whatever it is set to.
pub fn file_names() -> impl Iterator<Item = &'static str> {
    table::ALL.into_iter().chain([INNER, RECIPIENTS, CERTIFICATES, SASL_FILE])
}

/// Where the passwords of the inner server are, in the configuration directory (saslpasswd2(8)).
pub const PASSWORDS: &str = "sasl/edge_sasldb2";

/// What the settings are made of.
pub struct Basic<'a> {
    pub config: &'a Config,
    pub edge: &'a Edge,
    pub host: &'a Host,
    pub layout: &'a Layout,
}

impl Basic<'_> {
    /// The text of main.cf without what every Postfix gets from us.
    pub fn main_cf(&self) -> Result<String, EdgeError> {
        let mut text = format!(
            "{MARK}: change its configuration and run it again.\n# What stands here in other words is lost then.\n"
        );
        for (comment, settings) in [
            ("The instance.", self.instance()?),
            ("Where it takes mail.", self.listeners()?),
            ("Mail for the hosted domains is the inner server's; nothing is delivered on this host.", self.hosted()),
            ("The inner server may send, the relay hand back; nobody else is served.", self.clients()?),
            ("Recipients.", self.recipients()?),
            ("Mail waits while a side is down.", self.queue()),
        ] {
            text.push_str(&format!("\n# {comment}\n"));
            for (name, items) in settings {
                text.push_str(&setting(&name, &items, ","));
            }
        }
        Ok(text)
    }

    fn instance(&self) -> Result<Settings, EdgeError> {
        let mut settings = vec![
            one("compatibility_level", self.host.compatibility_level()),
            one("queue_directory", path("queue_directory", &self.layout.queue)?),
            one("data_directory", path("data_directory", &self.layout.data)?),
        ];
        settings.extend(self.host.shared.iter().map(|(name, value)| one(name, value)));
        if !self.edge.is_only_instance() {
            settings.extend([
                one("multi_instance_name", &self.edge.instance),
                one("multi_instance_group", GROUP),
                one("multi_instance_enable", "yes"),
                // Programs on this host submit their mail to the primary instance.
                none("authorized_submit_users"),
            ]);
        }
        Ok(settings)
    }

    fn listeners(&self) -> Result<Settings, EdgeError> {
        let addresses: Vec<String> = self.edge.listen.iter().map(|address| bracketed(&address.to_string())).collect();
        let certificate = |key| path("edge.certificate", key);
        let mut settings = vec![
            match addresses.is_empty() {
                true => one("inet_interfaces", "all"),
                false => ("inet_interfaces".to_owned(), addresses),
            },
            one("smtpd_tls_security_level", "may"),
            one("smtpd_tls_cert_file", certificate(&self.edge.certificate)?),
            one("smtpd_tls_key_file", path("edge.key", &self.edge.key)?),
            one("smtpd_tls_fingerprint_digest", "sha256"),
            one("smtpd_tls_loglevel", "1"),
            one("smtpd_tls_received_header", "yes"),
            one("disable_vrfy_command", "yes"),
        ];
        settings.extend(self.edge.myhostname.as_ref().map(|name| one("myhostname", name)));
        Ok(settings)
    }

    fn hosted(&self) -> Settings {
        let unicode = |domain: &String| match idna::domain_to_unicode(domain) {
            (unicode, Ok(())) if unicode != *domain => Some(unicode),
            _ => None,
        };
        let mut domains = self.config.domains.clone();
        domains.extend(self.config.domains.iter().filter_map(unicode));
        let first = self.config.domains.first().cloned().unwrap_or_default();
        vec![
            // Mail of this host itself, such as root's, is a hosted postmaster's or the like.
            one("myorigin", first),
            none("mydestination"),
            one("local_transport", "error:5.1.1 no mailbox on this host"),
            none("alias_maps"),
            none("alias_database"),
            ("relay_domains".to_owned(), domains),
            // A subdomain is another domain.
            none("parent_domain_matches_subdomains"),
            one("relay_transport", format!("edge-inner:{}", self.edge.inner)),
            one("relayhost", self.config.direct.next_hop.clone().unwrap_or_default()),
            one("smtp_tls_security_level", "may"),
            one("smtp_tls_fingerprint_digest", "sha256"),
            one("smtp_tls_loglevel", "1"),
            // What comes from the inner server is signed, maybe: no header field is completed.
            none("local_header_rewrite_clients"),
            one("append_dot_mydomain", "no"),
        ]
    }

    fn clients(&self) -> Result<Settings, EdgeError> {
        let directory = path("the Postfix configuration directory", &self.layout.config)?;
        let others = if self.edge.open { "reject_unauth_destination" } else { "reject" };
        let mut classes = vec![INNER.to_owned()];
        if self.edge.verify_recipients == VerifyRecipients::Inner {
            classes.push(RECIPIENTS.to_owned());
        }
        let proof: &[&str] = match self.edge.authentication {
            Authentication::Address => &["permit"],
            // Its mail waits there until its settings are right.
            Authentication::Password => &["permit_sasl_authenticated", "defer"],
            Authentication::Certificate => &["permit_tls_clientcerts", "defer"],
        };
        let tls: &[&str] = if self.edge.require_tls { &["reject_plaintext_session"] } else { &[] };
        let class = [tls, proof].concat().into_iter().map(str::to_owned).collect();
        let networks: Vec<String> =
            self.edge.inner_networks.iter().map(|network| bracketed(&network.to_string())).collect();
        let mut settings = vec![
            ("mynetworks".to_owned(), networks.clone()),
            ("smtpd_restriction_classes".to_owned(), classes),
            (INNER.to_owned(), class),
            (
                "smtpd_relay_restrictions".to_owned(),
                vec![format!("check_client_access cidr:{directory}/{INNER}"), others.to_owned()],
            ),
        ];
        match self.edge.authentication {
            Authentication::Address => {}
            Authentication::Password => settings.extend([
                one("smtpd_sasl_auth_enable", "yes"),
                one("smtpd_sasl_type", "cyrus"),
                one("smtpd_sasl_path", SASL),
                one("cyrus_sasl_config_path", format!("{directory}/{SASL_DIRECTORY}")),
                one("smtpd_sasl_local_domain", "$myhostname"),
                one("smtpd_sasl_security_options", "noanonymous"),
                one("smtpd_tls_auth_only", "yes"),
                // Nobody but the inner server can try passwords.
                (
                    "smtpd_sasl_exceptions_networks".to_owned(),
                    networks.iter().map(|network| format!("!{network}")).chain(["static:all".to_owned()]).collect(),
                ),
            ]),
            Authentication::Certificate => settings.extend([
                one("smtpd_tls_ask_ccert", "yes"),
                one("relay_clientcerts", format!("regexp:{directory}/{CERTIFICATES}")),
            ]),
        }
        Ok(settings)
    }

    fn recipients(&self) -> Result<Settings, EdgeError> {
        Ok(match self.edge.verify_recipients {
            VerifyRecipients::None => vec![none("relay_recipient_maps")],
            VerifyRecipients::List => {
                vec![one("relay_recipient_maps", self.edge.recipient_table.clone().unwrap_or_default())]
            }
            VerifyRecipients::Inner => {
                let directory = path("the Postfix configuration directory", &self.layout.config)?;
                vec![
                    none("relay_recipient_maps"),
                    (
                        "smtpd_recipient_restrictions".to_owned(),
                        vec![format!("check_recipient_access regexp:{directory}/{RECIPIENTS}")],
                    ),
                    one(RECIPIENTS, "reject_unverified_recipient"),
                    // The inner server is asked as by a bounce, which everybody has to take.
                    one("address_verify_sender", "<>"),
                    one("unverified_recipient_reject_code", "550"),
                    one("unverified_recipient_reject_reason", "no such mailbox"),
                    // A mailbox that is made today can be written to today.
                    one("address_verify_negative_refresh_time", "10m"),
                ]
            }
        })
    }

    fn queue(&self) -> Settings {
        let lifetime = format!("{}s", self.edge.queue_lifetime.as_secs());
        vec![
            one("maximal_queue_lifetime", &lifetime),
            one("bounce_queue_lifetime", &lifetime),
            one("message_size_limit", self.edge.message_size_limit.to_string()),
            one("mailbox_size_limit", "0"),
        ]
    }

    /// Name and text of the edge's own files.
    pub fn tables(&self) -> Result<Vec<(String, String)>, EdgeError> {
        let mut files = Vec::new();
        let mut inner = table::head("Where the inner server connects from.");
        for network in &self.edge.inner_networks {
            inner.push_str(&format!("{} {INNER}\n", network.trunc()));
        }
        files.push((INNER.to_owned(), inner));
        if self.edge.verify_recipients == VerifyRecipients::Inner {
            let mut recipients = table::head("Recipients of whom the inner server is asked.");
            for domain in &self.config.domains {
                recipients.push_str(&format!("/{}/ {RECIPIENTS}\n", table::domain_pattern(domain)));
            }
            files.push((RECIPIENTS.to_owned(), recipients));
        }
        match self.edge.authentication {
            Authentication::Address => {}
            Authentication::Password => {
                let passwords = self.layout.config.join(PASSWORDS);
                let settings = format!(
                    "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\nsasldb_path: {}\n",
                    passwords.display()
                );
                files.push((SASL_FILE.to_owned(), settings));
            }
            Authentication::Certificate => {
                let mut certificates = table::head("SHA-256 fingerprints of the inner server's client certificates.");
                for fingerprint in &self.edge.fingerprints {
                    certificates.push_str(&format!("/^{fingerprint}$/ inner\n"));
                }
                files.push((CERTIFICATES.to_owned(), certificates));
            }
        }
        Ok(files)
    }

    /// The services of the edge's own.
    pub fn master_cf(&self, request: &Request<'_>) -> Result<String, Error> {
        let port = if self.edge.listen_port == 25 { "smtp".to_owned() } else { self.edge.listen_port.to_string() };
        let listener = Service::new("For the inner server and the relay.", format!("{port} inet n - n - - smtpd"));
        let directory = path("the Postfix configuration directory", &self.layout.config)?;
        let syslog = request.existing.in_force("syslog_name").filter(|name| !name.is_empty()).unwrap_or("postfix");
        let mut inner = Service::new(
            "To the inner server. Mail waits while the name service does not know it.",
            "edge-inner unix - - n - - smtp",
        )
        .option("syslog_name", &format!("{syslog}/edge-inner"))
        .option("smtp_delivery_status_filter", &format!("regexp:{directory}/{}", table::STATUS))
        .option(
            "smtp_tls_security_level",
            match self.edge.inner_tls {
                InnerTls::May => "may",
                InnerTls::Encrypt => "encrypt",
                InnerTls::Secure => "secure",
                InnerTls::Fingerprint => "fingerprint",
            },
        )
        .option("smtp_sasl_auth_enable", "no")
        .without(&["smtp_fallback_relay"]);
        match self.edge.inner_tls {
            InnerTls::May | InnerTls::Encrypt => {}
            InnerTls::Secure => {
                let name = self.edge.inner_tls_name.as_deref().unwrap_or("nexthop");
                inner = inner.option("smtp_tls_secure_cert_match", name);
                if let Some(file) = self.edge.inner_ca_file.as_deref().or(request.existing.ca_bundle()) {
                    inner = inner.option("smtp_tls_CAfile", &path("edge.inner_ca_file", file)?);
                }
            }
            InnerTls::Fingerprint => {
                inner = inner.option("smtp_tls_fingerprint_cert_match", &self.edge.inner_fingerprints.join("|"));
            }
        }
        Ok(format!("\n# --- conbool-milter: generated by `conbool-milter setup edge`\n{listener}{inner}"))
    }
}

/// Names of settings with their items.
type Settings = Vec<(String, Vec<String>)>;

fn one(name: &str, value: impl Into<String>) -> (String, Vec<String>) {
    let value = value.into();
    (name.to_owned(), if value.is_empty() { Vec::new() } else { vec![value] })
}

fn none(name: &str) -> (String, Vec<String>) {
    (name.to_owned(), Vec::new())
}

/// An address or network as Postfix has it in lists: an IPv6 address in brackets (postconf(5), mynetworks).
fn bracketed(network: &str) -> String {
    match network.split_once('/') {
        Some((address, length)) if address.contains(':') => format!("[{address}]/{length}"),
        None if network.contains(':') => format!("[{network}]"),
        _ => network.to_owned(),
    }
}
