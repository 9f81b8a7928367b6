//! What is to be set in the inner server, with the values of this edge.
//!
//! Names of menus and settings are those of the makers' documentation, and of the provider's guide: for Kerio Connect
//! the GFI manual and support pages, for Exchange the reference of the Exchange Management Shell.

use crate::config::{Authentication, Config, Edge, InnerTls, VerifyRecipients};

/// A kind of inner server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Server {
    /// Kerio Connect
    Kerio,
    /// Exchange Server on premises
    Exchange,
    /// Anything else that knows a smart host
    Other,
}

/// The list for the inner server.
pub fn text(server: Server, config: &Config, edge: &Edge) -> String {
    let values = Values::new(config, edge);
    let (name, mut steps) = match server {
        Server::Kerio => ("Kerio Connect", values.kerio()),
        Server::Exchange => ("Exchange Server, in the Exchange Management Shell", values.exchange()),
        Server::Other => ("the inner server", values.other()),
    };
    steps.push(values.firewall());
    steps.extend(values.recipients(server));
    let numbered = steps.iter().enumerate().map(|(index, step)| format!("{}. {step}\n", index + 1));
    format!("Settings of {name}\n\n{}", numbered.collect::<Vec<_>>().join("\n"))
}

/// What the lists have in common, as words.
struct Values<'a> {
    edge: &'a Edge,
    /// Name or address by which the inner server finds the edge.
    host: String,
    /// Addresses from which the edge connects.
    addresses: String,
    domains: String,
}

impl<'a> Values<'a> {
    fn new(config: &Config, edge: &'a Edge) -> Self {
        let listed: Vec<String> = edge.listen.iter().map(ToString::to_string).collect();
        let addresses = if listed.is_empty() { "ADDRESS-OF-THE-EDGE".to_owned() } else { listed.join(", ") };
        let host = edge.myhostname.clone().or_else(|| listed.first().cloned());
        let host = host.unwrap_or_else(|| addresses.clone());
        Self { edge, host, addresses, domains: config.domains.join(", ") }
    }

    fn tls(&self) -> &'static str {
        if self.edge.require_tls { "required: without TLS the edge refuses its mail" } else { "where both sides can" }
    }

    fn proof(&self) -> &'static str {
        match self.edge.authentication {
            Authentication::Address => "none: the edge knows it by its address",
            Authentication::Password => "user name and password, as given with saslpasswd2 on the edge",
            Authentication::Certificate => "its client certificate, whose fingerprint is in edge.fingerprints",
        }
    }

    fn outgoing(&self) -> String {
        format!(
            "     host            {}\n     port            {}\n     TLS             {}\n     authentication  {}\n",
            self.host,
            self.edge.listen_port,
            self.tls(),
            self.proof()
        )
    }

    fn kerio(&self) -> Vec<String> {
        vec![
            format!(
                "Outgoing mail: Configuration > SMTP Server, \"Relay SMTP server\" (in Kerio Connect 9 a rule for SMTP \
                 delivery that is for all mail):\n{}",
                self.outgoing()
            ),
            format!(
                "Incoming mail: Configuration > SMTP Server > Relay Control, \"Allow relay only for\": put {} into the IP \
                 address group of \"Users from IP address group\".\n   Kerio Connect does not check mail from that group \
                 with SPF, Caller ID and SpamAssassin, which would judge the edge instead of the sender; what the \
                 provider released is not judged again either.\n   The group may send to any domain, so nothing but the \
                 edge and your own clients belongs into it. The edge hands in mail for {} only.",
                self.addresses, self.domains
            ),
            "Spam: the edge sets \"X-Spam-Flag: YES\", the field by which Kerio Connect marks spam itself. Each user \
             switches on \"Deliver spam messages to the Spam folder\" (Kerio Connect Client: Settings > Spam).\n   Try it \
             with one flagged message: GFI does not say whether the field counts when another server set it. If it does \
             not, a filter of the mailbox has to move messages whose X-Spam-Flag is YES.\n   Configuration > Content Filter \
             > Spam Filter > Custom Rules is no help: its rules see From, To, Cc, Subject, Sender, X-Envelope-To and \
             Received only."
                .to_owned(),
        ]
    }

    fn exchange(&self) -> Vec<String> {
        let host = &self.host;
        let authentication = match self.edge.authentication {
            Authentication::Password => {
                " `\n         -SmartHostAuthMechanism BasicAuthRequireTLS -AuthenticationCredential (Get-Credential)"
            }
            Authentication::Address | Authentication::Certificate => " -SmartHostAuthMechanism None",
        };
        let tls = match self.edge.require_tls {
            true => format!(" `\n         -RequireTLS $true -TlsAuthLevel DomainValidation -TlsDomain '{host}'"),
            false => String::new(),
        };
        vec![
            format!(
                "Outgoing mail, and no other send connector for the address space *:\n\n     New-SendConnector -Name 'Edge' \
                 -Usage Custom -AddressSpaces 'SMTP:*;1' `\n         -DNSRoutingEnabled $false -SmartHosts '{host}' -Port \
                 {}{authentication}{tls}\n\n   Authentication: {}.",
                self.edge.listen_port,
                self.proof()
            ),
            format!(
                "Incoming mail, on each server that the edge delivers to:\n\n     New-ReceiveConnector -Name 'Edge' \
                 -TransportRole FrontendTransport -Usage Custom `\n         -Bindings '0.0.0.0:25' -RemoteIPRanges \
                 {} -PermissionGroups AnonymousUsers\n",
                quoted_list(&self.addresses)
            ),
            "Spam: messages that the edge marked go to Junk Email:\n\n     New-TransportRule -Name 'Edge: spam' \
             -HeaderContainsMessageHeader 'X-Spam-Flag' `\n         -HeaderContainsWords 'YES' -SetSCL 7\n"
                .to_owned(),
        ]
    }

    fn other(&self) -> Vec<String> {
        vec![
            format!("Outgoing mail: all of it to a smart host (relay host):\n{}", self.outgoing()),
            format!(
                "Incoming mail: take it from {} for {}, without checks that judge the connecting server (SPF, block \
                 lists).",
                self.addresses, self.domains
            ),
            "Spam: messages with \"X-Spam-Flag: YES\" go to the spam folder.".to_owned(),
        ]
    }

    fn firewall(&self) -> String {
        let tls = match self.edge.inner_tls {
            InnerTls::May => "TLS where it is offered",
            InnerTls::Encrypt => "TLS always",
            InnerTls::Secure => "TLS always, with a certificate for its name",
            InnerTls::Fingerprint => "TLS always, with the certificate whose fingerprint is in edge.inner_fingerprints",
        };
        format!(
            "Firewall: SMTP from outside reaches the edge only, not the inner server. The edge delivers to {} ({tls}).",
            self.edge.inner
        )
    }

    fn recipients(&self, server: Server) -> Option<String> {
        let default = match server {
            Server::Exchange => {
                "Exchange takes every recipient at RCPT unless recipient filtering is on: the edge then learns nothing by \
                 asking. A table does better, such as an ldap: one with edge.verify_recipients = \"list\"."
            }
            Server::Kerio | Server::Other => {
                "The edge asks the inner server at RCPT, with the null sender, whether a mailbox exists: it must refuse \
                 those that do not. If it does not, or forwards unknown recipients, use a table: edge.verify_recipients = \
                 \"list\"."
            }
        };
        (self.edge.verify_recipients == VerifyRecipients::Inner).then(|| format!("Recipients: {default}"))
    }
}

/// Values as a list of the shell.
fn quoted_list(values: &str) -> String {
    values.split(", ").map(|value| format!("'{value}'")).collect::<Vec<_>>().join(",")
}
