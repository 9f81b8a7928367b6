//! Sites of all kinds.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::host::{HEAD, Host, MAILERS, contains, equal, file, make_map, write};
use crate::lab::Error;
use crate::lab::process::run;

const RELAY: &str = "mailer conbool, host [mail.conbool.com], user bob@remote.test";

/// What holds for every site.
fn works(host: &Host) -> Result<Vec<String>, Error> {
    let usual = host.resolve("bob@remote.test")?;
    let notes = host.apply()?;
    equal(host.resolve("bob@remote.test.conbool-relay.invalid")?.as_str(), RELAY)?;
    equal(host.resolve("bob@remote.test.conbool-direct.invalid")?, usual.clone())?;
    equal(host.resolve("bob@remote.test")?, usual)?;
    let cf = host.cf()?;
    let milter = cf.milters().find(|milter| milter.name == "conbool").ok_or("no milter")?;
    equal(milter.equate("S"), Some("unix:/run/conbool-milter/milter.sock"))?;
    equal(milter.equate("F"), Some("T"))?;
    contains(cf.option("InputMailFilters").unwrap_or_default(), &["conbool"])?;
    Ok(notes)
}

pub fn debian() -> Result<(), Error> {
    let mc =
        fs::read_to_string(Path::new(crate::lab::sendmail::FOLDER).join("usr/share/sendmail/cf/debian/sendmail.mc"))?;
    works(&Host::new("debian", &mc, "")?)?;
    let text = fs::read_to_string(file("sendmail.mc"))?;
    let (before, _) = text.split_once("dnl # --- conbool-milter features: begin").ok_or("no features")?;
    // Its own lines stay, in their order.
    equal(mc.starts_with(before), true)?;
    contains(before, &["FEATURE(`access_db', , `skip')"])?;
    equal(text.matches("FEATURE(`access_db'").count(), 1)
}

/// As the package sendmail of Red Hat's distributions has it, but for the place of the macros.
pub fn red_hat() -> Result<(), Error> {
    let mc = format!(
        "divert(-1)dnl\ndnl #\ndnl # This is the sendmail macro config file for m4. If you make changes to\ndnl #\n{}\
         VERSIONID(`setup for linux')dnl\n\
         dnl define(`SMART_HOST', `smtp.your.provider')dnl\n\
         define(`confDEF_USER_ID', ``8:12'')dnl\n\
         define(`confTO_CONNECT', `1m')dnl\n\
         define(`confTRY_NULL_MX_LIST', `True')dnl\n\
         define(`confDONT_PROBE_INTERFACES', `True')dnl\n\
         define(`PROCMAIL_MAILER_PATH', `/usr/bin/procmail')dnl\n\
         define(`ALIAS_FILE', `/etc/aliases')dnl\n\
         define(`confPRIVACY_FLAGS', `authwarnings,novrfy,noexpn,restrictqrun')dnl\n\
         FEATURE(`no_default_msa', `dnl')dnl\n\
         FEATURE(`smrsh', `/usr/sbin/smrsh')dnl\n\
         FEATURE(`mailertable', `hash -o /etc/mail/mailertable.db')dnl\n\
         FEATURE(`virtusertable', `hash -o /etc/mail/virtusertable.db')dnl\n\
         FEATURE(redirect)dnl\n\
         FEATURE(always_add_domain)dnl\n\
         FEATURE(use_cw_file)dnl\n\
         FEATURE(use_ct_file)dnl\n\
         FEATURE(local_procmail, `', `procmail -t -Y -a $h -d $u')dnl\n\
         FEATURE(`access_db', `hash -T<TMPF> -o /etc/mail/access.db')dnl\n\
         FEATURE(`blocklist_recipients')dnl\n\
         EXPOSED_USER(`root')dnl\n\
         DAEMON_OPTIONS(`Port=smtp,Addr=127.0.0.1, Name=MTA')dnl\n\
         FEATURE(`accept_unresolvable_domains')dnl\n\
         LOCAL_DOMAIN(`localhost.localdomain')dnl\n\
         dnl MASQUERADE_AS(`mydomain.com')dnl\n\
         MAILER(smtp)dnl\n\
         MAILER(procmail)dnl\n\
         dnl MAILER(cyrusv2)dnl\n",
        HEAD.replacen("include", "divert(0)dnl\ninclude", 1)
    );
    works(&Host::new("red-hat", &mc, "Connect:localhost.localdomain\t\tRELAY\n")?).map(drop)
}

/// sendmail.mc does not include cf.m4, as in the BSDs, whose Makefile names it.
pub fn macros_from_elsewhere() -> Result<(), Error> {
    let host = Host::new("elsewhere", &format!("{HEAD}{MAILERS}"), "")?;
    let mc = format!("{HEAD}{MAILERS}").replacen("include(`/usr/share/sendmail/cf/m4/cf.m4')dnl\n", "", 1);
    fs::write(file("sendmail.mc"), mc)?;
    works(&host).map(drop)
}

pub fn own_rules() -> Result<(), Error> {
    let mc = format!(
        "{HEAD}dnl don't `quote here\n{MAILERS}LOCAL_CONFIG\nDYpartner.test\nLOCAL_RULE_0\n\
         R$* < @ partner.test . > $*\t$#esmtp $@ [192.0.2.99] $: $1 < @ partner.test . > $2\n\
         LOCAL_TLS_SERVER\nR$*\t$@ OK\n"
    );
    let host = Host::new("own-rules", &mc, "")?;
    works(&host)?;
    equal(host.resolve("bob@partner.test.")?.as_str(), "mailer esmtp, host [192.0.2.99], user bob@partner.test")?;
    let cf = host.cf()?;
    let rules: Vec<&str> = cf.rules("Local_tls_server").collect();
    equal(rules.first().copied(), Some("R$*\t$: $1 $| $&h"))?;
    equal(rules.last().copied(), Some("R$*\t$@ OK"))
}

pub fn tables() -> Result<(), Error> {
    let mc = format!(
        "{HEAD}define(`SMART_HOST', `smtp8:smart.isp.test')dnl\nMASQUERADE_AS(`customer.test')dnl\n\
         FEATURE(`mailertable', `hash /etc/mail/mailertable')dnl\n\
         FEATURE(`virtusertable', `hash /etc/mail/virtusertable')dnl\nVIRTUSER_DOMAIN(`xn--mller-kva.test')dnl\n\
         FEATURE(`genericstable', `hash /etc/mail/genericstable')dnl\nGENERICS_DOMAIN(`customer.test')dnl\n\
         FEATURE(`access_db')dnl\n{MAILERS}"
    );
    let host = Host::new("tables", &mc, "")?;
    make_map("hash", "mailertable", "branch.test\tesmtp:[192.0.2.77]\n")?;
    make_map("hash", "virtusertable", "info@xn--mller-kva.test\talice\n")?;
    make_map("hash", "genericstable", "alice\talice.smith@customer.test\n")?;
    works(&host)?;
    equal(host.resolve("bob@remote.test")?.as_str(), "mailer smtp8, host smart.isp.test, user bob@remote.test")?;
    equal(host.resolve("bob@branch.test")?.as_str(), "mailer esmtp, host [192.0.2.77], user bob@branch.test")
}

pub fn other_milters() -> Result<(), Error> {
    let mc = format!(
        "{HEAD}INPUT_MAIL_FILTER(`opendkim', `S=inet:8891@127.0.0.1')dnl\n{MAILERS}\
         INPUT_MAIL_FILTER(`late', `S=inet:8892@127.0.0.1')dnl\nMAIL_FILTER(`unused', `S=inet:8893@127.0.0.1')dnl\n"
    );
    let host = Host::new("milters", &mc, "")?;
    let notes = works(&host)?;
    equal(host.cf()?.option("InputMailFilters"), Some("conbool, opendkim, late"))?;
    equal(host.cf()?.milters().count(), 4)?;
    contains(&notes.join("\n"), &["The milter comes before opendkim, late:"])
}

pub fn certificates() -> Result<(), Error> {
    for name in ["own.pem", "relay.pem", "relay.key"] {
        fs::write(std::env::temp_dir().join(format!("conbool-{}-{name}", std::process::id())), "")?;
    }
    let temporary = |name: &str| std::env::temp_dir().join(format!("conbool-{}-{name}", std::process::id()));
    let mc = format!(
        "{HEAD}define(`confCACERT', `/etc/mail/tls/ca.pem')dnl\ndefine(`confCLIENT_CERT', `/etc/mail/tls/client.pem')dnl\n\
         define(`confCLIENT_KEY', `/etc/mail/tls/client.key')dnl\nFEATURE(`access_db')dnl\n\
         FEATURE(`check_cert_altnames')dnl\n{MAILERS}"
    );
    let host = Host::new("certificates", &mc, "")?;
    let notes = works(&host)?;
    let cf = host.cf()?;
    equal(cf.option("CACertFile"), Some("/etc/mail/tls/ca.pem"))?;
    equal(cf.option("CACertPath"), Some("/etc/mail/tls"))?;
    equal(cf.options("SetCertAltnames").count(), 1)?;
    contains(&notes.join("\n"), &["offers no TLS", "CVE-2023-51765"])?;

    let [anchors, certificate, key] = ["own.pem", "relay.pem", "relay.key"].map(temporary);
    let own = format!("[relay]\nca_file = {anchors:?}\nclient_certificate = {certificate:?}\nclient_key = {key:?}\n");
    let host = host.configure("", &own);
    let notes = works(&host)?.join("\n");
    let cf = host.cf()?;
    equal(cf.option("CACertFile"), anchors.to_str())?;
    equal(cf.option("ClientCertFile"), certificate.to_str())?;
    equal(cf.option("ClientKeyFile"), key.to_str())?;
    contains(&notes, &["/etc/mail/tls/ca.pem is of no more use", "/etc/mail/tls/client.pem is of no more use"])?;
    Ok([anchors, certificate, key].into_iter().try_for_each(fs::remove_file)?)
}

/// With and without IPv6.
pub fn relay_by_address(address: &str, host: &str) -> Result<(), Error> {
    let relay = format!("[relay]\nhost = \"{address}\"\nport = 2525\ntls_name = \"relay.conbool.test\"\n");
    let site = Host::new(&format!("address-{address}"), &format!("{HEAD}{MAILERS}"), "")?.configure("", &relay);
    site.apply()?;
    let expected = format!("mailer conbool, host {host}, user bob@remote.test");
    equal(site.resolve("bob@remote.test.conbool-relay.invalid")?, expected)?;
    let cf = site.cf()?;
    let mailer = cf.mailers().find(|mailer| mailer.name == "conbool").ok_or("no mailer")?;
    equal(mailer.equate("A"), Some("TCP $h 2525"))?;
    contains(&cf.rules("Local_tls_server").collect::<String>(), &["CN:relay.conbool.test>"])
}

pub fn next_hop() -> Result<(), Error> {
    let host = Host::new("next-hop", &format!("{HEAD}{MAILERS}"), "")?;
    let host = host.configure("", "[direct]\nnext_hop = \"[smart.isp.test]:submission\"\n");
    host.apply()?;
    for (address, user) in [
        ("bob@remote.test.conbool-direct.invalid", "bob@remote.test"),
        ("bob%[192.0.2.9]@lit.conbool-direct.invalid", "bob@[192.0.2.9]"),
    ] {
        let expected = format!("mailer conbool-direct, host [smart.isp.test], user {user}");
        equal(host.resolve(address)?, expected)?;
    }
    let cf = host.cf()?;
    let mailer = cf.mailers().find(|mailer| mailer.name == "conbool-direct").ok_or("no mailer")?;
    equal(mailer.equate("A"), Some("TCP $h submission"))
}

/// Where there was one before, nothing of it stays.
pub fn without_relay() -> Result<(), Error> {
    let mut host = Host::new("without-relay", &format!("{HEAD}{MAILERS}"), "")?;
    host.apply()?;
    host.replace("provider = \"conbool\"\n", "provider = \"mailprotector\"\n");
    host.apply()?;
    let text = fs::read_to_string(file("sendmail.cf"))?;
    equal(text.contains("conbool-relay.invalid") || text.contains("Mconbool"), false)?;
    equal(host.cf()?.option("InputMailFilters"), Some("conbool"))
}

pub fn edited_cf() -> Result<(), Error> {
    let host = Host::new("edited", &format!("{HEAD}{MAILERS}"), "")?;
    let text = fs::read_to_string(file("sendmail.cf"))?;
    // Comments and the version of the macros do not matter.
    fs::write(file("sendmail.cf"), text.replace("\nDZ", "\n# built by somebody else\nDZold-"))?;
    host.revise()?;
    fs::write(file("sendmail.cf"), text.replace("O MaxHopCount=", "O MaxHopCount=7") + "DSsmart.isp.test\n")?;
    host.refuses(&["/etc/mail/sendmail.cf is not what m4 makes", "-DSsmart.isp.test"])
}

pub fn broken_mc() -> Result<(), Error> {
    let host = Host::new("broken", &format!("{HEAD}{MAILERS}"), "")?;
    let with = |more: &str| fs::write(file("sendmail.mc"), format!("{HEAD}{more}{MAILERS}"));
    with("include(`/etc/mail/nosuch.m4')dnl\n")?;
    host.refuses(&["/etc/mail/sendmail.mc", "nosuch.m4"])?;
    with("MAILER(`local')dnl\nFEATURE(`redirect')dnl\n")?;
    host.refuses(&["/etc/mail/sendmail.mc", "*** ERROR"])?;
    with("dnl # --- conbool-milter rules: end\n")?;
    host.refuses(&["/etc/mail/sendmail.mc", "there twice"])?;
    fs::write(file("sendmail.mc"), b"dnl M\xfcller\n")?;
    host.refuses(&["/etc/mail/sendmail.mc", "UTF-8"])?;
    fs::remove_file(file("sendmail.mc"))?;
    host.refuses(&["/etc/mail/sendmail.mc is not there", "sendmail.directory"])
}

pub fn taken_names() -> Result<(), Error> {
    let milter = "INPUT_MAIL_FILTER(`conbool', `S=inet:8891@127.0.0.1')dnl\n";
    let host = Host::new("taken", &format!("{HEAD}{milter}{MAILERS}"), "")?;
    host.refuses(&["milter \"conbool\""])
}

/// Rules in a file that sendmail.mc includes come before ours, where setup does not look: Sendmail itself says no.
pub fn rules_before_ours() -> Result<(), Error> {
    let host = Host::new("before", &format!("{HEAD}include(`/etc/mail/m4/provider.m4')dnl\n{MAILERS}"), "")?;
    let rule = "LOCAL_RULE_0\nR$* < @ $* . > $*\t$#esmtp $@ [192.0.2.99] $: $1 < @ $2 . > $3\ndivert(0)dnl\n";
    fs::write(file("m4/provider.m4"), rule)?;
    host.make_cf()?;
    host.refuses(&["someone@remote.invalid.conbool-relay.invalid", "mailer conbool", "mailer esmtp, host [192.0.2.99]"])
}

pub fn no_sendmail() -> Result<(), Error> {
    let mut host = Host::new("no-sendmail", &format!("{HEAD}{MAILERS}"), "")?;
    host.replace(crate::lab::sendmail::PROGRAM, "/usr/bin/true");
    host.refuses(&["/usr/bin/true is not there, or is no Sendmail"])
}

pub fn command() -> Result<(), Error> {
    let host = Host::new("command", &format!("{HEAD}{MAILERS}"), "")?;
    fs::write("/etc/conbool-milter.toml", host.text())?;
    let setup = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conbool-milter"));
        command.args(["setup", "sendmail", "--config", "/etc/conbool-milter.toml"]).args(more);
        run(&mut command)
    };
    let fragments = host.fragments()?;
    let printed = String::from_utf8(setup(&[])?.stdout)?;
    contains(&printed, &[&fragments.features, &fragments.rules, &fragments.access.join("\n")])?;
    for _ in 0..2 {
        setup(&["--output", "/etc/out"])?;
    }
    equal(fs::read_to_string("/etc/out/features.mc")?, fragments.features.clone())?;
    equal(fs::read_to_string("/etc/out/rules.mc")?, fragments.rules.clone())?;
    // What is printed, put in by hand, is what setup itself puts in.
    let (change, _) = host.revise()?;
    write(&change)?;
    let by_setup = fs::read_to_string(file("sendmail.mc"))?;
    contains(&by_setup, &[&fragments.features, &fragments.rules])?;
    let printed = String::from_utf8(setup(&[])?.stdout)?;
    contains(&printed, &[&fragments.features, &fragments.rules])
}
