//! The relay as a client: trusted for what it hands back, and for nothing else.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::{Inspection, list};
use crate::finding::Status;
use crate::mta::postfix::table;

/// A network of mynetworks: `192.0.2.0/24`, `[2001:db8::]/32`, or one address.
fn network(item: &str) -> Option<IpNet> {
    let text = item.replace(['[', ']'], "");
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

impl Inspection<'_> {
    /// Looks at how the mail server takes mail from the relay.
    pub(super) fn relay_as_client(&mut self) {
        self.relay_in_mynetworks();
        self.hand_back_order();
        self.tls_offered();
    }

    /// Whoever is in mynetworks may send anything anywhere, and the relay serves others too.
    fn relay_in_mynetworks(&mut self) {
        let relay = &self.examined.config.relay.networks;
        let mut inside = Vec::new();
        let mut unclear = Vec::new();
        for item in self.in_force("mynetworks") {
            // An exclusion can only make the list smaller.
            if item.starts_with('!') {
                continue;
            }
            let touches =
                |address: &IpNet| self.look_up(item, &address.network().to_string()).map(|found| found.is_some());
            match network(item) {
                Some(network) if relay.iter().any(|relay| overlap(relay, &network)) => inside.push(item.to_owned()),
                Some(_) => {}
                None if item.contains(':') => match relay.iter().map(touches).collect::<Result<Vec<_>, _>>() {
                    Ok(found) if found.contains(&true) => inside.push(item.to_owned()),
                    Ok(_) => {}
                    Err(error) => unclear.push(error.to_string()),
                },
                None => unclear.push(format!("{item} is no network")),
            }
        }
        const CHECK: &str = "relay-in-mynetworks";
        if !inside.is_empty() {
            let seen = format!(
                "mynetworks has {}, from where the relay connects: every customer of the relay could send mail to anybody \
                 through this host",
                inside.join(", ")
            );
            let kept: Vec<_> =
                self.in_force("mynetworks").into_iter().filter(|item| !inside.iter().any(|i| i == item)).collect();
            let mend = self.set("mynetworks", &kept.join(", "));
            self.mend(Status::Fail, (CHECK, ""), seen, mend);
        } else if !unclear.is_empty() {
            self.add(CHECK, "", Status::Unknown, unclear.join("; "));
        } else {
            self.pass(CHECK, "", "the relay is not in mynetworks");
        }
    }

    /// A restriction behind one that ends the list for strangers is never reached.
    fn hand_back_order(&mut self) {
        const SETTING: &str = "smtpd_relay_restrictions";
        let restrictions = list::restrictions(self.existing().in_force(SETTING).unwrap_or_default());
        let ours = restrictions.iter().position(|restriction| restriction.ends_with(&format!("/{}", table::CLIENTS)));
        let end = restrictions.iter().position(|restriction| {
            matches!(
                restriction.as_str(),
                "reject" | "defer" | "reject_unauth_destination" | "defer_unauth_destination" | "permit"
            )
        });
        if let (Some(ours), Some(end)) = (ours, end.filter(|end| ours.is_some_and(|ours| ours > *end))) {
            let seen = format!(
                "{} comes before our restriction, which is never reached: the relay cannot hand back mail",
                restrictions[end]
            );
            let mut sorted = restrictions;
            let restriction = sorted.remove(ours);
            sorted.insert(end, restriction);
            let mend = self.set(SETTING, &sorted.join(", "));
            self.mend(Status::Fail, ("hand-back-order", SETTING), seen, mend);
        }
    }

    /// Without TLS the relay is not believed, and is refused.
    fn tls_offered(&mut self) {
        const CHECK: &str = "tls-offered";
        let existing = self.existing();
        let level = existing.in_force("smtpd_tls_security_level").unwrap_or_default().to_owned();
        if !existing.offers_tls() {
            let seen = match existing.certificates().next() {
                None => "no certificate is set: the relay finds no TLS, and is refused without".to_owned(),
                Some(_) => {
                    format!("smtpd_tls_security_level = {level}: the relay finds no TLS, and is refused without")
                }
            };
            let mend = match existing.certificates().next() {
                None => "smtpd_tls_security_level = may\nsmtpd_tls_chain_files = /etc/ssl/private/mail.pem".to_owned(),
                Some(_) => self.set("smtpd_tls_security_level", "may"),
            };
            return self.mend(Status::Fail, (CHECK, ""), seen, mend);
        }
        let files: Vec<PathBuf> = existing.certificates().map(PathBuf::from).collect();
        match files.iter().find(|file| !file.exists()) {
            Some(missing) => {
                let shown = missing.display().to_string();
                let seen = format!("the certificate {shown} is not there: TLS fails, and the relay is refused without");
                let mend = self.set("smtpd_tls_chain_files", "/etc/ssl/private/mail.pem");
                self.mend(Status::Fail, (CHECK, ""), seen, mend);
            }
            None => self.pass(CHECK, "", format!("smtpd_tls_security_level = {level}")),
        }
    }

    /// What the relay's certificate is verified by.
    pub(super) fn trust_anchors(&mut self) {
        const CHECK: &str = "trust-anchors";
        const OPTION: &str = "smtp_tls_CAfile";
        let of_service = self.existing().option("conbool-relay/unix", OPTION);
        let main_cf =
            || ["smtp_tls_CAfile", "smtp_tls_CApath"].into_iter().find_map(|name| self.existing().written(name));
        let Some(place) = of_service.or_else(main_cf).map(str::to_owned) else {
            let seen = "the system has no trust anchors, so that the relay's certificate cannot be verified";
            let mend = "apt-get install ca-certificates, then `conbool-milter setup` again; or set relay.ca_file";
            return self.mend(Status::Fail, (CHECK, ""), seen, mend);
        };
        // With `$` for parameters, which we do not expand here, nothing can be said.
        if !place.contains('$') && !Path::new(&place).exists() {
            let seen = "is not there, so that the relay's certificate cannot be verified and mail for it waits";
            let mend = self.setup();
            return self.mend(Status::Fail, (CHECK, &place), seen, mend);
        }
        self.pass(CHECK, &place, "is there");
    }
}
