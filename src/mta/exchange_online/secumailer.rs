//! SecuMailer's guide "Microsoft 365".

use super::object::{Kind, Object};
use super::powershell::{Value, checked};
use super::{Plan, Request, Scope};

const CUSTOMER_ID: &str = "X-Secumail-Id";
const OUT_OF_OFFICE: &str = "X-SecuMailer-OOO";
const NTA: &str = "X-SecuMailer-NTA7516";

/// Names that a site's naming convention may replace, and what the guide calls them.
const NAMES: &[(&str, &str)] = &[
    ("connector", "SecuMailer"),
    ("avg-group", "SecuMailer AVG"),
    ("avg-address", "secumailer_avg"),
    ("avg-rule", "Redirect to SecuMailer AVG"),
    ("ooo-rule", "Out Of Office Exception SecuMailer"),
    ("nta-group", "SecuMailer NTA Group"),
    ("nta-alias", "SecuMailer_NTA"),
    ("nta-address", "secumailer_nta"),
    ("nta-1-rule", "SecuMailer NTA7516 Rule - 1"),
    ("nta-2-rule", "SecuMailer NTA7516 Rule - 2"),
];

/// The connector, groups and rules, and rich text off.
///
/// # Errors
/// A sentence for the administrator if the request cannot be met.
pub fn plan(request: &Request) -> Result<Plan, String> {
    request.only_names(NAMES)?;
    if request.scope != Scope::All || request.outbound_only {
        return Err(
            "the SecuMailer guide knows its senders by the groups it makes, and leaves out recipients inside; \
                    leave --scope and --outbound-only out, and put the senders into the groups"
                .into(),
        );
    }
    let customer_id = request.customer_id.as_deref().ok_or(
        "the value of X-Secumail-Id is missing: SecuMailer supplies it to each customer; give it as --customer-id",
    )?;
    let customer_id = checked("--customer-id", customer_id, 256)?;
    if !customer_id.is_ascii() {
        return Err(format!("--customer-id: {customer_id:?} is not ASCII, which a header field has to be"));
    }
    let name = |item: &str| request.name(item, NAMES);
    let connector = name("connector");
    let avg = address(request, &name("avg-address"))?;
    let nta = address(request, &name("nta-address"))?;

    let mut groups = vec![group(request, &name("avg-group"), local_part(&avg), &avg)?];
    let mut own_groups = vec![avg.clone()];
    let mut rules = Vec::new();
    if !request.guide_only {
        for field in [CUSTOMER_ID, OUT_OF_OFFICE, NTA] {
            rules.push(removal(field)?);
        }
    }
    let redirect = |item: &str, group: &str| -> Result<Object, String> {
        let rule = Object::new(Kind::TransportRule, &name(item), "Sends mail of the group's members to SecuMailer.")?
            .with("FromMemberOf", Value::texts([group]))
            .text("SetHeaderName", CUSTOMER_ID)
            .text("SetHeaderValue", &customer_id)
            .text("RouteMessageOutboundConnector", &connector)
            .text("ExceptIfSentToScope", "InOrganization");
        Ok(if request.guide_only { rule } else { rule.text("RuleErrorAction", "Defer") })
    };
    // The order is the guide's.
    rules.push(
        Object::new(
            Kind::TransportRule,
            &name("ooo-rule"),
            "Automatic replies to the outside do not go to SecuMailer.",
        )?
        .text("MessageTypeMatches", "OOF")
        .text("SetHeaderName", OUT_OF_OFFICE)
        .text("SetHeaderValue", "true")
        .text("ExceptIfSentToScope", "InOrganization")
        .flag("StopRuleProcessing", true),
    );
    if request.nta {
        groups.push(group(request, &name("nta-group"), &name("nta-alias"), &nta)?);
        own_groups.push(nta.clone());
        rules.push(
            Object::new(Kind::TransportRule, &name("nta-1-rule"), "Marks mail of the group's members as NTA 7516.")?
                .with("FromMemberOf", Value::texts([&nta]))
                .text("SetHeaderName", NTA)
                .text("SetHeaderValue", "true"),
        );
        rules.push(redirect("nta-2-rule", &nta)?);
    }
    rules.push(redirect("avg-rule", &avg)?);

    let mut objects = vec![outbound(request, &connector)?];
    objects.extend(groups);
    objects.extend(rules);
    objects.push(Object::new(Kind::RemoteDomain, "Default", "Rich text format: never.")?.flag("TNEFEnabled", false));
    Ok(Plan { objects, own_groups, switched_off: false, notes: notes(&connector) })
}

fn outbound(request: &Request, name: &str) -> Result<Object, String> {
    request.connector(name, "Partner", "To SecuMailer's relay, over TLS with verified name.")
}

/// Members and owners are the site's, and so is everything else about the group once it is there.
fn group(request: &Request, name: &str, alias: &str, address: &str) -> Result<Object, String> {
    let alias = checked("alias", alias, 64)?;
    let group = Object::new(Kind::DistributionGroup, name, "Its members' mail goes to SecuMailer.")?
        .text("Alias", &alias)
        .text("PrimarySmtpAddress", address)
        .when_new("Type", Value::text("Security"));
    Ok(match &request.group_owner {
        Some(owner) => group.when_new("ManagedBy", Value::texts([owner])),
        None => group,
    })
}

fn removal(field: &str) -> Result<Object, String> {
    let why = "Takes a field that only the following rules may set off mail from inside.";
    Ok(Object::new(Kind::TransportRule, &format!("SecuMailer Marker Removal {field}"), why)?
        .text("FromScope", "InOrganization")
        .text("HeaderMatchesMessageHeader", field)
        .with("HeaderMatchesPatterns", Value::texts(["."]))
        .text("RemoveHeader", field))
}

/// An address; in the first domain if only the local part is given.
fn address(request: &Request, written: &str) -> Result<String, String> {
    let address = match (written.contains('@'), request.domains.first()) {
        (false, Some(domain)) => format!("{written}@{domain}"),
        _ => written.to_owned(),
    };
    super::address("--name", &address)
}

fn local_part(address: &str) -> &str {
    address.rsplit_once('@').map_or(address, |(local_part, _)| local_part)
}

fn notes(connector: &str) -> Vec<String> {
    vec![
        format!(
            "The guide has the connector validated with an address outside: after the set-up run \
             Validate-OutboundConnector -Identity {} -Recipients ADDRESS",
            super::powershell::quoted(connector)
        ),
        "The guide says: check with your security officer before automatic replies go past SecuMailer. That rule is for \
         all senders, not for the members of the groups alone."
            .to_owned(),
        "The groups are made without members, and a second run leaves members and owners alone: put senders into them \
         when the connector is validated."
            .to_owned(),
        "Recipients inside are an exception of the rules. Send a test message to one recipient inside and one outside \
         together, and see in the message trace that the second went by the connector."
            .to_owned(),
        "Rich text is switched off for all remote domains that have no settings of their own (Default). The removal \
         script leaves it so; the setting before was most likely: Set-RemoteDomain Default -TNEFEnabled $null"
            .to_owned(),
    ]
}
