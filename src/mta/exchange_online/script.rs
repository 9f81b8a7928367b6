//! Puts the scripts together: what is wanted, as data, and the fixed text that makes it so.

use std::fmt::Write as _;

use super::object::Kind;
use super::powershell::Value;
use super::{Plan, Request};

const COMMON: &str = include_str!("common.ps1");
const SET_UP: &str = include_str!("set_up.ps1");
const SET_UP_MAIN: &str = include_str!("set_up_main.ps1");
const ENABLE: &str = include_str!("enable.ps1");
const REMOVAL_MAIN: &str = include_str!("removal_main.ps1");

/// Columns of the notes in a script's head.
const WIDTH: usize = 100;

/// The script that makes what is missing and changes what differs.
pub fn set_up(request: &Request, plan: &Plan) -> String {
    let name = request.guide.name();
    let rules = plan.objects.iter().any(|object| object.kind == Kind::TransportRule);
    let mut parameters = Vec::new();
    if rules {
        parameters.push((
            "FirstPriority",
            "[ValidateRange(0, 299)] [int] $FirstPriority = 0",
            "Priority of the first rule; 0: before all others. The rules follow one another from there.",
        ));
    }
    if plan.switched_off {
        parameters.push((
            "Enable",
            "[switch] $Enable",
            "Switch the connector on, if the MX records of all domains are the provider's.",
        ));
        parameters.push((
            "WithoutMxCheck",
            "[switch] $WithoutMxCheck",
            "Switch it on without looking at the MX records.",
        ));
    }
    let mut script = head(
        &format!("Sets Exchange Online up for {name}: makes what is missing, and changes what differs."),
        "Can be run again: then it changes nothing that is as it is to be, and tells what it changes.",
        &parameters,
        &plan.notes,
        "SupportsShouldProcess",
    );
    let mut commands: Vec<String> = plan.objects.iter().flat_map(|object| object.kind.commands()).collect();
    commands.extend(["Get-AcceptedDomain".into(), "Get-Recipient".into()]);
    commands.extend(Kind::TransportRule.commands());
    constants(&mut script, request, commands);
    if !rules {
        script.push_str("$FirstPriority = 0\n");
    }
    let _ = writeln!(script, "$OwnGroups = {}", Value::texts(&plan.own_groups).source());
    if plan.switched_off {
        let _ = writeln!(script, "$MxHosts = {}", Value::texts(&request.mx_hosts).source());
    }
    script.push_str("\n# What is wanted, in this order; rules by their priorities.\n$Objects = @(\n");
    for object in &plan.objects {
        script.push_str(&object.source());
    }
    script.push_str(")\n\n");
    for part in [COMMON, "\n", SET_UP, SET_UP_MAIN] {
        script.push_str(part);
    }
    if plan.switched_off {
        script.push_str(ENABLE);
    }
    script
}

/// The script that removes what the other made.
pub fn removal(request: &Request, plan: &Plan) -> String {
    let has = |kind: Kind| plan.objects.iter().any(|object| object.kind == kind);
    let mut parameters = vec![(
        "Connectors",
        "[switch] $Connectors",
        "Remove the connectors too. Wait an hour or so after the rules are gone: mail that is under way may need them.",
    )];
    if has(Kind::DistributionGroup) {
        parameters.push(("Groups", "[switch] $Groups", "Remove the groups too, with the lists of their members."));
    }
    let mut script = head(
        &format!("Removes from Exchange Online what the set-up script for {} made.", request.guide.name()),
        "Removes only what bears that script's mark in its comment, and asks before each removal (-Confirm:$false: does not).",
        &parameters,
        &[],
        "SupportsShouldProcess, ConfirmImpact = 'High'",
    );
    let kinds = [Kind::TransportRule, Kind::OutboundConnector, Kind::InboundConnector, Kind::DistributionGroup];
    let mut commands = vec!["Get-AcceptedDomain".to_owned(), "Get-Group".to_owned()];
    for kind in kinds {
        commands.extend(["Get", "Remove"].map(|verb| format!("{verb}-{}", kind.noun())));
    }
    constants(&mut script, request, commands);
    if !has(Kind::DistributionGroup) {
        script.push_str("$Groups = $false\n");
    }
    script.push('\n');
    script.push_str(COMMON);
    script.push_str(REMOVAL_MAIN);
    script
}

/// What is the same for both scripts, and depends on the request.
fn constants(script: &mut String, request: &Request, mut commands: Vec<String>) {
    commands.sort();
    commands.dedup();
    script.push_str("Set-StrictMode -Version 3.0\n$ErrorActionPreference = 'Stop'\n\n");
    let mark = format!("[conbool-milter:{}]", request.guide.key());
    let _ = writeln!(script, "# Comments that end so are those of objects that the set-up script made.");
    let _ = writeln!(script, "$Mark = {}", Value::text(mark).source());
    let _ = writeln!(script, "$Domains = {}", Value::texts(&request.domains).source());
    script.push_str("$NeededCommands = @(\n");
    for command in commands {
        let _ = writeln!(script, "    {}", Value::text(command).source());
    }
    script.push_str(")\n");
}

/// Help, attribute and parameters (about_Comment_Based_Help).
fn head(
    synopsis: &str,
    description: &str,
    parameters: &[(&str, &str, &str)],
    notes: &[String],
    binding: &str,
) -> String {
    let mut head = format!(
        "#Requires -Version 5.1\n<#\n.SYNOPSIS\n    {synopsis}\n\n.DESCRIPTION\n    Made by conbool-milter {}, setup exchange-online.\n",
        env!("CARGO_PKG_VERSION")
    );
    let first = [
        description,
        "First: Install-Module ExchangeOnlineManagement -Scope CurrentUser; Connect-ExchangeOnline",
        "Then look what it would do with -WhatIf.",
        "The cmdlets and parameters are those of Microsoft's documentation. This script has been parsed and examined, but \
         never been run on a real organization: try it on a test organization.",
    ];
    for text in first {
        paragraph(&mut head, text);
    }
    for (name, _, help) in parameters {
        let _ = write!(head, "\n.PARAMETER {name}\n");
        paragraph(&mut head, help);
    }
    if !notes.is_empty() {
        head.push_str("\n.NOTES\n");
        for (number, note) in notes.iter().enumerate() {
            if number > 0 {
                head.push('\n');
            }
            paragraph(&mut head, note);
        }
    }
    let _ = writeln!(head, "#>\n[CmdletBinding({binding})]");
    let parameters: Vec<&str> = parameters.iter().map(|(_, declaration, _)| *declaration).collect();
    let _ = writeln!(head, "param(\n    {}\n)\n", parameters.join(",\n    "));
    head
}

/// A paragraph of the help, indented. No text of it can end the help.
fn paragraph(head: &mut String, text: &str) {
    let text = text.replace("#>", "# >");
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH - 4 {
            let _ = writeln!(head, "    {line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(head, "    {line}");
}
