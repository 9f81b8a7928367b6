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
