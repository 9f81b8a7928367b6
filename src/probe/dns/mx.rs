//! Where the world delivers mail for a domain (RFC 5321, section 5.1).

use super::{NoRecord, Survey, absence, finding, is_public, unknown, zone};
use crate::finding::{Finding, Status};
use crate::probe::shown;

/// Most hosts of one domain that are looked up; nobody has more, and a name server could tell of hundreds.
const MAX_HOSTS: usize = 20;

/// Whether there are MX records, whether their hosts can be reached, and whether all are the provider's.
pub async fn examine(survey: &Survey, domain: &str) -> Vec<Finding> {
    let records = match survey.resolver.mx(domain).await {
        Ok(records) => records,
        Err(NoRecord::Unknown(why)) => return vec![unknown("mx", domain, "the MX records", &why)],
        Err(missing) => {
            let seen = format!("no MX record: {}", absence(&missing));
            return vec![finding("mx", domain, Status::Fail, seen).mended_by(survey.wanted.mx_records(domain))];
        }
    };
    let hosts: Vec<&str> = records.iter().map(|(_, host)| host.as_str()).collect();
    if hosts.contains(&"") {
        let seen = if hosts.len() == 1 {
            "a null MX record, which says that the domain takes no mail (RFC 7505)"
        } else {
            "a null MX record beside others, which is an error (RFC 7505, section 3)"
        };
        let mend = format!("remove: {domain}. IN MX 0 .\n{}", survey.wanted.mx_records(domain));
        return vec![finding("mx", domain, Status::Fail, seen).mended_by(mend)];
    }
    let names: Vec<String> = records.iter().map(|(preference, host)| format!("{preference} {host}")).collect();
    let mut found = vec![finding("mx", domain, Status::Pass, shown(&names.join(", ")))];
    found.extend(hosts_of(survey, domain, &records).await);
    found.push(provider(survey, domain, &records));
    found
}

/// Whether each host has an address to which the world can connect.
async fn hosts_of(survey: &Survey, domain: &str, hosts: &[(u16, String)]) -> Vec<Finding> {
    let check = "mx-hosts";
    let mut found = Vec::new();
    for (preference, host) in hosts.iter().take(MAX_HOSTS) {
        let problem = match survey.resolver.addresses(host).await {
            Ok(found) => match (found.alias_for, found.addresses.iter().find(|address| !is_public(address))) {
                (Some(real), _) => {
                    let seen = format!("{host} is an alias for {real}; an MX host must not be one (RFC 2181, 10.3)");
                    finding(check, domain, Status::Warn, seen).mended_by(zone::mx(domain, *preference, &real))
                }
                (None, Some(address)) => {
                    let seen = format!("{host} has the address {address}, which the world cannot reach");
                    finding(check, domain, Status::Fail, seen)
                        .mended_by(format!("{host}. IN A PUBLIC-ADDRESS, in place of {address}"))
                }
                (None, None) => continue,
            },
            Err(NoRecord::Unknown(why)) => unknown(check, domain, &format!("the addresses of {host}"), &why),
            Err(_) if host.parse::<std::net::Ipv4Addr>().is_ok() => {
                let seen = format!("{host} is an address; an MX record must name a host (RFC 1035, 3.3.9)");
                finding(check, domain, Status::Fail, seen).mended_by(format!(
                    "mail.{domain}. IN A {host}\n{}",
                    zone::mx(domain, *preference, &format!("mail.{domain}"))
                ))
            }
            Err(missing) => {
                let seen = format!("{host} has no address: {}", absence(&missing));
                finding(check, domain, Status::Fail, seen)
                    .mended_by(format!("{host}. IN A ADDRESS, or remove: {}", zone::mx(domain, *preference, host)))
            }
        };
        found.push(problem);
    }
    if hosts.len() > MAX_HOSTS {
        let seen = format!("{} MX hosts; only {MAX_HOSTS} were looked up", hosts.len());
        found.push(finding(check, domain, Status::Warn, seen).mended_by("keep a few MX records"));
    }
    if found.is_empty() {
        let (count, have) =
            if hosts.len() == 1 { ("the host".into(), "has") } else { (format!("all {} hosts", hosts.len()), "have") };
        found.push(finding(check, domain, Status::Pass, format!("{count} {have} an address")));
    }
    found
}

/// Whether mail can come in past the provider.
fn provider(survey: &Survey, domain: &str, records: &[(u16, String)]) -> Finding {
    let check = "mx-provider";
    let wanted = &survey.wanted;
    if wanted.mx_hosts.is_empty() {
        let seen =
            "the names of the provider's MX hosts are not known, so nobody can say whether mail comes in past it";
        return finding(check, domain, Status::Unknown, seen)
            .mended_by("[lock_down] mx_hosts = [\"mx.example.net\"], with the names that the provider has given you");
    }
    let foreign: Vec<&(u16, String)> = records.iter().filter(|(_, host)| !wanted.mx_hosts.contains(host)).collect();
    if foreign.is_empty() {
        return finding(check, domain, Status::Pass, "all MX hosts are the provider's");
    }
    let names: Vec<&str> = foreign.iter().map(|(_, host)| host.as_str()).collect();
    let seen = format!("mail comes in past the provider: {}", shown(&names.join(", ")));
    let mut mend: Vec<String> = foreign
        .iter()
        .take(MAX_HOSTS)
        .map(|(preference, host)| format!("remove: {}", zone::mx(domain, *preference, host)))
        .collect();
    if foreign.len() == records.len() {
        mend.push(wanted.mx_records(domain));
    }
    finding(check, domain, Status::Fail, seen).mended_by(mend.join("\n"))
}

impl super::Wanted {
    /// The MX records that a domain should have, as far as the names are known.
    fn mx_records(&self, domain: &str) -> String {
        let whole: Vec<&String> = self.mx_names.iter().filter(|name| !name.starts_with('*')).collect();
        if whole.is_empty() {
            return format!("{domain}. IN MX 10 HOST., with the name that the provider has given you");
        }
        let record =
            |(index, host): (usize, &&String)| zone::mx(domain, 10 * (1 + u16::try_from(index).unwrap_or(0)), host);
        whole.iter().enumerate().map(record).collect::<Vec<_>>().join("\n")
    }
}
