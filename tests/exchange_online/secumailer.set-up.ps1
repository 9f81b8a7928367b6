#Requires -Version 5.1
<#
.SYNOPSIS
    Sets Exchange Online up for SecuMailer: makes what is missing, and changes what differs.

.DESCRIPTION
    Made by conbool-milter VERSION, setup exchange-online.
    Can be run again: then it changes nothing that is as it is to be, and tells what it changes.
    First: Install-Module ExchangeOnlineManagement -Scope CurrentUser; Connect-ExchangeOnline
    Then look what it would do with -WhatIf.
    The cmdlets and parameters are those of Microsoft's documentation. This script has been parsed
    and examined, but never been run on a real organization: try it on a test organization.

.PARAMETER FirstPriority
    Priority of the first rule; 0: before all others. The rules follow one another from there.

.NOTES
    The guide has the connector validated with an address outside: after the set-up run
    Validate-OutboundConnector -Identity 'SecuMailer' -Recipients ADDRESS

    The guide says: check with your security officer before automatic replies go past SecuMailer.
    That rule is for all senders, not for the members of the groups alone.

    The groups are made without members, and a second run leaves members and owners alone: put
    senders into them when the connector is validated.

    Recipients inside are an exception of the rules. Send a test message to one recipient inside and
    one outside together, and see in the message trace that the second went by the connector.

    Rich text is switched off for all remote domains that have no settings of their own (Default).
    The removal script leaves it so; the setting before was most likely: Set-RemoteDomain Default
    -TNEFEnabled $null
#>
[CmdletBinding(SupportsShouldProcess)]
param(
    [ValidateRange(0, 299)] [int] $FirstPriority = 0
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

# Comments that end so are those of objects that the set-up script made.
$Mark = '[conbool-milter:secumailer]'
$Domains = @('example.com')
$NeededCommands = @(
    'Enable-TransportRule'
    'Get-AcceptedDomain'
    'Get-DistributionGroup'
    'Get-Group'
    'Get-OutboundConnector'
    'Get-Recipient'
    'Get-RemoteDomain'
    'Get-TransportRule'
    'New-DistributionGroup'
    'New-OutboundConnector'
    'New-TransportRule'
    'Remove-TransportRule'
    'Set-DistributionGroup'
    'Set-OutboundConnector'
    'Set-RemoteDomain'
    'Set-TransportRule'
)
$OwnGroups = @('secumailer_avg@example.com')

# What is wanted, in this order; rules by their priorities.
$Objects = @(
    @{
        Kind = 'OutboundConnector'
        Name = 'SecuMailer'
        Why = 'To SecuMailer''s relay, over TLS with verified name.'
        Settings = [ordered]@{
            ConnectorType = 'Partner'
            UseMXRecord = $false
            SmartHosts = @('mail-relay.secumail.cloud')
            TlsSettings = 'DomainValidation'
            TlsDomain = 'mail-relay.secumail.cloud'
            IsTransportRuleScoped = $true
            Enabled = $true
        }
        WhenNew = [ordered]@{}
    }
    @{
        Kind = 'DistributionGroup'
        Name = 'SecuMailer AVG'
        Why = 'Its members'' mail goes to SecuMailer.'
        Settings = [ordered]@{
            Alias = 'secumailer_avg'
            PrimarySmtpAddress = 'secumailer_avg@example.com'
        }
        WhenNew = [ordered]@{
            Type = 'Security'
        }
    }
    @{
        Kind = 'TransportRule'
        Name = 'SecuMailer Marker Removal X-Secumail-Id'
        Why = 'Takes a field that only the following rules may set off mail from inside.'
        Settings = [ordered]@{
            FromScope = 'InOrganization'
            HeaderMatchesMessageHeader = 'X-Secumail-Id'
            HeaderMatchesPatterns = @('.')
            RemoveHeader = 'X-Secumail-Id'
        }
        WhenNew = [ordered]@{}
    }
    @{
        Kind = 'TransportRule'
        Name = 'SecuMailer Marker Removal X-SecuMailer-OOO'
        Why = 'Takes a field that only the following rules may set off mail from inside.'
        Settings = [ordered]@{
            FromScope = 'InOrganization'
            HeaderMatchesMessageHeader = 'X-SecuMailer-OOO'
            HeaderMatchesPatterns = @('.')
            RemoveHeader = 'X-SecuMailer-OOO'
        }
        WhenNew = [ordered]@{}
    }
    @{
        Kind = 'TransportRule'
        Name = 'SecuMailer Marker Removal X-SecuMailer-NTA7516'
        Why = 'Takes a field that only the following rules may set off mail from inside.'
        Settings = [ordered]@{
            FromScope = 'InOrganization'
            HeaderMatchesMessageHeader = 'X-SecuMailer-NTA7516'
            HeaderMatchesPatterns = @('.')
            RemoveHeader = 'X-SecuMailer-NTA7516'
        }
        WhenNew = [ordered]@{}
    }
    @{
        Kind = 'TransportRule'
        Name = 'Out Of Office Exception SecuMailer'
        Why = 'Automatic replies to the outside do not go to SecuMailer.'
        Settings = [ordered]@{
            MessageTypeMatches = 'OOF'
            SetHeaderName = 'X-SecuMailer-OOO'
            SetHeaderValue = 'true'
            ExceptIfSentToScope = 'InOrganization'
            StopRuleProcessing = $true
        }
        WhenNew = [ordered]@{}
    }
    @{
        Kind = 'TransportRule'
        Name = 'Redirect to SecuMailer AVG'
        Why = 'Sends mail of the group''s members to SecuMailer.'
        Settings = [ordered]@{
            FromMemberOf = @('secumailer_avg@example.com')
            SetHeaderName = 'X-Secumail-Id'
            SetHeaderValue = 'customer-4711'
            RouteMessageOutboundConnector = 'SecuMailer'
            ExceptIfSentToScope = 'InOrganization'
            RuleErrorAction = 'Defer'
        }
        WhenNew = [ordered]@{}
    }
    @{
        Kind = 'RemoteDomain'
        Name = 'Default'
        Why = 'Rich text format: never.'
        Settings = [ordered]@{
            TNEFEnabled = $false
        }
        WhenNew = [ordered]@{}
    }
)

# The text of common.ps1.

# The text of set_up.ps1.
# The text of set_up_main.ps1.
