//! What happens at the mailboxes, on a real Pigeonhole: the provider's script compiled, tried on messages, and run before
//! each user's own on mail that came through Postfix and the milter.

mod lab;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use conbool_milter::mta::dovecot::{self, Generation, Settings};
use conbool_milter::provider::Provider;
use lab::Error;
use lab::dovecot::{Dovecot, Prepared};
use lab::mail::{Ending, Mail, Sender};
use lab::process::{run, wait_for};
use lab::site::Site;

fn main() -> ExitCode {
    lab::main(|| {
        Ok(vec![
            lab::trial("a_message_is_filed_by_what_the_milter_left_in_it", files_messages),
            lab::trial("any_name_of_a_folder_is_the_folder", any_name),
            lab::trial("mail_through_the_milter_is_filed", through_the_milter),
            lab::trial("open_xchange_is_set_up_and_taken_back", open_xchange),
        ])
    })
}

/// The built-in script for a folder.
fn script(spam_folder: &str) -> Result<String, Error> {
    let provider = Provider::load("conbool").map_err(|error| error.message)?;
    let template = provider.mailbox.ok_or("the provider has no mailbox script")?.text;
    Ok(dovecot::mailbox_script(&template, spam_folder).ok_or("the script names no folder")?)
}

/// A script of a user's own that files everything.
const USER_SCRIPT: &str = "require [\"fileinto\", \"mailbox\"];\nfileinto :create \"Elsewhere\";\n";

/// Scripts and an account for sieve-test(1).
struct Bench {
    dir: PathBuf,
}

impl Bench {
    fn new(name: &str) -> Result<Self, Error> {
        let dir = Path::new(lab::namespace::ROOT).join(name);
        fs::create_dir_all(dir.join("home"))?;
        // sieve-test keeps compiled scripts beside their sources.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777))?;
        let settings =
            "mail_location = maildir:~/Maildir\nmail_uid = nobody\nmail_gid = nogroup\nfirst_valid_uid = 1\nssl = no\n";
        fs::write(dir.join("dovecot.conf"), settings)?;
        fs::write(dir.join("user.sieve"), USER_SCRIPT)?;
        Ok(Self { dir })
    }

    /// The folders that a message with these fields is stored in, by our script and then the user's.
    fn folders(&self, script: &str, fields: &str) -> Result<Vec<String>, Error> {
        let (ours, message) = (self.dir.join("mailbox.sieve"), self.dir.join("message"));
        fs::write(&ours, script)?;
        fs::write(&message, format!("From: carol@remote.test\r\n{fields}Subject: x\r\n\r\nHello\r\n"))?;
        run(Command::new("sievec").arg("-c").arg(self.dir.join("dovecot.conf")).arg(&ours))?;
        let mut test = Command::new("setpriv");
        test.args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "sieve-test", "-c"]);
        test.arg(self.dir.join("dovecot.conf")).env("HOME", self.dir.join("home")).env("USER", "nobody");
        test.arg("-s").arg(&ours).arg(self.dir.join("user.sieve")).arg(&message);
        let output = String::from_utf8_lossy(&run(&mut test)?.stdout).into_owned();
        let stored = output.lines().filter_map(|line| line.trim().strip_prefix("* store message in folder: "));
        Ok(stored.map(str::to_owned).collect())
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), Error> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?} instead of {expected:?}").into()) }
}

/// Each with the fields as they are behind the milter: it removes forged ones, and X-Spam-Flag is its own.
fn files_messages() -> Result<(), Error> {
    let bench = Bench::new("sieve-test")?;
    let script = script("Spam")?;
    for (fields, folder) in [
        ("X-Conbool-Flag: YES\r\nX-Spam-Flag: YES\r\n", "Spam"),
        ("X-Spam-Flag: yes\r\n", "Spam"),
        ("X-Conbool-Released: yes\r\n", "INBOX"),
        ("X-Conbool-Flag: YES\r\nX-Conbool-Released: YES\r\n", "INBOX"),
        // Another filter behind the milter holds it for spam: it was released all the same.
        ("X-Conbool-Released: yes\r\nX-Spam-Flag: YES\r\n", "INBOX"),
        ("X-Conbool-Customer-Test: true\r\n", "Elsewhere"),
        ("X-Spam-Flag: NO\r\nX-Conbool-Released: no\r\n", "Elsewhere"),
        // A script of the site's took the provider's mark back.
        ("X-Conbool-Flag: YES\r\n", "Elsewhere"),
        ("", "Elsewhere"),
    ] {
        same(fields, bench.folders(&script, fields)?, vec![folder.to_owned()])?;
    }
    Ok(())
}

fn any_name() -> Result<(), Error> {
    let bench = Bench::new("sieve-names")?;
    for name in [
        "Junk",
        "Junk/Spam",
        "Müll & Spam",
        r#"The "bad" ones"#,
        r"back\slash",
        "${spam_folder}",
        "$ ${a}${dollar} {b}",
        "迷惑メール",
        "# no comment; /* either */",
        "text:",
    ] {
        let script = script(name)?;
        same(name, bench.folders(&script, "X-Spam-Flag: YES\r\n")?, vec![name.to_owned()])?;
    }
    Ok(())
}

/// A site whose Postfix delivers to Dovecot.
fn site(name: &str) -> Result<(Site, Prepared), Error> {
    let config = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sites/all.toml"))?;
    let site = Site::configure(name, &config, lab::dovecot::MAIN_CF, "")?;
    let prepared = Prepared::new(&site.lab)?;
    Ok((site, prepared))
}

fn mail(via: Sender, recipient: &str, fields: &str, subject: &str) -> Mail {
    let message = format!("{fields}From: carol@remote.test\r\nTo: {recipient}\r\nSubject: {subject}\r\n\r\nHello\r\n");
    Mail {
        via,
        from: "FROM:<carol@remote.test>".into(),
        recipients: vec![format!("TO:<{recipient}>")],
        message: message.into_bytes(),
        ending: Ending::Dot,
    }
}

/// Waits until the user has `expected`: folder and subject of each message, sorted.
fn has(dovecot: &Dovecot, user: &str, expected: &[(&str, &str)]) -> Result<(), Error> {
    let expected: Vec<_> =
        expected.iter().map(|(folder, subject)| ((*folder).to_owned(), (*subject).to_owned())).collect();
    let arrived = || dovecot.messages(user).ok().filter(|messages| messages.len() >= expected.len());
    let messages = wait_for("the messages", arrived)
        .map_err(|error| format!("{error}: {:?}\n{}", dovecot.messages(user), dovecot.log()))?;
    same(user, messages, expected)
}

fn through_the_milter() -> Result<(), Error> {
    let (site, prepared) = site("mailbox")?;
    let script_file = prepared.config().join("mailbox.sieve");
    fs::write(&script_file, script("Müll & Spam")?)?;
    run(Command::new("sievec").arg(&script_file))?;
    let wanted = Settings { position: 1, without_sieve: vec![("lmtp", "")] };
    let settings = dovecot::settings(Generation::Two3, &script_file, &wanted);
    fs::write(prepared.config().join("conf.d/99-conbool-milter.conf"), settings)?;
    prepared.add_user_script("bob@customer.test", USER_SCRIPT)?;
    let dovecot = prepared.start()?;
    for user in ["alice@customer.test", "bob@customer.test"] {
        for (via, fields, subject) in [
            (Sender::Relay, "X-Conbool-Flag: YES\r\n", "flagged"),
            (Sender::Relay, "X-Conbool-Released: yes\r\n", "released"),
            (Sender::Relay, "X-Conbool-Released: yes\r\nX-Conbool-Flag: YES\r\n", "released and flagged"),
            (Sender::Relay, "X-Conbool-Customer-Test: true\r\n", "plain"),
            (Sender::World, "X-Conbool-Flag: YES\r\n", "forged flag"),
            (Sender::World, "X-Spam-Flag: YES\r\n", "forged spam flag"),
            (Sender::World, "X-Conbool-Released: yes\r\n", "forged release"),
            (Sender::WorldWithTls, "X-CONBOOL-Released : yes\r\n", "forged otherwise"),
        ] {
            let sent = mail(via, user, fields, subject).send(&site)?;
            if sent.queue_id.is_none() {
                return Err(format!("{subject} was refused: {sent:?}").into());
            }
        }
    }
    const RELEASED: [(&str, &str); 2] = [("INBOX", "released"), ("INBOX", "released and flagged")];
    const FORGED: [&str; 5] = ["forged flag", "forged otherwise", "forged release", "forged spam flag", "plain"];
    let others = |folder: &'static str| FORGED.map(|subject| (folder, subject));
    let flagged = [("Müll & Spam", "flagged")];
    let mut alice = [&others("INBOX")[..], &RELEASED, &flagged].concat();
    alice.sort_unstable();
    has(&dovecot, "alice@customer.test", &alice)?;
    // The user's own script has its say about everything but what was released or flagged.
    let mut bob = [&others("Elsewhere")[..], &RELEASED, &flagged].concat();
    bob.sort_unstable();
    has(&dovecot, "bob@customer.test", &bob)
}

/// Runs `setup open-xchange`; gives back whether it succeeded and what it said.
fn setup(site: &Site, dovecot: &Path, arguments: &[&str]) -> Result<(bool, String), Error> {
    let mut command = Command::new(lab::daemon::program()?);
    command.args(["setup", "open-xchange", "--config"]).arg(site.lab.dir.join("conbool-milter.toml"));
    let output = command.arg("--dovecot-config").arg(dovecot).args(arguments).output()?;
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    Ok((output.status.success(), text))
}

/// The files of both mail servers that could change.
fn files(site: &Site, dovecot: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let folders = [site.mail_server.config(), dovecot.to_owned(), dovecot.join("conf.d")];
    let entries = folders.iter().flat_map(fs::read_dir).flatten().flatten().map(|entry| entry.path());
    let config = |path: &PathBuf| path.is_file() && path.extension().is_none_or(|extension| extension != "log");
    let mut files: Vec<_> = entries
        .filter(|path| config(path) && !path.ends_with("log"))
        .filter_map(|path| fs::read(&path).ok().map(|bytes| (path, bytes)))
        .collect();
    files.sort();
    files
}

fn open_xchange() -> Result<(), Error> {
    let (site, prepared) = site("open-xchange")?;
    let dir = prepared.config().to_owned();
    // A script of the site's own keeps its place, and a plugin of the site's own stays switched on.
    fs::write(dir.join("site.sieve"), "keep;\n")?;
    run(Command::new("sievec").arg(dir.join("site.sieve")))?;
    let own = format!("plugin {{\n  sieve_before = {}\n}}\n", dir.join("site.sieve").display());
    fs::write(dir.join("conf.d/50-site.conf"), own + "protocol lmtp {\n  mail_plugins = quota\n}\n")?;
    let dovecot = prepared.start()?;
    let before = files(&site, &dir);
    let told = |(succeeded, text): (bool, String), expected: bool, part: &str| {
        let fits = succeeded == expected && text.contains(part);
        if fits { Ok(()) } else { Err(Error::from(format!("{part:?} and success {expected} expected of:\n{text}"))) }
    };

    told(setup(&site, &dir, &[])?, true, "Nothing has changed yet")?;
    told(setup(&site, &dir, &[])?, true, "+  sieve_before2 = ")?;
    same("files after a look", files(&site, &dir), before.clone())?;
    told(setup(&site, &dir, &["--rollback"])?, false, "nothing to take back")?;

    told(setup(&site, &dir, &["--apply"])?, true, "In force.")?;
    told(setup(&site, &dir, &["--apply"])?, true, "nothing to change")?;
    let user = "alice@customer.test";
    mail(Sender::Relay, user, "X-Conbool-Flag: YES\r\n", "flagged").send(&site)?;
    mail(Sender::Relay, user, "", "plain").send(&site)?;
    has(&dovecot, user, &[("INBOX", "plain"), ("Spam", "flagged")])?;

    // Another folder is a change of the script alone.
    let config = site.lab.dir.join("conbool-milter.toml");
    let text = fs::read_to_string(&config)?;
    fs::write(&config, format!("{text}\n[mailbox]\nspam_folder = \"Junk\"\n"))?;
    let (_, diff) = setup(&site, &dir, &[])?;
    same("files in the diff", diff.matches("+++").count(), 1)?;
    told((true, diff), true, "+set \"spam_folder\" \"Junk\";")?;
    // While fields are left as their senders wrote them, nothing may believe them.
    fs::write(&config, format!("mode = \"monitor\"\n{text}"))?;
    told(setup(&site, &dir, &["--apply"])?, false, "monitor")?;
    fs::write(&config, text)?;

    told(setup(&site, &dir, &["--rollback"])?, true, "as they were before")?;
    same("files after going back", files(&site, &dir), before.clone())?;
    mail(Sender::Relay, user, "X-Conbool-Flag: YES\r\n", "flagged later").send(&site)?;
    has(&dovecot, user, &[("INBOX", "flagged later"), ("INBOX", "plain"), ("Spam", "flagged")])?;

    // Settings that nobody reads are noticed before anything is left changed.
    let conf = fs::read_to_string(dir.join("dovecot.conf"))?;
    fs::write(dir.join("dovecot.conf"), conf.replace("!include_try conf.d/*.conf", ""))?;
    let before = files(&site, &dir);
    told(setup(&site, &dir, &["--apply"])?, false, "!include conf.d/*.conf")?;
    let compiled = dir.join("conbool-milter.svbin");
    let after = files(&site, &dir).into_iter().filter(|(path, _)| *path != compiled).collect();
    same("files after a failure", after, before)
}
