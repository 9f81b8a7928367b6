
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
