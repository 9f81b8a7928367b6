//! Verified TLS to the relay.

use std::net::IpAddr;
use std::path::Path;

use super::Cf;
use super::{Error, Request, value};
use crate::mta::postfix;

/// A rule that exists only where names in certificates other than the subject's are looked at.
const ALTERNATIVE_NAMES: &str = "R<CN:$={cert_altnames}>";

/// The ruleset that has it.
const REQUIREMENTS: &str = "TLS_req";

/// The first release with `FEATURE(check_cert_altnames)`.
const FIRST_WITH_ALTERNATIVE_NAMES: (u32, u32) = (8, 16);

/// Trust anchors, client certificate, and the features that the rules need, as far as the site does not have them. What
/// the administrator should know goes into `notes`.
///
/// # Errors
/// [`Error::Value`].
pub fn settings(request: &Request<'_>, site: &Cf, notes: &mut Vec<String>) -> Result<String, Error> {
    let mut text = String::new();
    text.push_str(&trust_anchors(request, site, notes)?);
    text.push_str(&client_certificate(request, site, notes)?);
    if site.map("access").is_none() {
        text.push_str("FEATURE(`access_db')dnl\n");
    }
    let release = request.existing.program.as_ref().map(|program| program.release());
    if release.is_some_and(|release| release < FIRST_WITH_ALTERNATIVE_NAMES) {
        notes.push(
            "Sendmail before 8.16 compares the relay's name with the common name of its certificate only, not with its \
             alternative names: mail for the relay stays in the queue if the common name is another."
                .to_owned(),
        );
    } else if !site.rules(REQUIREMENTS).any(|rule| rule.starts_with(ALTERNATIVE_NAMES)) {
        text.push_str("FEATURE(`check_cert_altnames')dnl\n");
    }
    Ok(text)
}

/// Without a directory of trust anchors, Sendmail does not use the file.
fn trust_anchors(request: &Request<'_>, site: &Cf, notes: &mut Vec<String>) -> Result<String, Error> {
    const FILE: &str = "confCACERT";
    const DIRECTORY: &str = "confCACERT_PATH";
    let relay = &request.config.relay;
    let file = site.option("CACertFile").filter(|file| !file.is_empty()).map(Path::new);
    let mut text = String::new();
    let own = match &relay.ca_file {
        Some(own) => {
            if let Some(file) = file.filter(|file| file != own) {
                notes.push(format!(
                    "Sendmail has one file of trust anchors for all connections: {FILE} becomes {}, and {} is of no more \
                     use. If other certificates are verified too, put all anchors into one file and name that in \
                     relay.ca_file.",
                    own.display(),
                    file.display()
                ));
            }
            Some(own.clone()).filter(|own| file != Some(own))
        }
        None if file.is_some() => None,
        None => {
            let bundle = postfix::find_ca_bundle();
            if bundle.is_none() {
                notes.push(
                    "No trust anchors are found on this host, so the relay's certificate cannot be verified and mail for it \
                     stays in the queue. Install the CA certificates, or set relay.ca_file."
                        .to_owned(),
                );
            }
            bundle
        }
    };
    if site.option("CACertPath").is_none_or(str::is_empty)
        && let Some(directory) = own.as_deref().or(file).and_then(Path::parent)
    {
        text.push_str(&value::define(DIRECTORY, &value::path("relay.ca_file", directory)?));
    }
    if let Some(own) = own {
        text.push_str(&value::define(FILE, &value::path("relay.ca_file", &own)?));
    }
    Ok(text)
}

fn client_certificate(request: &Request<'_>, site: &Cf, notes: &mut Vec<String>) -> Result<String, Error> {
    let relay = &request.config.relay;
    let (Some(certificate), Some(key)) = (&relay.client_certificate, &relay.client_key) else {
        return Ok(String::new());
    };
    let mut text = String::new();
    for (what, name, option, own) in [
        ("relay.client_certificate", "confCLIENT_CERT", "ClientCertFile", certificate),
        ("relay.client_key", "confCLIENT_KEY", "ClientKeyFile", key),
    ] {
        let file = site.option(option).filter(|file| !file.is_empty());
        if file.is_none_or(|file| Path::new(file) != own) {
            text.push_str(&value::define(name, &value::path(what, own)?));
        }
        if let Some(file) = file.filter(|file| Path::new(file) != own) {
            notes.push(format!(
                "Sendmail shows one client certificate to all servers: {name} becomes {}, and {file} is of no more use. If \
                 other servers know the site by that, use it for {what} too.",
                own.display()
            ));
        }
    }
    Ok(text)
}

/// The rules that let mail go to the relay only if its certificate is verified and has this name.
///
/// They come before the site's own in that ruleset, so that none of these can say yes first. They go by the host that
/// the rules have named (`$&h`), not by what the name server makes of it, which an access map entry `TLS_Srv:` would. If no
/// alternative name of the certificate fits, Sendmail compares its CN not with the name asked for but with `{TLS_Name}`,
/// and if that is empty, as in a queue run, finds nothing wrong: so it is set.
pub fn rules(relay: &str, name: &str) -> String {
    let bare = relay.trim_start_matches('[').trim_end_matches(']');
    let lines = format!(
        "SLocal_tls_server\n\
         R$*\t$: $1 $| $&h\n\
         R$* $| {bare} $*\t$: <CONBOOL> $1\n\
         R$* $| [ {bare} ] $*\t$: <CONBOOL> $1\n\
         R<CONBOOL> $*\t$: <CONBOOL> $(macro {{TLS_Name}} $@ {name} $) $1\n\
         R<CONBOOL> $*\t$@ $>\"TLS_connection\" $1 $| <TEMP+VERIFY:128+CN:{name}>\n\
         R$* $| $*\t$: $1\n"
    );
    format!("define(`_LOCAL_TLS_SERVER_')dnl\ndivert(9)dnl\n{}divert(0)dnl\n", value::literal(&lines))
}

/// The name that the relay's certificate must carry.
///
/// # Errors
/// [`Error::NoTlsName`] and [`Error::Value`].
pub fn name(request: &Request<'_>, host: &str) -> Result<String, Error> {
    match &request.config.relay.tls_name {
        Some(name) => value::host_name("relay.tls_name", name),
        None if host.parse::<IpAddr>().is_ok() => Err(Error::NoTlsName(host.to_owned())),
        None => value::host_name("relay.host", host),
    }
}
