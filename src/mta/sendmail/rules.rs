//! The rules that act on the milter's marks, and ask the daemon where the mail goes that has none.
//!
//! The milter sees the recipients of the envelope as the client gave them. Aliases, .forward files and lists are expanded
//! after it, and sendmail(1) as the mail server itself passes it by: those addresses come to ruleset 0 without a mark.
//! LOCAL_RULE_0 is asked for each of them (Sendmail Installation and Operation Guide, 5.1.4), when it is received, when it
//! is expanded, and again in every run of the queue.

use std::fmt::Write;

use super::{DIRECT_MAILER, RELAY_MAILER};
pub use crate::routing::MAP;
use crate::verdict::{DIRECT_PSEUDO_DOMAIN, RELAY_PSEUDO_DOMAIN};

/// What the rules take instead of an answer where there is none.
pub const NO_ANSWER: &str = "$: none $)";

/// The ruleset in which an address is routed.
pub const RULESET: &str = "ConboolRoute";

/// What Sendmail says of mail for which there is no clear answer.
pub const PUT_OFF: &str = "conbool-milter does not say which way this mail goes";

/// How long Sendmail waits for an answer, in seconds.
const PATIENCE: u32 = 10;

/// What the rules name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The relay, in brackets: `[mail.example.com]`.
    pub relay: String,
    /// The next hop of exempt mail, with or without brackets; `None`: mail goes where it went before.
    pub direct: Option<String>,
    /// The daemon's socketmap: `unix:/run/conbool-milter/socketmap.sock`; `None`: it is not asked.
    pub socketmap: Option<String>,
    /// The hosted domains, whose mail never goes out by the relay.
    pub hosted: Vec<String>,
}

/// Lines of LOCAL_CONFIG, LOCAL_RULE_0 and LOCAL_RULESETS, for sendmail.mc.
///
/// Whatever is no clear answer of the daemon (no socket, another service's socket, silence, an answer that the rules do
/// not know) is a temporary error for the address: 451 at RCPT, and for mail that was taken already another try later.
/// Domains in the mailertable stay where the site sends them, marked or not; its entry for the whole world (`.`) does not
/// count. Addresses without a domain, and senders' addresses, which ruleset 0 also sees, are left alone.
pub fn routing(names: &Names) -> String {
    let mut text =
        format!("LOCAL_CONFIG\nCP{RELAY_PSEUDO_DOMAIN} {DIRECT_PSEUDO_DOMAIN}\nC{{ConboolMark}}relay direct\n");
    if let Some(socketmap) = &names.socketmap {
        for domain in &names.hosted {
            let _ = writeln!(text, "C{{ConboolHosted}}{domain}");
        }
        // Queue ids differ by case, and without quotes an address could pass for another.
        let _ = writeln!(text, "K{MAP} socket -f -q -d{PATIENCE}s -T<TMPF> {socketmap}");
    }
    // Ruleset 0 calls LOCAL_RULE_0 once more for an address literal, whose mark is gone by then.
    text += "Kconboolonce macro\n";
    let _ = writeln!(text, "LOCAL_RULE_0\nR$*\t$: $>{RULESET} $1\nLOCAL_RULESETS\nS{RULESET}");
    text += "R$*\t$: $&{addr_type} $| $1\nRe s $| $*\t$@ $1\nR$* $| $*\t$: < @ > $2\n";
    text += "R< @ > $&{ConboolOnce}\t$@ $(conboolonce {ConboolOnce} $@ $) $&{ConboolOnce}\n";
    for (mark, pseudo_domain) in [("relay", RELAY_PSEUDO_DOMAIN), ("direct", DIRECT_PSEUDO_DOMAIN)] {
        let pseudo_domain = pseudo_domain.replace('.', " . ");
        let _ = writeln!(text, "R< @ > $* < @ $+ . {pseudo_domain} . > $*\t$: < {mark} > $1 < @ $2 . > $3");
    }
    text += "R< $={ConboolMark} > $* % [ $+ ] < @ lit . > $*\t$: < $1 > $2 < @ [ $3 ] > $4\n";
    text += if names.socketmap.is_some() { ASK } else { "R< @ > $*\t$@ $1\n" };
    text += "R< usual > $*\t$@ $1\n";
    if names.direct.is_none() {
        text += "R< direct > $* < @ [ $+ ] > $*\t\
                 $: < direct > $1 < @ [ $2 ] > $3 $(conboolonce {ConboolOnce} $@ $1 < @ [ $2 ] > $3 $)\n\
                 R< direct > $*\t$@ $1\n";
    }
    text += "R< $={ConboolMark} > $* < @ $+ > $*\t$: < $1 > $2 < @ $3 > $4 $| $>ConboolMailertable $3\n";
    text += "R< $={ConboolMark} > $* $| found\t$@ $2\n";
    for (mark, mailer, host) in
        [("relay", RELAY_MAILER, Some(&names.relay)), ("direct", DIRECT_MAILER, names.direct.as_ref())]
    {
        if let Some(host) = host {
            let _ = writeln!(text, "R< {mark} > $* < @ $+ > $* $| none\t$#{mailer} $@ {host} $: $1 < @ $2 > $3");
        }
    }
    let _ = writeln!(text, "R$*\t$#error $@ 4.3.0 $: \"451 {PUT_OFF}; try again later\"");
    text + MAILERTABLE
}

/// Asks for an address that has no mark: by queue id, sender and domain of the recipient.
const ASK: &str = "\
R< @ > $* < @ $+ . > $*\t$: < @ $2 > $1 < @ $2 . > $3
R< @ > $* < @ $+ > $*\t$: < @ $2 > $1 < @ $2 > $3
R< @ > $*\t$@ $1
R< @ $={ConboolHosted} > $*\t$@ $2
R< @ $=w > $*\t$@ $2
R< @ $={VirtHost} > $*\t$@ $2
R< @ $+ > $*\t$: < $(conbool $&i | $&f | $1 $: none $) > $2
";

/// Whether a domain, or one that it is below, is in the mailertable. Where the site has none, nothing is in it: a map that is
/// not there must not be asked, for an address at which Sendmail finds a fault like that is lost without a word when it
/// comes from a milter.
const MAILERTABLE: &str = "\
SConboolMailertable
ifdef(`_MAILER_TABLE_', `dnl
R$+ .\t$1
R$+\t$: $(mailertable $1 $: ? $) $| $1
R? $| $- . $+\t$(mailertable .$2 $: ? $) $| $2
R? $| $*\t$@ none
R$*\t$@ found
', `dnl
R$*\t$@ none
')dnl
";

#[cfg(test)]
mod tests {
    use super::*;

    fn names(direct: Option<&str>, socketmap: Option<&str>) -> Names {
        let hosted = vec!["customer.test".into()];
        Names {
            relay: "[relay.test]".into(),
            direct: direct.map(Into::into),
            socketmap: socketmap.map(Into::into),
            hosted,
        }
    }

    #[test]
    fn the_sides_of_a_rule_are_apart_by_one_tab() {
        for direct in [None, Some("[direct.test]")] {
            for socketmap in [None, Some("unix:/run/conbool-milter/socketmap.sock")] {
                let text = routing(&names(direct, socketmap));
                for rule in text.lines().filter(|line| line.starts_with('R')) {
                    assert_eq!(rule.matches('\t').count(), 1, "{rule:?}");
                }
                assert_eq!(text.contains("$(conbool "), socketmap.is_some());
                assert_eq!(text.contains("$#conbool-direct $@ [direct.test]"), direct.is_some());
            }
        }
    }
}
