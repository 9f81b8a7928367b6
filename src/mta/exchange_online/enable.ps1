
# Stops unless every domain of the organization has its MX at the provider: the connector refuses all other mail.
function Assert-Mx {
    if ($MxHosts.Count -eq 0) {
        throw ('This script was generated without the names of the MX hosts, so it cannot look whether the domains are there. ' +
            'Generate it with --mx-host, or look yourself and give -WithoutMxCheck.')
    }
    if (-not (Get-Command -Name 'Resolve-DnsName' -ErrorAction SilentlyContinue)) {
        throw 'Resolve-DnsName is missing: it is part of Windows only. Run this on Windows, or look yourself and give -WithoutMxCheck.'
    }
    $accepted = @(Get-AcceptedDomain | ForEach-Object { "$($_.DomainName)" } | Where-Object { $_ -notlike '*.onmicrosoft.com' })
    foreach ($domain in @($Domains + $accepted | Sort-Object -Unique)) {
        try {
            $answer = @(Resolve-DnsName -Name $domain -Type MX -DnsOnly -ErrorAction Stop)
        } catch {
            throw "The MX records of $domain cannot be looked up: $($_.Exception.Message) The connector stays as it is."
        }
        $hosts = @($answer | Where-Object { "$(Get-Property -Of $_ -Name 'QueryType')" -eq 'MX' } |
                ForEach-Object { "$(Get-Property -Of $_ -Name 'NameExchange')".TrimEnd('.') })
        if ($hosts.Count -eq 0) {
            if ($Domains -contains $domain) { throw "$domain has no MX record. The connector stays as it is." }
            Write-Warning "$domain has no MX record; mail to it will be refused unless it comes from the provider."
        }
        foreach ($name in $hosts) {
            $matching = @($MxHosts | Where-Object {
                    if ($_.StartsWith('*.')) { $name -like $_ } else { $name -eq $_ }
                })
            if ($matching.Count -eq 0) {
                throw ("An MX of $domain is $name, which is none of $($MxHosts -join ', '). " +
                    'Switched on, the connector would refuse mail that comes by that way. It stays as it is.')
            }
        }
        Write-Host "MX of ${domain}: $($hosts -join ', ')"
    }
}

if ($Enable) {
    if (-not $WithoutMxCheck) { Assert-Mx }
    foreach ($object in @($Objects | Where-Object { $_['Kind'] -eq 'InboundConnector' })) {
        $name = $object['Name']
        $existing = Get-All -Kind 'InboundConnector' | Where-Object { $_.Name -eq $name } | Select-Object -First 1
        if ($null -ne $existing -and $existing.Enabled) {
            Write-Host "InboundConnector '$name' is switched on already."
        } elseif ($PSCmdlet.ShouldProcess("InboundConnector '$name'", 'Switch on; mail from elsewhere will be refused')) {
            Set-InboundConnector -Identity $name -Enabled $true
            Write-Host "Switched on InboundConnector '$name'."
        }
    }
}
