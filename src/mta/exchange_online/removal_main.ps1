
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
