//! `setup --wired`, which packages ask before they are removed: with whatever is in the files of the mail servers.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use super::host::said;
use super::lab::{Error, daemon, namespace};

const CONFIG: &str = "/etc/conbool-milter/conbool-milter.toml";
const MAIN: &str = "/etc/postfix/main.cf";
const MASTER: &str = "/etc/postfix/master.cf";
const OTHER: &str = "/etc/postfix-out/main.cf";

const PACKAGED: &str = include_str!("../../packaging/conbool-milter.toml");

/// A site whose daemon listens on a port.
const BY_PORT: &str = "\
provider = \"conbool\"\ndomains = [\"customer.test\"]\nrelay_networks = [\"192.0.2.0/24\"]\nsocket = \"inet:127.0.0.1:8895\"
";

/// Files with what is in them.
type Files<'a> = &'a [(&'a str, &'a str)];

/// A milter of somebody else's.
const FOREIGN: &str =
    "smtpd_milters = inet:localhost:8891 unix:opendkim/opendkim.sock\nnon_smtpd_milters = $smtpd_milters\n";

/// Runs a test with an `/etc` of its own, in which nothing is set up.
fn with_own_system(name: &'static str, test: fn() -> Result<(), Error>) -> Result<(), Error> {
    let here = move || -> Result<(), Error> {
        daemon::program()?;
        namespace::own_system(&Path::new(namespace::ROOT).join(name))?;
        fs::create_dir_all("/etc/mail")?;
        test()
    };
    thread::spawn(here).join().unwrap_or_else(|_| Err("it panics".into()))
}

/// Asks what is wired where these files are, and no others.
fn wired(files: Files) -> Result<Output, Error> {
    fs::write(MAIN, "compatibility_level = 3.6\n")?;
    fs::write(MASTER, "smtp inet n - n - - smtpd\n")?;
    let all = [("/etc/mail/sendmail.mc", ""), ("/etc/mail/sendmail.cf", "")].iter().chain(files);
    for (path, text) in all {
        let path = Path::new(path);
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        fs::write(path, text)?;
    }
    let output = Command::new(daemon::program()?).args(["setup", "--wired"]).output()?;
    for (path, _) in files {
        fs::remove_file(path)?;
    }
    Ok(output)
}

/// Expects this exit status, and this on standard output or error.
fn expect(files: Files, status: i32, text: &str) -> Result<(), Error> {
    let output = wired(files)?;
    let words = said(&output);
    let is_silent = output.stdout.is_empty();
    if output.status.code() == Some(status) && words.contains(text) && is_silent == (status != 0) {
        return Ok(());
    }
    Err(format!("{files:?}: {:?}, not {status} with {text:?}: {words}", output.status.code()).into())
}

pub fn places() -> Result<(), Error> {
    with_own_system("wired", || {
        let ours = "smtpd_milters = unix:conbool/milter.sock\n";
        expect(
            &[(CONFIG, PACKAGED), (MAIN, ours)],
            0,
            "/etc/postfix/main.cf: smtpd_milters names unix:conbool/milter.sock\n",
        )?;
        // Without a configuration, or with one that is no TOML.
        expect(&[(MAIN, ours)], 0, "smtpd_milters names")?;
        expect(&[(CONFIG, "socket = \n[[["), (MAIN, ours)], 0, "smtpd_milters names")?;
        for (setting, text) in [
            ("smtpd_milters = inet:127.0.0.1:8895", "smtpd_milters names inet:127.0.0.1:8895"),
            ("port = 8895\nsmtpd_milters = inet:127.0.0.1:$port", "smtpd_milters names inet:127.0.0.1:8895"),
            (
                "non_smtpd_milters =\n  inet:localhost:1,\n  { inet:localhost:8895, default_action=accept }",
                "non_smtpd_milters",
            ),
            (
                "smtpd_recipient_restrictions = check_policy_service unix:conbool/policy.sock",
                "unix:conbool/policy.sock",
            ),
            ("sender_dependent_default_transport_maps = regexp:/etc/postfix/conbool_senders", "conbool_senders"),
            ("default_transport = conbool-relay:[mail.example.com]:25", "default_transport names conbool-relay:"),
            (
                "sender_dependent_default_transport_maps = hash:/var/lib/conbool-milter/senders",
                "/var/lib/conbool-milter",
            ),
        ] {
            expect(&[(CONFIG, BY_PORT), (MAIN, &format!("{setting}\n"))], 0, text)?;
        }
        let service = "smtp inet n - n - - smtpd\n  -o smtpd_milters=inet:127.0.0.1:8895\n";
        expect(&[(CONFIG, BY_PORT), (MASTER, service)], 0, "/etc/postfix/master.cf: smtp/inet")?;
        let maps = ("/etc/postfix/milters", "192.0.2.0/24 inet:127.0.0.1:8895\n");
        let main = "smtpd_milter_maps = cidr:/etc/postfix/milters\n";
        expect(&[(CONFIG, BY_PORT), (MAIN, main), maps], 0, "/etc/postfix/milters: 192.0.2.0/24 names")?;
        let other = "multi_instance_directories = /etc/postfix-out\n";
        expect(&[(CONFIG, PACKAGED), (MAIN, other), (OTHER, ours)], 0, "/etc/postfix-out/main.cf: smtpd_milters")?;
        let elsewhere = format!("{BY_PORT}[postfix]\nconfig_directory = \"/etc/postfix-out\"\n");
        expect(&[(CONFIG, &elsewhere), (OTHER, ours)], 0, "/etc/postfix-out/main.cf: smtpd_milters")?;
        // What postconf does not understand is read all the same.
        expect(&[(CONFIG, PACKAGED), (MAIN, &format!("{ours}broken\n"))], 0, "smtpd_milters names")?;
        for (file, text, what) in [
            ("/etc/mail/sendmail.mc", "INPUT_MAIL_FILTER(`c', `S=inet:8895@127.0.0.1, F=T')dnl\n", "INPUT_MAIL_FILTER"),
            ("/etc/mail/sendmail.cf", "Xc, S=local:/run/conbool-milter/milter.sock, F=T\n", "Xc names local:/run"),
            ("/etc/mail/sendmail.cf", "Kconbool socketmap unix:/run/conbool-milter/socketmap.sock\n", "Kconbool"),
            (
                "/etc/mail/sendmail.cf",
                "SLocal_parse\nR$* <@ $+ .conbool-relay.invalid.> $*\t$#conbool $@ x\n",
                "conbool-relay",
            ),
            ("/etc/sm/sendmail.cf", "Xc, S=inet:8895@localhost\n", "/etc/sm/sendmail.cf: Xc"),
        ] {
            let config = format!("{BY_PORT}[sendmail]\ndirectory = \"/etc/sm\"\n");
            expect(&[(CONFIG, &config), (file, text)], 0, what)?;
        }
        Ok(())
    })
}

pub fn doubts() -> Result<(), Error> {
    with_own_system("wired-doubts", || {
        // Whose milter is it?
        expect(&[(MAIN, FOREIGN)], 2, "smtpd_milters names inet:localhost:8891")?;
        expect(&[(CONFIG, "socket = 5\n"), (MAIN, FOREIGN)], 2, "does not say on which sockets")?;
        expect(&[("/etc/mail/sendmail.cf", "Xdkim, S=inet:8891@localhost\n")], 2, "Xdkim")?;
        expect(&[(CONFIG, PACKAGED), (MAIN, "broken\n")], 2, "postconf")?;
        fs::create_dir_all("/etc/postfix-out/main.cf")?;
        let other = "multi_instance_directories = /etc/postfix-out\n";
        expect(&[(CONFIG, PACKAGED), (MAIN, other)], 2, "/etc/postfix-out/main.cf")?;
        // Nor is wrong usage an answer.
        let output = Command::new(daemon::program()?).args(["setup", "--wired", "--apply"]).output()?;
        if output.status.code() == Some(2) { Ok(()) } else { Err(said(&output).into()) }
    })
}

pub fn none() -> Result<(), Error> {
    with_own_system("wired-none", || {
        expect(&[], 1, "")?;
        let relay = "relayhost = [mail.conbool.com]:25\nmydestination = conbool.test\n";
        expect(&[(CONFIG, PACKAGED), (MAIN, &format!("{FOREIGN}{relay}"))], 1, "")?;
        expect(&[(CONFIG, PACKAGED), (MAIN, "# smtpd_milters = unix:conbool/milter.sock\n")], 1, "")?;
        // Another's port, and a table that nobody refers to.
        let left = ("/etc/postfix/conbool_senders", "/@customer.test$/ conbool-relay:[mail.conbool.com]:25\n");
        expect(&[(CONFIG, BY_PORT), (MAIN, "smtpd_milters = inet:192.0.2.1:8895\n"), left], 1, "")?;
        let mc = ("/etc/mail/sendmail.mc", "dnl INPUT_MAIL_FILTER(`c', `S=inet:8895@127.0.0.1')\n");
        let cf = ("/etc/mail/sendmail.cf", "Xdkim, S=inet:8891@localhost\n#Xc, S=inet:8895@localhost\n");
        expect(&[(CONFIG, BY_PORT), mc, cf], 1, "")?;
        // Without a configuration there is no daemon, but nobody is wired to one either.
        fs::remove_file(MAIN)?;
        let output = Command::new(daemon::program()?).args(["setup", "--wired"]).output()?;
        if output.status.code() == Some(1) { Ok(()) } else { Err(said(&output).into()) }
    })
}
