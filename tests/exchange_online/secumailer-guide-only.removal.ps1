#Requires -Version 5.1
<#
.SYNOPSIS
    Removes from Exchange Online what the set-up script for SecuMailer made.

.DESCRIPTION
    Made by conbool-milter VERSION, setup exchange-online.
    Removes only what bears that script's mark in its comment, and asks before each removal
    (-Confirm:$false: does not).
    First: Install-Module ExchangeOnlineManagement -Scope CurrentUser; Connect-ExchangeOnline
    Then look what it would do with -WhatIf.
    The cmdlets and parameters are those of Microsoft's documentation. This script has been parsed
    and examined, but never been run on a real organization: try it on a test organization.

.PARAMETER Connectors
    Remove the connectors too. Wait an hour or so after the rules are gone: mail that is under way
    may need them.

.PARAMETER Groups
    Remove the groups too, with the lists of their members.
#>
[CmdletBinding(SupportsShouldProcess, ConfirmImpact = 'High')]
param(
    [switch] $Connectors,
    [switch] $Groups
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

# Comments that end so are those of objects that the set-up script made.
$Mark = '[conbool-milter:secumailer]'
$Domains = @('example.com')
$NeededCommands = @(
    'Get-AcceptedDomain'
    'Get-DistributionGroup'
    'Get-Group'
    'Get-InboundConnector'
    'Get-OutboundConnector'
    'Get-TransportRule'
    'Remove-DistributionGroup'
    'Remove-InboundConnector'
    'Remove-OutboundConnector'
    'Remove-TransportRule'
)

function Get-Property {
    param([object] $Of, [string] $Name)
    $property = $Of.PSObject.Properties[$Name]
    if ($null -ne $property) { $property.Value }
}

# Stops unless this session is connected, once, to the organization that has the domains.
function Assert-Connection {
    if (-not (Get-Command -Name 'Get-ConnectionInformation' -ErrorAction SilentlyContinue)) {
        throw ('The module ExchangeOnlineManagement, version 3 or later, is missing. ' +
            'Run: Install-Module ExchangeOnlineManagement -Scope CurrentUser')
    }
    $connections = @(Get-ConnectionInformation | Where-Object {
            (Get-Property -Of $_ -Name 'State') -eq 'Connected' -and -not (Get-Property -Of $_ -Name 'IsEopSession')
        })
    if ($connections.Count -eq 0) {
        throw 'There is no connection to Exchange Online. Run: Connect-ExchangeOnline'
    }
    if ($connections.Count -gt 1) {
        throw ('There are several connections to Exchange Online. ' +
            'Run: Disconnect-ExchangeOnline, then Connect-ExchangeOnline to the one organization that is meant.')
    }
    $missing = @($NeededCommands | Where-Object { -not (Get-Command -Name $_ -ErrorAction SilentlyContinue) })
    if ($missing.Count -gt 0) {
        throw ("This connection offers no $($missing -join ', '). " +
            'Connect without -Prefix, and with an account that has the role Exchange Administrator.')
    }
    $accepted = @(Get-AcceptedDomain | ForEach-Object { "$($_.DomainName)" })
    $foreign = @($Domains | Where-Object { $accepted -notcontains $_ })
    if ($foreign.Count -gt 0) {
        throw ("This organization does not accept mail for $($foreign -join ', '); its domains are " +
            "$($accepted -join ', '). Connect to the right organization, or add the domain to it first.")
    }
}

# Everything of one kind: a look-up by name would give all there is where nothing has the name.
function Get-All {
    param([string] $Kind)
    switch ($Kind) {
        'OutboundConnector' {
            # Each call alone leaves some out.
            $all = @(Get-OutboundConnector -ResultSize Unlimited) +
            @(Get-OutboundConnector -ResultSize Unlimited -IsTransportRuleScoped $true) +
            @(Get-OutboundConnector -ResultSize Unlimited -IncludeTestModeConnectors $true)
            $all | Sort-Object -Property Name -Unique
        }
        'InboundConnector' { Get-InboundConnector -ResultSize Unlimited }
        'TransportRule' { Get-TransportRule -ResultSize Unlimited }
        'DistributionGroup' { Get-DistributionGroup -ResultSize Unlimited }
        'RemoteDomain' { Get-RemoteDomain -ResultSize Unlimited }
    }
}

# The text in which these scripts keep their mark.
function Get-MarkedText {
    param([string] $Kind, [object] $Of)
    switch ($Kind) {
        'TransportRule' { "$(Get-Property -Of $Of -Name 'Comments')" }
        'DistributionGroup' {
            # What Get-DistributionGroup gives has no notes.
            $group = $Of
            if ($null -eq $Of.PSObject.Properties['Notes']) { $group = Get-Group -Identity "$($Of.Guid)" }
            "$(Get-Property -Of $group -Name 'Notes')"
        }
        default { "$(Get-Property -Of $Of -Name 'Comment')" }
    }
}

function Test-Marked {
    param([string] $Kind, [object] $Of)
    (Get-MarkedText -Kind $Kind -Of $Of).Contains($Mark)
}

# Rules that lead to a connector, whoever made them.
function Get-RuleTo {
    param([object] $Connector)
    $names = @('Name', 'Identity', 'Guid', 'DistinguishedName') | ForEach-Object { "$(Get-Property -Of $Connector -Name $_)" }
    Get-All -Kind 'TransportRule' | Where-Object {
        $to = "$(Get-Property -Of $_ -Name 'RouteMessageOutboundConnector')"
        # With -WhatIf, our rules are still there.
        $to -ne '' -and $names -contains $to -and -not ($WhatIfPreference -and (Test-Marked -Kind 'TransportRule' -Of $_))
    }
}

function Remove-Marked {
    param([string] $Kind)
    # One call for the notes of all groups, instead of one for each.
    $all = if ($Kind -eq 'DistributionGroup') { @(Get-Group -ResultSize Unlimited) } else { @(Get-All -Kind $Kind) }
    if ($Kind -eq 'TransportRule') {
        # Backwards: the rule that leads to the relay goes before those that keep mail from going there twice.
        $all = @($all | Sort-Object -Property Priority -Descending)
    }
    foreach ($object in $all) {
        if (-not (Test-Marked -Kind $Kind -Of $object)) { continue }
        if ($Kind -eq 'OutboundConnector') {
            $rules = @(Get-RuleTo -Connector $object | ForEach-Object { $_.Name })
            if ($rules.Count -gt 0) {
                Write-Warning "OutboundConnector '$($object.Name)' stays: the rules $($rules -join ', ') lead to it."
                continue
            }
        }
        if (-not $PSCmdlet.ShouldProcess("$Kind '$($object.Name)'", 'Remove')) { continue }
        switch ($Kind) {
            'TransportRule' { Remove-TransportRule -Identity "$($object.Guid)" -Confirm:$false }
            'OutboundConnector' { Remove-OutboundConnector -Identity $object.Name -Confirm:$false }
            'InboundConnector' { Remove-InboundConnector -Identity $object.Name -Confirm:$false }
            'DistributionGroup' { Remove-DistributionGroup -Identity "$($object.Guid)" -Confirm:$false }
        }
        Write-Host "Removed $Kind '$($object.Name)'."
    }
}

Assert-Connection
Remove-Marked -Kind 'TransportRule'
foreach ($kind in 'OutboundConnector', 'InboundConnector') {
    if ($Connectors) {
        Remove-Marked -Kind $kind
    } else {
        foreach ($object in @(Get-All -Kind $kind | Where-Object { Test-Marked -Kind $kind -Of $_ })) {
            Write-Host "$kind '$($object.Name)' stays until this script is run with -Connectors."
        }
    }
}
if ($Groups) { Remove-Marked -Kind 'DistributionGroup' }
