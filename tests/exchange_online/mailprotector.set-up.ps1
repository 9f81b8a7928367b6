#Requires -Version 5.1
<#
.SYNOPSIS
    Sets Exchange Online up for Mailprotector: makes what is missing, and changes what differs.

.DESCRIPTION
    Made by conbool-milter VERSION, setup exchange-online.
    Can be run again: then it changes nothing that is as it is to be, and tells what it changes.
    First: Install-Module ExchangeOnlineManagement -Scope CurrentUser; Connect-ExchangeOnline
    Then look what it would do with -WhatIf.
    The cmdlets and parameters are those of Microsoft's documentation. This script has been parsed
    and examined, but never been run on a real organization: try it on a test organization.

.PARAMETER Enable
    Switch the connector on, if the MX records of all domains are the provider's.

.PARAMETER WithoutMxCheck
    Switch it on without looking at the MX records.

.NOTES
    The connector is made switched off. Once the MX records of all domains are Mailprotector's, run
    the script with -Enable: it looks at the MX records of every domain of the organization first.

    Switched on, it refuses all mail from outside that does not come from the addresses given, for
    every domain of the organization: printers, applications and other services that send without a
    login too.
#>
[CmdletBinding(SupportsShouldProcess)]
param(
    [switch] $Enable,
    [switch] $WithoutMxCheck
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

# Comments that end so are those of objects that the set-up script made.
$Mark = '[conbool-milter:mailprotector]'
$Domains = @('example.com')
$NeededCommands = @(
    'Enable-TransportRule'
    'Get-AcceptedDomain'
    'Get-InboundConnector'
    'Get-Recipient'
    'Get-TransportRule'
    'New-InboundConnector'
    'New-TransportRule'
    'Remove-TransportRule'
    'Set-InboundConnector'
    'Set-TransportRule'
)
$FirstPriority = 0
$OwnGroups = @()
$MxHosts = @('mx.example.net', '*.mx.example.net')

# What is wanted, in this order; rules by their priorities.
$Objects = @(
    @{
        Kind = 'InboundConnector'
        Name = 'Inbound from Mailprotector Only'
        Why = 'Refuses mail that does not come from Mailprotector.'
        Settings = [ordered]@{
            ConnectorType = 'Partner'
            SenderDomains = @('*')
            RequireTls = $true
            RestrictDomainsToIPAddresses = $true
            SenderIPAddresses = @('192.0.2.0/24', '198.51.100.7')
            RestrictDomainsToCertificate = $false
        }
        WhenNew = [ordered]@{
            Enabled = $false
        }
    }
)

# The text of common.ps1.

# The text of set_up.ps1.
# The text of set_up_main.ps1.
# The text of enable.ps1.
