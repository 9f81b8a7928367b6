//! Verified TLS to the relay.

use super::{Error, Request, value};
use crate::mta::postfix;

/// Trust anchors, client certificate, and the features that the rules need.
pub fn settings(request: &Request<'_>) -> Result<String, Error> {
    let relay = &request.config.relay;
    let mut text = String::from("dnl # Verified TLS to the relay.\n");
    let mut define = |name: &str, value: &str| text.push_str(&format!("define(`{name}', ``{value}'')dnl\n"));
    let anchors = relay.ca_file.clone().or_else(postfix::find_ca_bundle);
    if let Some(anchors) = anchors {
        let folder = anchors.parent().unwrap_or(&anchors);
        define("confCACERT_PATH", &value::path("relay.ca_file", folder)?);
        define("confCACERT", &value::path("relay.ca_file", &anchors)?);
    }
    if let (Some(certificate), Some(key)) = (&relay.client_certificate, &relay.client_key) {
        define("confCLIENT_CERT", &value::path("relay.client_certificate", certificate)?);
        define("confCLIENT_KEY", &value::path("relay.client_key", key)?);
    }
    text.push_str("FEATURE(`access_db')dnl\nFEATURE(`check_cert_altnames')dnl\n");
    Ok(text)
}

/// The rules that let mail go to the relay only if its certificate is verified and has this name.
///
/// They come before the site's own in that ruleset, so that none of these can say yes first. If no alternative name of the
/// certificate fits, Sendmail compares its CN not with the name asked for but with `{TLS_Name}`, and if that is empty, as
/// in a queue run, finds nothing wrong: so it is set.
pub fn rules(relay: &str, name: &str) -> String {
    let host = relay.replace('[', "[ ").replace(']', " ]");
    let bare = relay.trim_start_matches('[').trim_end_matches(']');
    format!(
        "define(`_LOCAL_TLS_SERVER_')dnl\n\
         divert(9)\n\
         SLocal_tls_server\n\
         R$*\t$: $1 $| $&h\n\
         R$* $| {bare} $*\t$: <CONBOOL> $1\n\
         R$* $| {host} $*\t$: <CONBOOL> $1\n\
         R<CONBOOL> $*\t$: <CONBOOL> $(macro {{TLS_Name}} $@ {name} $) $1\n\
         R<CONBOOL> $*\t$@ $>\"TLS_connection\" $1 $| <TEMP+VERIFY:128+CN:{name}>\n\
         R$* $| $*\t$: $1\n\
         divert(0)dnl\n"
    )
}
