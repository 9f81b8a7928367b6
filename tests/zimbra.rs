//! The script for Zimbra: its text, and what it does beside stand-ins for Zimbra's own commands, which keep values in files
//! and make the Postfix configuration from them as zmconfigd does. Postfix's own postconf reads what comes of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use conbool_milter::config::Config;
use conbool_milter::mta::postfix::Listeners;
use conbool_milter::mta::zimbra::Script;
use conbool_milter::provider::Provider;

/// The script for a site with two domains.
fn script(content_filter: bool) -> String {
    let text = "provider = \"conbool\"\ndomains = [\"customer.test\", \"second.test\"]\n\
                relay_networks = [\"192.0.2.0/24\"]\nsocket = \"inet:127.0.0.1:8891\"\n";
    let mut config = Config::parse(text, Path::new("milter.toml")).unwrap();
    config.relay.ca_file = Some("/etc/conbool-milter/ca.pem".into());
    let provider = Provider::load("conbool").unwrap();
    let request = Script { config: &config, provider: &provider, listeners: Listeners::default(), content_filter };
    request.generate().unwrap().0
}

/// Zimbra's commands: values are files `KIND.NAME.ATTRIBUTE`, every change is noted.
const ZMPROV: &str = r##"#!/bin/sh
[ "$1" != -l ] || shift
case $1 in
gs | gd) kind=$1 name=$2 attribute=$3 ;;
gcf) kind=$1 name=- attribute=$2 ;;
ms | md) kind=$1 name=$2 attribute=$3 value=$4 ;;
mcf) kind=$1 name=- attribute=$2 value=$3 ;;
esac
file=$ZIMBRA_HOME/ldap/${kind#?}.$name.$attribute
case $kind in
g*)
    echo "# name $name"
    [ ! -s "$file" ] || printf '%s: %s\n' "$attribute" "$(cat "$file")"
    echo
    ;;
m*)
    echo "$kind $name $attribute" >>"$ZIMBRA_HOME/calls"
    printf '%s' "$value" >"$file"
    ;;
esac
"##;

/// What zmconfigd does of what matters here when the MTA is restarted.
const ZMMTACTL: &str = r#"#!/bin/sh
echo "zmmtactl $*" >>"$ZIMBRA_HOME/calls"
conf=$ZIMBRA_HOME/common/conf
sed -e 's/%%zimbraLocalBindAddress%%/127.0.0.1/g' -e '/^%%/d' "$conf/master.cf.in" >"$conf/master.cf"
milters=
[ "$(cat "$ZIMBRA_HOME/ldap/s.mta.customer.test.zimbraMilterServerEnabled")" != TRUE ] ||
    milters="$(cat "$ZIMBRA_HOME/ldap/s.mta.customer.test.zimbraMtaSmtpdMilters"), inet:127.0.0.1:7026"
postconf -c "$conf" -e "smtpd_milters=$milters"
"#;

const MASTER_CF_IN: &str = "\
smtpd     pass  -       -       n       -       -       smtpd
%%uncomment SERVICE:opendkim%%\t-o content_filter=scan:[%%zimbraLocalBindAddress%%]:10030
smtp-amavis unix -      -       n       -       10  smtp
[%%zimbraLocalBindAddress%%]:10025 inet n  -       n       -       -  smtpd
\t-o content_filter=
\t-o receive_override_options=no_header_body_checks,no_address_mappings
\t-o syslog_name=postfix/amavisd
[%%zimbraLocalBindAddress%%]:10030 inet n  -       n       -       -  smtpd
\t-o receive_override_options=no_address_mappings
";

const RELAY_CF: &str = "permit_sasl_authenticated\npermit_mynetworks\nreject_unauth_destination\n";

/// A host that looks like Zimbra's to the script.
struct Zimbra {
    home: PathBuf,
}

impl Zimbra {
    fn new(name: &str) -> Self {
        let home = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&home);
        for folder in ["bin", "ldap", "common/conf", "conf/zmconfigd"] {
            fs::create_dir_all(home.join(folder)).unwrap();
        }
        for (name, text) in [
            ("zmprov", ZMPROV),
            ("zmmtactl", ZMMTACTL),
            ("zmhostname", "#!/bin/sh\necho mta.customer.test\n"),
            ("zmlocalconfig", "#!/bin/sh\necho false\n"),
        ] {
            let file = home.join("bin").join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let main_cf = "compatibility_level = 3.6\nmilter_header_checks = pcre:/opt/zimbra/conf/own\n";
        fs::write(home.join("common/conf/main.cf"), main_cf).unwrap();
        fs::write(home.join("common/conf/master.cf"), "").unwrap();
        fs::write(home.join("common/conf/master.cf.in"), MASTER_CF_IN).unwrap();
        fs::set_permissions(home.join("common/conf/master.cf.in"), fs::Permissions::from_mode(0o440)).unwrap();
        fs::write(home.join("conf/zmconfigd/smtpd_relay_restrictions.cf"), RELAY_CF).unwrap();
        let zimbra = Self { home };
        for (value, text) in [
            ("s.mta.customer.test.zimbraServiceEnabled", "amavis"),
            ("s.mta.customer.test.zimbraMtaSmtpdMilters", "inet:127.0.0.1:5000"),
            ("s.mta.customer.test.zimbraMtaNonSmtpdMilters", ""),
            ("s.mta.customer.test.zimbraMilterServerEnabled", "FALSE"),
            ("cf.-.zimbraSpamWhitelistHeader", "X-Whitelist-Flag"),
            ("cf.-.zimbraSpamWhitelistHeaderValue", "YES"),
            ("d.customer.test.zimbraAdminSieveScriptBefore", ""),
            ("d.second.test.zimbraAdminSieveScriptBefore", "keep;"),
        ] {
            fs::write(zimbra.home.join("ldap").join(value), text).unwrap();
        }
        fs::write(zimbra.home.join("calls"), "").unwrap();
        zimbra
    }

    /// Runs a script; gives back whether it succeeded and what it said.
    fn run(&self, script: &str, arguments: &[&str]) -> (bool, String) {
        let file = self.home.join("setup.sh");
        fs::write(&file, script).unwrap();
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        let mut command = Command::new("dash");
        command.arg(&file).args(arguments).env("ZIMBRA_HOME", &self.home);
        command.env("ZIMBRA_USER", String::from_utf8_lossy(&user).trim());
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        (output.status.success(), text)
    }

    fn value(&self, name: &str) -> String {
        fs::read_to_string(self.home.join("ldap").join(name)).unwrap_or_default()
    }

    fn postconf(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("postconf");
        command.arg("-c").arg(self.home.join("common/conf")).args(arguments);
        let output = command.env("PATH", "/usr/sbin:/usr/bin").output().unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Everything that the script may change, with the mode of files.
    fn state(&self) -> BTreeMap<String, (u32, String)> {
        let folders = ["ldap", "common/conf", "conf", "conf/zmconfigd"].map(|folder| self.home.join(folder));
        let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
        files
            .filter(|path| path.is_file())
            .map(|path| {
                let mode = fs::metadata(&path).unwrap().permissions().mode();
                (path.display().to_string(), (mode, fs::read_to_string(&path).unwrap()))
            })
            .collect()
    }
}

#[test]
fn the_text_for_a_site() {
    let script = script(true);
    let (of_the_site, _) = script.split_once("\n# --- From here on").unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/zimbra.sh.snapshot");
    if std::env::var_os("WRITE_SNAPSHOTS").is_some() {
        fs::write(&file, of_the_site).unwrap();
    }
    assert_eq!(of_the_site, fs::read_to_string(file).unwrap());
}

#[test]
fn shells_understand_it() {
    for shell in ["dash", "bash"] {
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("zimbra-{shell}.sh"));
        fs::write(&file, script(true)).unwrap();
        let output = Command::new(shell).arg("-n").arg(&file).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn it_is_applied_once_survives_an_upgrade_and_is_taken_back() {
    let zimbra = Zimbra::new("zimbra");
    let script = script(true);
    let before = zimbra.state();
    let (succeeded, text) = zimbra.run(&script, &[]);
    assert!(succeeded && text.contains("Nothing has changed yet"), "{text}");
    assert_eq!(zimbra.state(), before);

    let (succeeded, text) = zimbra.run(&script, &["--apply"]);
    assert!(succeeded && text.contains("In force."), "{text}");
    assert!(
        text.contains("zimbraAdminSieveScriptBefore of domain second.test is 'keep;', and is not changed"),
        "{text}"
    );
    let ours = "{ inet:127.0.0.1:8891, connect_timeout=5s, command_timeout=10s, default_action=tempfail }";
    assert_eq!(zimbra.value("s.mta.customer.test.zimbraMtaSmtpdMilters"), format!("inet:127.0.0.1:5000, {ours}"));
    assert_eq!(zimbra.value("s.mta.customer.test.zimbraMtaNonSmtpdMilters"), ours);
    assert_eq!(zimbra.value("cf.-.zimbraSpamWhitelistHeader"), "X-Conbool-Released");
    assert!(zimbra.value("d.customer.test.zimbraAdminSieveScriptBefore").contains("fileinto \"Junk\""));
    assert_eq!(zimbra.value("d.second.test.zimbraAdminSieveScriptBefore"), "keep;");
    let tables = zimbra.postconf(&["-h", "milter_header_checks"]);
    assert_eq!(tables, "regexp:/opt/zimbra/conf/conbool_routes, pcre:/opt/zimbra/conf/own");
    let relay = fs::read_to_string(zimbra.home.join("conf/zmconfigd/smtpd_relay_restrictions.cf")).unwrap();
    let access = "check_client_access cidr:/opt/zimbra/conf/conbool_clients\n";
    assert_eq!(relay, RELAY_CF.replace("reject_", &format!("{access}reject_")));
    let listener = zimbra.postconf(&["-M"]);
    assert!(listener.contains("conbool-filtered unix") && listener.contains("[127.0.0.1]:10025"), "{listener}");
    let options = zimbra.postconf(&["-P"]);
    for expected in [
        "[127.0.0.1]:10025/inet/cleanup_service_name = conbool-filtered",
        "[127.0.0.1]:10025/inet/receive_override_options = no_unknown_recipient_checks,no_address_mappings,no_milters",
        "[127.0.0.1]:10025/inet/syslog_name = postfix/amavisd",
        "[127.0.0.1]:10030/inet/receive_override_options = no_address_mappings",
    ] {
        assert!(options.contains(expected), "{expected}:\n{options}");
    }

    let applied = zimbra.state();
    fs::write(zimbra.home.join("calls"), "").unwrap();
    let (succeeded, text) = zimbra.run(&script, &["--apply"]);
    assert!(succeeded && text.contains("nothing to change"), "{text}");
    assert_eq!(zimbra.state(), applied);
    assert_eq!(fs::read_to_string(zimbra.home.join("calls")).unwrap(), "");

    // An upgrade brings the files of the package again.
    let master = zimbra.home.join("common/conf/master.cf.in");
    fs::remove_file(&master).unwrap();
    fs::write(&master, MASTER_CF_IN).unwrap();
    fs::set_permissions(&master, fs::Permissions::from_mode(0o440)).unwrap();
    let (succeeded, text) = zimbra.run(&script, &["--apply"]);
    assert!(succeeded, "{text}");
    assert_eq!(zimbra.state(), applied);

    let (succeeded, text) = zimbra.run(&script, &["--rollback"]);
    assert!(succeeded && text.contains("as it was before"), "{text}");
    let mut after = zimbra.state();
    // Made by the stand-in from the rest, and what nobody wants back.
    let made =
        ["common/conf/master.cf", "common/conf/main.cf"].map(|file| zimbra.home.join(file).display().to_string());
    let mut before = before;
    for file in &made {
        after.remove(file);
        before.remove(file);
    }
    assert_eq!(after, before);
    let settings = zimbra.postconf(&["-n"]);
    assert!(!settings.contains("conbool"), "{settings}");
    assert!(settings.contains("milter_header_checks = pcre:/opt/zimbra/conf/own"), "{settings}");
}

#[test]
fn it_stops_before_it_does_harm() {
    let zimbra = Zimbra::new("zimbra-other");
    let state = zimbra.state();
    let (succeeded, text) = zimbra.run(&script(false), &["--apply"]);
    assert!(!succeeded && text.contains("amavis is on"), "{text}");
    let file = zimbra.home.join("bin/zmlocalconfig");
    fs::write(&file, "#!/bin/sh\necho TRUE\n").unwrap();
    let (succeeded, text) = zimbra.run(&script(true), &["--apply"]);
    assert!(!succeeded && text.contains("postjournal is on"), "{text}");
    fs::write(&file, "#!/bin/sh\necho false\n").unwrap();
    assert_eq!(zimbra.state(), state);
    let relay = zimbra.home.join("conf/zmconfigd/smtpd_relay_restrictions.cf");
    fs::write(&relay, "permit_mynetworks\nreject\n").unwrap();
    let (succeeded, text) = zimbra.run(&script(true), &["--apply"]);
    assert!(!succeeded && text.contains("no line reject_unauth_destination"), "{text}");
    assert!(!zimbra.run(&script(true), &["--aply"]).0);
}
