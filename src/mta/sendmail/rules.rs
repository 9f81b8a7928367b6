//! The rules that ask the daemon where mail goes, and act on what it says.

use super::{DIRECT_MAILER, RELAY_MAILER};
use crate::verdict::{DIRECT_PSEUDO_DOMAIN, RELAY_PSEUDO_DOMAIN};

/// The map by which they ask.
pub const MAP: &str = "conbool";

/// What the rules name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The relay, in brackets: `[mail.example.com]`.
    pub relay: String,
    /// The next hop of exempt mail, with or without brackets; `None`: mail goes where it went before.
    pub direct: Option<String>,
    /// The daemon's socketmap: `unix:/run/conbool-milter/socketmap.sock`; `None`: it is not asked.
    pub socketmap: Option<String>,
}

/// Lines of LOCAL_CONFIG and LOCAL_RULE_0, for sendmail.mc.
pub fn routing(names: &Names) -> String {
    let relay = &names.relay;
    let to = |pattern: &str, pseudo: &str, mailer: &str, host: &str, address: &str| {
        let pseudo = pseudo.replace('.', " . ");
        format!("R{}\t$#{mailer} $@ {host} $: {address}\n", pattern.replace("PSEUDO", &pseudo))
    };
    let mut rules = to("$+ % [ $+ ] < @ lit . PSEUDO . >", RELAY_PSEUDO_DOMAIN, RELAY_MAILER, relay, "$1 < @ [ $2 ] >");
    rules += &to("$+ < @ $+ . PSEUDO . >", RELAY_PSEUDO_DOMAIN, RELAY_MAILER, relay, "$1 < @ $2 . >");
    rules += &to("$+ < @ $+ . PSEUDO >", RELAY_PSEUDO_DOMAIN, RELAY_MAILER, relay, "$1 < @ $2 . >");
    if let Some(direct) = &names.direct {
        rules +=
            &to("$+ % [ $+ ] < @ lit . PSEUDO . >", DIRECT_PSEUDO_DOMAIN, DIRECT_MAILER, direct, "$1 < @ [ $2 ] >");
        rules += &to("$+ < @ $+ . PSEUDO . >", DIRECT_PSEUDO_DOMAIN, DIRECT_MAILER, direct, "$1 < @ $2 . >");
    } else {
        let pseudo = DIRECT_PSEUDO_DOMAIN.replace('.', " . ");
        rules += &format!("R$+ % [ $+ ] < @ lit . {pseudo} . >\t$: $1 < @ [ $2 ] >\n");
        rules += &format!("R$+ < @ $+ . {pseudo} . >\t$: $1 < @ $2 . >\n");
    }
    format!("LOCAL_CONFIG\nCP{RELAY_PSEUDO_DOMAIN} {DIRECT_PSEUDO_DOMAIN}\nLOCAL_RULE_0\n{rules}")
}
