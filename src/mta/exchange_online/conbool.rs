//! Steps A to E of Conbool's guide "Exchange Online for Microsoft 365", and what makes them safer.

use sha2::{Digest, Sha256};

use super::object::{Kind, Object};
use super::powershell::Value;
use super::{Plan, Request, Scope};

const OUTBOUND: &str = "Conbool Outbound Connector";
const INBOUND: &str = "Conbool Inbound Connector";
const FLAG: &str = "X-Conbool-Flag";
const RELEASED: &str = "X-Conbool-Released";

/// Our own field, for several domains: a rule looks at one field only, so that a rule for each domain says in this one
/// that it found its loop header.
const RELAYED: &str = "X-Conbool-Milter-Relayed";

/// Rules that an organization can have.
const RULES_MAX: usize = 300;

/// Addresses in one rule, in characters together: a rule has at most 8 KiB.
const LIST_MAX: usize = 7000;

/// The connectors and rules.
///
/// # Errors
/// A sentence for the administrator if the request cannot be met.
pub fn plan(request: &Request) -> Result<Plan, String> {
    request.only_names(&[])?;
    let mut rules = Vec::new();
    if !request.guide_only && !request.networks.is_empty() {
        let loops = request.domains.iter().map(|domain| loop_field(domain));
        for field in [FLAG.to_owned(), RELEASED.to_owned()].into_iter().chain(loops) {
            let why = "Takes a marker field off mail that does not come from Conbool, so that nobody else can use it.";
            rules.push(removal(&field, why)?.with("ExceptIfSenderIpRanges", networks(request)));
        }
    }
    if request.domains.len() > 1 {
        rules.push(removal(RELAYED, "The field that only the next rules may set.")?);
        for domain in &request.domains {
            let why =
                format!("Notes that mail of {domain} has been through Conbool: a rule can look at one field only.");
            let rule = Object::new(Kind::TransportRule, &rule_name("Loop Header", &loop_field(domain)), &why)?;
            rules.push(
                header(rule, &loop_field(domain), "true").text("SetHeaderName", RELAYED).text("SetHeaderValue", "true"),
            );
        }
    }
    // The guide numbers the release rule last, and wants it to keep other rules from the message: so it is first.
    if request.guide_only {
        rules.extend([relay(request)?, spam()?, release()?]);
    } else {
        rules.extend([release()?, relay(request)?, spam()?]);
    }
    if rules.len() > RULES_MAX {
        return Err(format!(
            "{} domains need {} rules, and Exchange Online takes {RULES_MAX} in all; with --guide-only they need fewer",
            request.domains.len(),
            rules.len()
        ));
    }
    let mut objects = vec![outbound(request)?, inbound(request)?];
    objects.extend(rules);
    Ok(Plan { objects, own_groups: Vec::new(), switched_off: false, notes: notes(request) })
}

/// Step A.
fn outbound(request: &Request) -> Result<Object, String> {
    request.connector(OUTBOUND, "OnPremises", "To Conbool's relay, over TLS with verified name.")
}

/// Step B.
fn inbound(request: &Request) -> Result<Object, String> {
    Ok(Object::new(Kind::InboundConnector, INBOUND, "From Conbool's relay, known by its certificate.")?
        .text("ConnectorType", "OnPremises")
        .with("SenderDomains", Value::texts(["*"]))
        .flag("RequireTls", true)
        .text("TlsSenderCertificateName", &request.relay_tls_name)
        .flag("RestrictDomainsToCertificate", true)
        .flag("Enabled", true))
}

/// Step C.
fn relay(request: &Request) -> Result<Object, String> {
    let why = "Sends mail to Conbool, except what has been there, meeting messages and the null sender.";
    let mut rule = Object::new(Kind::TransportRule, "Conbool Exchange transport rule", why)?
        .text("SenderAddressLocation", "HeaderOrEnvelope");
    rule = match &request.scope {
        Scope::All => rule.text("FromScope", "InOrganization"),
        Scope::List(addresses) => {
            let length: usize = addresses.iter().map(|address| address.len() + 1).sum();
            if addresses.is_empty() || length > LIST_MAX {
                return Err(format!(
                    "--scope list: {} addresses do not fit into one rule of Exchange Online; use --scope group:ADDRESS",
                    addresses.len()
                ));
            }
            inside(rule.with("From", Value::texts(addresses)), request)
        }
        Scope::Group(group) => inside(rule.with("FromMemberOf", Value::texts([group])), request),
    };
    if request.outbound_only {
        rule = rule.text("SentToScope", "NotInOrganization");
    }
    let field = match request.domains.as_slice() {
        [domain] => loop_field(domain),
        _ => RELAYED.to_owned(),
    };
    rule = rule
        .text("ExceptIfHeaderMatchesMessageHeader", &field)
        .with("ExceptIfHeaderMatchesPatterns", Value::texts(["true"]))
        .text("ExceptIfMessageTypeMatches", "Calendaring")
        .text("ExceptIfHeaderContainsMessageHeader", "Return-Path")
        .with("ExceptIfHeaderContainsWords", Value::texts(["<>"]))
        .with("ExceptIfFromAddressMatchesPatterns", Value::texts(["<>"]))
        .text("RouteMessageOutboundConnector", OUTBOUND)
        .text("Mode", "Enforce");
    Ok(if request.guide_only { rule } else { rule.text("RuleErrorAction", "Defer") })
}

/// Mail from outside with an address of ours in its From field is not the address's.
fn inside(rule: Object, request: &Request) -> Object {
    if request.guide_only { rule } else { rule.text("FromScope", "InOrganization") }
}

/// Step D.
fn spam() -> Result<Object, String> {
    let why = "Puts what Conbool holds for spam into the junk folder.";
    let rule = Object::new(Kind::TransportRule, "Conbool Spam classification rule", why)?;
    Ok(header(rule, FLAG, "YES").with("SetSCL", Value::Number(7)).text("Mode", "Enforce"))
}

/// Step E.
fn release() -> Result<Object, String> {
    let why = "Delivers what was released from Conbool's quarantine, with no further rule.";
    let rule = Object::new(Kind::TransportRule, "Conbool Quarantine Release Bypass", why)?;
    Ok(header(rule, RELEASED, "yes")
        .text("FromScope", "NotInOrganization")
        .text("SentToScope", "InOrganization")
        .with("SetSCL", Value::Number(-1))
        .flag("StopRuleProcessing", true)
        .text("Mode", "Enforce"))
}

fn header(rule: Object, field: &str, pattern: &str) -> Object {
    rule.text("HeaderMatchesMessageHeader", field).with("HeaderMatchesPatterns", Value::texts([pattern]))
}

/// A rule that removes a field.
fn removal(field: &str, why: &str) -> Result<Object, String> {
    let rule = Object::new(Kind::TransportRule, &rule_name("Marker Removal", field), why)?;
    Ok(header(rule, field, ".").text("RemoveHeader", field))
}

/// The field that says that mail of a domain has been through the relay.
fn loop_field(domain: &str) -> String {
    format!("X-Conbool-{}", domain.replace('.', "-"))
}

/// The name of one of several rules of a kind; long ones are cut, and stay distinct by a digest.
fn rule_name(kind: &str, field: &str) -> String {
    let name = format!("Conbool {kind} {field}");
    if name.len() <= super::object::NAME_MAX {
        return name;
    }
    let digest = Sha256::digest(field.as_bytes());
    let digest: String = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    // ASCII throughout, as fields and domains are.
    format!("{} {digest}", &name[..super::object::NAME_MAX - 11])
}

fn networks(request: &Request) -> Value {
    Value::texts(request.networks.iter().map(super::range))
}

fn notes(request: &Request) -> Vec<String> {
    let mut notes = vec![
        "The connectors are of type OnPremises, as the guide's tables have it, although it calls the other side a \
         partner organization: only by such a connector may Conbool hand mail back that goes outside. On that type \
         Exchange Online does not act on RequireTls and RestrictDomainsToCertificate: mail from Conbool is known by its \
         certificate, and mail from elsewhere is not refused."
            .to_owned(),
        "The guide's exception for a Return-Path of <> can be claimed by every sender inside who can write header \
         fields: whoever submits such mail by SMTP gets it past Conbool."
            .to_owned(),
        "The guide's exception for the sender pattern <> has no effect according to Microsoft, who say that this \
         predicate does not find empty addresses; the one for Return-Path does its work."
            .to_owned(),
        "The guide sets the spam confidence level 7. Microsoft describes 5 and 6 (spam) and 9 (high confidence): look \
         in a test message where yours ends up."
            .to_owned(),
    ];
    notes.push(if request.guide_only {
        "Priorities are the guide's: the release rule is the last, and its stop keeps nothing from the messages. \
         Released mail is not routed to Conbool only because it comes from outside."
            .to_owned()
    } else {
        "Priorities: the release rule comes before the relay rule and the spam rule, as only then its stop does what \
         the guide says it is for. The guide numbers them 2, 0 and 1."
            .to_owned()
    });
    if request.guide_only || request.networks.is_empty() {
        let how = if request.guide_only { "Leave --guide-only out" } else { "Give --relay-network" };
        notes.push(format!(
            "Anybody can write the fields X-Conbool-..., and the guide's rules believe them: from outside, mail can mark \
             itself as released and pass the spam filter; from inside, mail can pass Conbool by claiming to have been \
             there. {how}, and rules take these fields off all mail that does not come from Conbool's addresses."
        ));
    } else {
        notes.push(
            "Marker fields count only from the relay networks given. If Conbool sends from other addresses too, its \
             marks are taken off, and mail that it hands back would go round: keep the list complete. With enhanced \
             filtering on the inbound connector, look in a message trace which address the rules see."
                .to_owned(),
        );
    }
    if !request.outbound_only {
        notes.push(
            "The guide's relay rule has no condition on recipients: mail between mailboxes inside goes to Conbool too. \
             With --outbound-only it does not."
                .to_owned(),
        );
    }
    if request.domains.len() > 1 {
        notes.push(format!(
            "A rule takes one header exception, and there are {} loop headers: a rule for each domain sets {RELAYED}, \
             which the relay rule excepts, and which is first taken off all mail.",
            request.domains.len()
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_and_stay_distinct() {
        let long = |end: &str| rule_name("Marker Removal", &loop_field(&format!("{}.{end}", "a".repeat(60))));
        assert!(long("example").len() <= 64);
        assert_ne!(long("example"), long("test"));
        assert_eq!(rule_name("Loop Header", "X-Conbool-example-com"), "Conbool Loop Header X-Conbool-example-com");
    }
}
