#Requires -Version 5.1
<#
.SYNOPSIS
    Sets Exchange Online up for Conbool: makes what is missing, and changes what differs.

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
    The connectors are of type OnPremises, as the guide's tables have it, although it calls the
    other side a partner organization: only by such a connector may Conbool hand mail back that goes
    outside. On that type Exchange Online does not act on RequireTls and
    RestrictDomainsToCertificate: mail from Conbool is known by its certificate, and mail from
    elsewhere is not refused.

    The guide's exception for a Return-Path of <> can be claimed by every sender inside who can
    write header fields: whoever submits such mail by SMTP gets it past Conbool.

    The guide's exception for the sender pattern <> has no effect according to Microsoft, who say
    that this predicate does not find empty addresses; the one for Return-Path does its work.

    The guide sets the spam confidence level 7. Microsoft describes 5 and 6 (spam) and 9 (high
    confidence): look in a test message where yours ends up.

    Priorities: the release rule comes before the relay rule and the spam rule, as only then its
    stop does what the guide says it is for. The guide numbers them 2, 0 and 1.

    Marker fields count only from the relay networks given. If Conbool sends from other addresses
    too, its marks are taken off, and mail that it hands back would go round: keep the list
    complete. With enhanced filtering on the inbound connector, look in a message trace which
    address the rules see.

    The guide's relay rule has no condition on recipients: mail between mailboxes inside goes to
    Conbool too. With --outbound-only it does not.
#>
[CmdletBinding(SupportsShouldProcess)]
param(
    [ValidateRange(0, 299)] [int] $FirstPriority = 0
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

# Comments that end so are those of objects that the set-up script made.
$Mark = '[conbool-milter:conbool]'
$Domains = @('example.com')
$NeededCommands = @(
    'Enable-TransportRule'
    'Get-AcceptedDomain'
    'Get-InboundConnector'
    'Get-OutboundConnector'
    'Get-Recipient'
    'Get-TransportRule'
    'New-InboundConnector'
    'New-OutboundConnector'
    'New-TransportRule'
    'Remove-TransportRule'
    'Set-InboundConnector'
    'Set-OutboundConnector'
    'Set-TransportRule'
)
$OwnGroups = @()

# What is wanted, in this order; rules by their priorities.
$Objects = @(
    @{
        Kind = 'OutboundConnector'
        Name = 'Conbool Outbound Connector'
        Why = 'To Conbool''s relay, over TLS with verified name.'
        Settings = [ordered]@{
            ConnectorType = 'OnPremises'
            UseMXRecord = $false
            SmartHosts = @('mail.conbool.com')
            TlsSettings = 'DomainValidation'
            TlsDomain = 'mail.conbool.com'
            IsTransportRuleScoped = $true
            Enabled = $true
        }
        WhenNew = [ordered]@{}
    }
    @{
        Kind = 'InboundConnector'
        Name = 'Conbool Inbound Connector'
        Why = 'From Conbool''s relay, known by its certificate.'
        Settings = [ordered]@{
            ConnectorType = 'OnPremises'
            SenderDomains = @('*')
            RequireTls = $true
            TlsSenderCertificateName = 'mail.conbool.com'
            RestrictDomainsToCertificate = $true
            Enabled = $true
        }
        WhenNew = [ordered]@{}
    }
    @{
        Kind = 'TransportRule'
        Name = 'Conbool Marker Removal X-Conbool-Flag'
        Why = 'Takes a marker field off mail that does not come from Conbool, so that nobody else can use it.'
        Settings = [ordered]@{
            HeaderMatchesMessageHeader = 'X-Conbool-Flag'
            HeaderMatchesPatterns = @('.')
            RemoveHeader = 'X-Conbool-Flag'
            ExceptIfSenderIpRanges = @('192.0.2.0/24', '198.51.100.7')
        }
        WhenNew = [ordered]@{}
    }
    @{
        Kind = 'TransportRule'
        Name = 'Conbool Marker Removal X-Conbool-Released'
        Why = 'Takes a marker field off mail that does not come from Conbool, so that nobody else can use it.'
        Settings = [ordered]@{
            HeaderMatchesMessageHeader = 'X-Conbool-Released'
            HeaderMatchesPatterns = @('.')
            RemoveHeader = 'X-Conbool-Released'
            ExceptIfSenderIpRanges = @('192.0.2.0/24', '198.51.100.7')
        }
        WhenNew = [ordered]@{}
    }
    @{
        Kind = 'TransportRule'
        Name = 'Conbool Marker Removal X-Conbool-example-com'
        Why = 'Takes a marker field off mail that does not come from Conbool, so that nobody else can use it.'
        Settings = [ordered]@{
            HeaderMatchesMessageHeader = 'X-Conbool-example-com'
            HeaderMatchesPatterns = @('.')
            RemoveHeader = 'X-Conbool-example-com'
            ExceptIfSenderIpRanges = @('192.0.2.0/24', '198.51.100.7')
        }
        WhenNew = [ordered]@{}
    }
    @{
        Kind = 'TransportRule'
        Name = 'Conbool Quarantine Release Bypass'
        Why = 'Delivers what was released from Conbool''s quarantine, with no further rule.'
        Settings = [ordered]@{
            HeaderMatchesMessageHeader = 'X-Conbool-Released'
            HeaderMatchesPatterns = @('yes')
            FromScope = 'NotInOrganization'
            SentToScope = 'InOrganization'
            SetSCL = -1
            StopRuleProcessing = $true
            Mode = 'Enforce'
        }
        WhenNew = [ordered]@{}
    }
    @{
        Kind = 'TransportRule'
        Name = 'Conbool Exchange transport rule'
        Why = 'Sends mail to Conbool, except what has been there, meeting messages and the null sender.'
        Settings = [ordered]@{
            SenderAddressLocation = 'HeaderOrEnvelope'
            FromScope = 'InOrganization'
            ExceptIfHeaderMatchesMessageHeader = 'X-Conbool-example-com'
            ExceptIfHeaderMatchesPatterns = @('true')
            ExceptIfMessageTypeMatches = 'Calendaring'
            ExceptIfHeaderContainsMessageHeader = 'Return-Path'
            ExceptIfHeaderContainsWords = @('<>')
            ExceptIfFromAddressMatchesPatterns = @('<>')
            RouteMessageOutboundConnector = 'Conbool Outbound Connector'
            Mode = 'Enforce'
            RuleErrorAction = 'Defer'
        }
        WhenNew = [ordered]@{}
    }
    @{
        Kind = 'TransportRule'
        Name = 'Conbool Spam classification rule'
        Why = 'Puts what Conbool holds for spam into the junk folder.'
        Settings = [ordered]@{
            HeaderMatchesMessageHeader = 'X-Conbool-Flag'
            HeaderMatchesPatterns = @('YES')
            SetSCL = 7
            Mode = 'Enforce'
        }
        WhenNew = [ordered]@{}
    }
)

# The text of common.ps1.

# The text of set_up.ps1.
# The text of set_up_main.ps1.
