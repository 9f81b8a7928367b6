#Requires -Version 5.1
<#
.SYNOPSIS
    Removes from Exchange Online what the set-up script for Mailprotector made.

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
#>
[CmdletBinding(SupportsShouldProcess, ConfirmImpact = 'High')]
param(
    [switch] $Connectors
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

# Comments that end so are those of objects that the set-up script made.
$Mark = '[conbool-milter:mailprotector]'
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
$Groups = $false

# The text of common.ps1.
# The text of removal_main.ps1.
