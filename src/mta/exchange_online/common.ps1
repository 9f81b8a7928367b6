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
