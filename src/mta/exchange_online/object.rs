//! What a script makes in Exchange Online, as data.

use super::powershell::{Value, checked, ordered, quoted};

/// Names of connectors, groups and rules have at most this many characters.
pub const NAME_MAX: usize = 64;

/// Kinds of objects; each is the noun of its cmdlets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Connector by which Exchange Online sends.
    OutboundConnector,
    /// Connector by which it receives.
    InboundConnector,
    /// Mail flow rule.
    TransportRule,
    /// Group with an address.
    DistributionGroup,
    /// Settings for the mail to a domain outside, or to all.
    RemoteDomain,
}

impl Kind {
    /// The noun of its cmdlets.
    pub fn noun(self) -> &'static str {
        match self {
            Self::OutboundConnector => "OutboundConnector",
            Self::InboundConnector => "InboundConnector",
            Self::TransportRule => "TransportRule",
            Self::DistributionGroup => "DistributionGroup",
            Self::RemoteDomain => "RemoteDomain",
        }
    }

    /// The cmdlets that the set-up script needs for it.
    pub fn commands(self) -> Vec<String> {
        let mut verbs = vec!["Get", "Set"];
        if self != Self::RemoteDomain {
            verbs.push("New");
        }
        if self == Self::TransportRule {
            verbs.extend(["Enable", "Remove"]);
        }
        let mut commands: Vec<String> = verbs.iter().map(|verb| format!("{verb}-{}", self.noun())).collect();
        if self == Self::DistributionGroup {
            commands.push("Get-Group".into());
        }
        commands
    }
}

/// One object, as it is to be.
#[derive(Debug, Clone)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Its name in Exchange Online.
    pub name: String,
    /// What it is for; becomes its comment.
    why: String,
    /// Parameters and values.
    settings: Vec<(&'static str, Value)>,
    /// Those that are set when it is made, and then left to the site.
    when_new: Vec<(&'static str, Value)>,
}

impl Object {
    /// An object with nothing set.
    ///
    /// # Errors
    /// If Exchange Online does not take the name.
    pub fn new(kind: Kind, name: &str, why: &str) -> Result<Self, String> {
        let name = checked(&format!("name of the {}", kind.noun()), name, NAME_MAX)?;
        Ok(Self { kind, name, why: why.into(), settings: Vec::new(), when_new: Vec::new() })
    }

    /// With a parameter.
    pub fn with(mut self, parameter: &'static str, value: Value) -> Self {
        self.settings.push((parameter, value));
        self
    }

    /// With a parameter that is a text.
    pub fn text(self, parameter: &'static str, text: &str) -> Self {
        self.with(parameter, Value::text(text))
    }

    /// With a parameter that is `$true` or `$false`.
    pub fn flag(self, parameter: &'static str, flag: bool) -> Self {
        self.with(parameter, Value::Flag(flag))
    }

    /// With a parameter that the site may change later.
    pub fn when_new(mut self, parameter: &'static str, value: Value) -> Self {
        self.when_new.push((parameter, value));
        self
    }

    /// As an element of the script's list of objects.
    pub fn source(&self) -> String {
        format!(
            "    @{{\n        Kind = {}\n        Name = {}\n        Why = {}\n        Settings = {}\n        WhenNew = {}\n    }}\n",
            quoted(self.kind.noun()),
            quoted(&self.name),
            quoted(&self.why),
            ordered(&self.settings, 8),
            ordered(&self.when_new, 8)
        )
    }
}
