//! The record by which a provider knows that the domain is its customer's.

use super::{NoRecord, Survey, finding, unknown, zone};
use crate::finding::{Finding, Status};

const CHECK: &str = "ownership";

/// Nothing if the site is not told to publish one.
pub async fn examine(survey: &Survey, domain: &str) -> Vec<Finding> {
    let wanted = &survey.wanted.doctor.ownership_txt;
    let Some(first) = wanted.first() else { return Vec::new() };
    let found = match survey.resolver.txt(domain).await {
        Ok(records) => records.iter().any(|record| wanted.iter().any(|wanted| record.text().trim() == wanted)),
        Err(NoRecord::Unknown(why)) => return vec![unknown(CHECK, domain, "the TXT records", &why)],
        Err(NoRecord::NoName | NoRecord::NoData) => false,
    };
    vec![if found {
        finding(CHECK, domain, Status::Pass, "the provider's TXT record is there")
    } else {
        let seen = "no TXT record has a value of doctor.ownership_txt";
        finding(CHECK, domain, Status::Fail, seen).mended_by(zone::txt(domain, first))
    }]
}
