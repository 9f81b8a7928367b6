//! Scripts for Exchange Online (PowerShell, module ExchangeOnlineManagement) that do what the providers' guides have an
//! administrator do by hand.
//!
//! The guides are data: [`Object`](object::Object)s with the parameters that the cmdlets take. A fixed text in the
//! script compares them with what is there. Cmdlets and parameters are those of Microsoft's reference (ExchangePowerShell:
//! New-TransportRule, New-OutboundConnector and so on). Conditions of a rule all have to hold, of its exceptions one
//! is enough, and a rule sees the header fields as the rules before it left them.

mod conbool;
mod mailprotector;
mod object;
mod powershell;
mod script;
mod secumailer;

use ipnet::IpNet;

use self::object::{Kind, Object};
use self::powershell::Value;
pub use self::powershell::quoted;
use crate::config;

/// The guides that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guide {
    /// "Exchange Online for Microsoft 365".
    Conbool,
    /// "Microsoft 365".
    SecuMailer,
    /// "Office 365 - Inbound Connector".
    Mailprotector,
}

impl Guide {
    /// All guides.
    pub const ALL: [Self; 3] = [Self::Conbool, Self::SecuMailer, Self::Mailprotector];

    /// The provider's name in the configuration.
    pub fn key(self) -> &'static str {
        match self {
            Self::Conbool => "conbool",
            Self::SecuMailer => "secumailer",
            Self::Mailprotector => "mailprotector",
        }
    }

    /// The provider's name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conbool => "Conbool",
            Self::SecuMailer => "SecuMailer",
            Self::Mailprotector => "Mailprotector",
        }
    }
}

/// Whose mail goes to the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everybody's in the organization.
    All,
    /// That of these addresses.
    List(Vec<String>),
    /// That of the members of a group, by its address.
    Group(String),
}

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whose guide.
    pub guide: Guide,
    /// The hosted domains: lower case, A-labels; not empty.
    pub domains: Vec<String>,
    /// Whose mail goes to the relay.
    pub scope: Scope,
    /// The relay; empty for a guide without one.
    pub relay_host: String,
    /// The name its certificate carries.
    pub relay_tls_name: String,
    /// Addresses from which the provider sends; may be empty.
    pub networks: Vec<IpNet>,
    /// Names of the provider's MX hosts, or `*.` and a domain; may be empty.
    pub mx_hosts: Vec<String>,
    /// What SecuMailer calls its customer.
    pub customer_id: Option<String>,
    /// With SecuMailer's rules for NTA 7516.
    pub nta: bool,
    /// Address of the owner of new groups; without one it is who runs the script.
    pub group_owner: Option<String>,
    /// Names of the site's own: what, and its name.
    pub names: Vec<(String, String)>,
    /// Mail to recipients inside does not go to the relay.
    pub outbound_only: bool,
    /// Nothing beyond what the guide says.
    pub guide_only: bool,
}

impl Request {
    /// A connector to the relay that only rules lead to.
    fn connector(&self, name: &str, kind: &str, comment: &str) -> Result<Object, String> {
        Ok(Object::new(Kind::OutboundConnector, name, comment)?
            .text("ConnectorType", kind)
            .flag("UseMXRecord", false)
            .with("SmartHosts", Value::texts([&self.relay_host]))
            .text("TlsSettings", "DomainValidation")
            .text("TlsDomain", &self.relay_tls_name)
            .flag("IsTransportRuleScoped", true)
            .flag("Enabled", true))
    }

    /// Refuses names for what the guide does not let a site name.
    fn only_names(&self, known: &[(&str, &str)]) -> Result<(), String> {
        for (item, _) in &self.names {
            if !known.iter().any(|(name, _)| name == item) {
                let known: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                let can = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
                return Err(format!(
                    "--name: {item:?} cannot be named; for {} a site can name: {can}",
                    self.guide.name()
                ));
            }
        }
        Ok(())
    }

    /// The site's name for something, or the guide's.
    fn name(&self, item: &str, known: &[(&str, &str)]) -> String {
        let own = self.names.iter().rev().find(|(name, _)| name == item).map(|(_, name)| name.as_str());
        let guide = || known.iter().find(|(name, _)| *name == item).map(|(_, name)| *name);
        own.or_else(guide).unwrap_or_default().to_owned()
    }
}

/// What a script makes.
struct Plan {
    /// In the order in which they are made, rules by their priorities.
    objects: Vec<object::Object>,
    /// Addresses of groups among them.
    own_groups: Vec<String>,
    /// A connector is made switched off.
    switched_off: bool,
    /// What the administrator should know.
    notes: Vec<String>,
}

/// The scripts.
#[derive(Debug, Clone)]
pub struct Scripts {
    /// Makes what is missing and changes what differs.
    pub set_up: Script,
    /// Removes what the other made.
    pub removal: Script,
    /// What the administrator should know; it is in the script's head too.
    pub notes: Vec<String>,
}

/// A script and its file name.
#[derive(Debug, Clone)]
pub struct Script {
    /// `Set-ConboolMailFlow.ps1`.
    pub file_name: String,
    /// The text: lines end in CRLF, for editors on Windows; with anything but ASCII it begins with a byte order mark,
    /// without which Windows PowerShell 5.1 takes it for the local code page.
    pub text: String,
}

impl Script {
    fn new(verb: &str, guide: Guide, text: &str) -> Self {
        let mark = if text.is_ascii() { "" } else { "\u{feff}" };
        Self {
            file_name: format!("{verb}-{}MailFlow.ps1", guide.name()),
            text: format!("{mark}{}", text.replace('\n', "\r\n")),
        }
    }
}

/// Writes the scripts.
///
/// # Errors
/// A sentence for the administrator if the guide needs more than the request holds, or Exchange Online does not take
/// what it holds.
pub fn generate(request: &Request) -> Result<Scripts, String> {
    let plan = match request.guide {
        Guide::Conbool => conbool::plan(request)?,
        Guide::SecuMailer => secumailer::plan(request)?,
        Guide::Mailprotector => mailprotector::plan(request)?,
    };
    Ok(Scripts {
        set_up: Script::new("Set", request.guide, &script::set_up(request, &plan)),
        removal: Script::new("Remove", request.guide, &script::removal(request, &plan)),
        notes: plan.notes,
    })
}

/// An address of a mailbox or group in Exchange Online, lower case. `what` names it in the error.
///
/// # Errors
/// What to write instead.
pub fn address(what: &str, written: &str) -> Result<String, String> {
    let address = config::sender(written).map_err(|problem| format!("{what}: {written:?} {problem}"))?;
    if address.starts_with('@') || !address.is_ascii() {
        return Err(format!("{what}: {written:?} is not the address of a mailbox or group; write alice@example.com"));
    }
    Ok(address)
}

/// A network as Exchange writes it: one address alone without its length.
fn range(network: &IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() { network.addr().to_string() } else { network.to_string() }
}
