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
    Validate-OutboundConnector -Identity 'O''Brien' -Recipients ADDRESS

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
$OwnGroups = @('relay@example.com', 'secumailer_nta@example.com')

# What is wanted, in this order; rules by their priorities.
$Objects = @(
    @{
        Kind = 'OutboundConnector'
        Name = 'O''Brien'
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
        Name = 'Größe ’’s $(Get-Date) `n'
        Why = 'Its members'' mail goes to SecuMailer.'
        Settings = [ordered]@{
            Alias = 'relay'
            PrimarySmtpAddress = 'relay@example.com'
        }
        WhenNew = [ordered]@{
            Type = 'Security'
            ManagedBy = @('alice@example.com')
        }
    }
    @{
        Kind = 'DistributionGroup'
        Name = 'SecuMailer NTA Group'
        Why = 'Its members'' mail goes to SecuMailer.'
        Settings = [ordered]@{
            Alias = 'SecuMailer_NTA'
            PrimarySmtpAddress = 'secumailer_nta@example.com'
        }
        WhenNew = [ordered]@{
            Type = 'Security'
            ManagedBy = @('alice@example.com')
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
        Name = 'SecuMailer NTA7516 Rule - 1'
        Why = 'Marks mail of the group''s members as NTA 7516.'
        Settings = [ordered]@{
            FromMemberOf = @('secumailer_nta@example.com')
            SetHeaderName = 'X-SecuMailer-NTA7516'
            SetHeaderValue = 'true'
        }
        WhenNew = [ordered]@{}
    }
    @{
        Kind = 'TransportRule'
        Name = 'SecuMailer NTA7516 Rule - 2'
        Why = 'Sends mail of the group''s members to SecuMailer.'
        Settings = [ordered]@{
            FromMemberOf = @('secumailer_nta@example.com')
            SetHeaderName = 'X-Secumail-Id'
            SetHeaderValue = 'customer-4711'
            RouteMessageOutboundConnector = 'O''Brien'
            ExceptIfSentToScope = 'InOrganization'
            RuleErrorAction = 'Defer'
        }
        WhenNew = [ordered]@{}
    }
    @{
        Kind = 'TransportRule'
        Name = 'Redirect to SecuMailer AVG'
        Why = 'Sends mail of the group''s members to SecuMailer.'
        Settings = [ordered]@{
            FromMemberOf = @('relay@example.com')
            SetHeaderName = 'X-Secumail-Id'
            SetHeaderValue = 'customer-4711'
            RouteMessageOutboundConnector = 'O''Brien'
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

# What a rule has where nothing else is asked for; $null: not set. Whatever is in this list is compared.
$RuleDefaults = [ordered]@{
    From                                 = $null
    FromMemberOf                         = $null
    FromScope                            = $null
    SentToScope                          = $null
    SenderAddressLocation                = 'Header'
    SenderIpRanges                       = $null
    MessageTypeMatches                   = $null
    HeaderMatchesMessageHeader           = $null
    HeaderMatchesPatterns                = $null
    HeaderContainsMessageHeader          = $null
    HeaderContainsWords                  = $null
    ExceptIfSentToScope                  = $null
    ExceptIfSenderIpRanges               = $null
    ExceptIfMessageTypeMatches           = $null
    ExceptIfHeaderMatchesMessageHeader   = $null
    ExceptIfHeaderMatchesPatterns        = $null
    ExceptIfHeaderContainsMessageHeader  = $null
    ExceptIfHeaderContainsWords          = $null
    ExceptIfFromAddressMatchesPatterns   = $null
    RemoveHeader                         = $null
    SetHeaderName                        = $null
    SetHeaderValue                       = $null
    SetSCL                               = $null
    RouteMessageOutboundConnector        = $null
    StopRuleProcessing                   = $false
    RuleErrorAction                      = 'Ignore'
    Mode                                 = 'Enforce'
}

# Parameters that mean something only together.
$Pairs = @(
    @('HeaderMatchesMessageHeader', 'HeaderMatchesPatterns'),
    @('HeaderContainsMessageHeader', 'HeaderContainsWords'),
    @('ExceptIfHeaderMatchesMessageHeader', 'ExceptIfHeaderMatchesPatterns'),
    @('ExceptIfHeaderContainsMessageHeader', 'ExceptIfHeaderContainsWords'),
    @('SetHeaderName', 'SetHeaderValue'),
    @('TlsSettings', 'TlsDomain'),
    @('UseMXRecord', 'SmartHosts'),
    @('RestrictDomainsToIPAddresses', 'SenderIPAddresses')
)

$CaseMatters = @('SetHeaderValue', 'Comment', 'Comments')

# One text for one value, however Exchange gives it back: a list of one, no list, or 'smtp:*;1' for the domain '*'.
function ConvertTo-Comparable {
    param([object] $Value)
    $texts = @(foreach ($item in @($Value)) {
            if ($null -ne $item -and "$item" -ne '') { "$item" -replace '^smtp:(.*);\d+$', '$1' }
        })
    ($texts | Sort-Object) -join ', '
}

# The address of a recipient, or what was given where there is none.
function Resolve-Recipient {
    param([string] $Identity)
    $found = @(Get-Recipient -Identity $Identity -ErrorAction SilentlyContinue)
    if ($found.Count -eq 1) { "$(Get-Property -Of $found[0] -Name 'PrimarySmtpAddress')" } else { $Identity }
}

function Test-Same {
    param([string] $Name, [object] $Wanted, [object] $Seen)
    $left = ConvertTo-Comparable -Value $Wanted
    $right = ConvertTo-Comparable -Value $Seen
    if ($CaseMatters -contains $Name) { return $left -ceq $right }
    if ($left -eq $right) { return $true }
    if ($left -eq '' -or $right -eq '') { return $false }
    if ($Name -eq 'From' -or $Name -eq 'FromMemberOf') {
        # One recipient has several names.
        $left = ConvertTo-Comparable -Value @($Wanted | ForEach-Object { Resolve-Recipient -Identity "$_" })
        $right = ConvertTo-Comparable -Value @($Seen | ForEach-Object { Resolve-Recipient -Identity "$_" })
        return $left -eq $right
    }
    if ($Name -eq 'RouteMessageOutboundConnector') {
        $connector = Get-All -Kind 'OutboundConnector' | Where-Object { $_.Name -eq $left }
        if ($null -eq $connector) { return $false }
        $names = @('Identity', 'Guid', 'DistinguishedName') | ForEach-Object { "$(Get-Property -Of $connector -Name $_)" }
        return $names -contains $right
    }
    $false
}

# The settings that differ, with those that go with them; tells each.
function Get-Difference {
    param([object] $Existing, [System.Collections.IDictionary] $Settings)
    $changes = [ordered]@{}
    foreach ($name in @($Settings.Keys)) {
        $seen = Get-Property -Of $Existing -Name $name
        if (-not (Test-Same -Name $name -Wanted $Settings[$name] -Seen $seen)) {
            Write-Host ("  ${name}: is '$(ConvertTo-Comparable -Value $seen)', " +
                "is to be '$(ConvertTo-Comparable -Value $Settings[$name])'")
            $changes[$name] = $Settings[$name]
        }
    }
    foreach ($pair in $Pairs) {
        if ($changes.Contains($pair[0]) -or $changes.Contains($pair[1])) {
            foreach ($name in $pair) {
                if ($Settings.Contains($name)) { $changes[$name] = $Settings[$name] }
            }
        }
    }
    $changes
}

# An exception that somebody added is a way past the relay.
function Write-Exception {
    param([object] $Rule)
    foreach ($property in $Rule.PSObject.Properties) {
        $set = (ConvertTo-Comparable -Value $property.Value) -notin @('', 'False')
        if ($property.Name -like 'ExceptIf*' -and -not $RuleDefaults.Contains($property.Name) -and $set) {
            Write-Warning ("Rule '$($Rule.Name)' has the exception $($property.Name) = " +
                "'$(ConvertTo-Comparable -Value $property.Value)', which this script neither sets nor removes.")
        }
    }
}

# A new recipient is not known at once everywhere in Exchange Online.
function Wait-Recipient {
    param([string] $Identity)
    foreach ($try in 1..30) {
        if (@(Get-Recipient -Identity $Identity -ErrorAction SilentlyContinue).Count -gt 0) { return }
        Write-Host "  Waiting until Exchange Online knows $Identity ($try of 30)"
        Start-Sleep -Seconds 10
    }
    throw "Exchange Online does not know $Identity yet. Run this script again in a few minutes."
}

function Add-Wanted {
    param([string] $Kind, [string] $Name, [System.Collections.IDictionary] $Settings)
    if (-not $PSCmdlet.ShouldProcess("$Kind '$Name'", 'Create')) { return }
    switch ($Kind) {
        'OutboundConnector' { $null = New-OutboundConnector -Name $Name @Settings }
        'InboundConnector' { $null = New-InboundConnector -Name $Name @Settings }
        'TransportRule' { $null = New-TransportRule -Name $Name -Enabled $true @Settings }
        'DistributionGroup' {
            $null = New-DistributionGroup -Name $Name @Settings
            Wait-Recipient -Identity $Settings['PrimarySmtpAddress']
        }
        default { throw "$Kind '$Name' is missing, and every organization has one." }
    }
    Write-Host "Created $Kind '$Name'."
}

function Update-Existing {
    param([string] $Kind, [string] $Name, [object] $Existing, [System.Collections.IDictionary] $Settings)
    if ($Kind -eq 'DistributionGroup' -and "$($Existing.RecipientTypeDetails)" -ne 'MailUniversalSecurityGroup') {
        throw ("The group '$Name' is a $($Existing.RecipientTypeDetails); a mail-enabled security group is needed, " +
            'and Exchange cannot make one of it. Rename it, or generate this script with another name.')
    }
    $changes = Get-Difference -Existing $Existing -Settings $Settings
    $switchedOff = $Kind -eq 'TransportRule' -and "$($Existing.State)" -ne 'Enabled'
    if ($changes.Count -eq 0 -and -not $switchedOff) {
        Write-Host "$Kind '$Name' is as it is to be."
        return
    }
    $what = @($changes.Keys)
    if ($switchedOff) { $what += 'State' }
    if (-not $PSCmdlet.ShouldProcess("$Kind '$Name'", "Set $($what -join ', ')")) { return }
    if ($changes.Count -gt 0) {
        switch ($Kind) {
            'OutboundConnector' { Set-OutboundConnector -Identity $Name @changes }
            'InboundConnector' { Set-InboundConnector -Identity $Name @changes }
            'TransportRule' { Set-TransportRule -Identity $Name @changes }
            'DistributionGroup' { Set-DistributionGroup -Identity "$($Existing.Guid)" @changes }
            'RemoteDomain' { Set-RemoteDomain -Identity $Name @changes }
        }
    }
    if ($switchedOff) { Enable-TransportRule -Identity $Name -Confirm:$false }
    Write-Host "Changed $Kind '$Name'."
}

# Creates an object, or makes it what it is to be.
function Set-Wanted {
    param([System.Collections.IDictionary] $Object, [int] $Priority)
    $kind = $Object['Kind']
    $name = $Object['Name']
    $existing = Get-All -Kind $kind | Where-Object { $_.Name -eq $name } | Select-Object -First 1
    $settings = [ordered]@{}
    if ($null -ne $existing -and $kind -eq 'TransportRule') {
        foreach ($setting in $RuleDefaults.Keys) { $settings[$setting] = $RuleDefaults[$setting] }
    }
    foreach ($setting in $Object['Settings'].Keys) { $settings[$setting] = $Object['Settings'][$setting] }
    if ($kind -eq 'TransportRule') { $settings['Priority'] = $Priority }
    $comment = "$($Object['Why']) $Mark"
    if ($null -eq $existing) {
        foreach ($setting in $Object['WhenNew'].Keys) { $settings[$setting] = $Object['WhenNew'][$setting] }
        switch ($kind) {
            'TransportRule' { $settings['Comments'] = $comment }
            'DistributionGroup' { $settings['Notes'] = $comment }
            'RemoteDomain' { }
            default { $settings['Comment'] = $comment }
        }
        Add-Wanted -Kind $kind -Name $name -Settings $settings
        return
    }
    if ($kind -ne 'RemoteDomain') {
        if (-not (Test-Marked -Kind $kind -Of $existing)) {
            Write-Host "$kind '$name' was there before; the removal script will leave it."
        } elseif ($kind -eq 'TransportRule') {
            $settings['Comments'] = $comment
        } elseif ($kind -ne 'DistributionGroup') {
            $settings['Comment'] = $comment
        }
    }
    if ($kind -eq 'TransportRule') { Write-Exception -Rule $existing }
    Update-Existing -Kind $kind -Name $name -Existing $existing -Settings $settings
}

# Removes rules that an earlier run made and that are no longer wanted.
function Remove-Outdated {
    $names = @($Objects | ForEach-Object { $_['Name'] })
    foreach ($rule in @(Get-All -Kind 'TransportRule')) {
        if ($names -notcontains $rule.Name -and (Test-Marked -Kind 'TransportRule' -Of $rule)) {
            if ($PSCmdlet.ShouldProcess("TransportRule '$($rule.Name)'", 'Remove, it is no longer wanted')) {
                Remove-TransportRule -Identity "$($rule.Guid)" -Confirm:$false
                Write-Host "Removed TransportRule '$($rule.Name)', which is no longer wanted."
            }
        }
    }
}

function Assert-Sender {
    foreach ($object in $Objects) {
        if ($object['Kind'] -ne 'TransportRule') { continue }
        foreach ($name in 'From', 'FromMemberOf') {
            foreach ($address in @($object['Settings'][$name])) {
                if ($null -eq $address -or $OwnGroups -contains $address) { continue }
                if (@(Get-Recipient -Identity $address -ErrorAction SilentlyContinue).Count -eq 0) {
                    throw "$address, for rule '$($object['Name'])', is no recipient of this organization. Nothing was changed."
                }
            }
        }
    }
}

Assert-Connection
Assert-Sender
$names = @($Objects | Where-Object { $_['Kind'] -eq 'TransportRule' } | ForEach-Object { $_['Name'] })
$others = @(Get-All -Kind 'TransportRule' | Where-Object { $names -notcontains $_.Name -and -not (Test-Marked -Kind 'TransportRule' -Of $_) })
if ($FirstPriority -gt $others.Count) {
    throw "-FirstPriority can be at most $($others.Count) here: that many rules of others there are."
}
$priority = $FirstPriority
foreach ($object in $Objects) {
    Set-Wanted -Object $object -Priority $priority
    if ($object['Kind'] -eq 'TransportRule') { $priority++ }
}
Remove-Outdated
