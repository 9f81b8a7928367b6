//! Who has a mailbox at the customer's site, whatever its mail server is, and who can log in.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;
use super::process::run;

/// Log-in name of the one user who can authenticate.
pub const USER: &str = "alice@customer.test";
/// Her password.
pub const PASSWORD: &str = "correct horse";
/// [`USER`] and [`PASSWORD`] as RFC 4616 wants them, in base64.
pub const LOG_IN: &str = "AGFsaWNlQGN1c3RvbWVyLnRlc3QAY29ycmVjdCBob3JzZQ==";

/// The domains of the site.
pub const DOMAINS: [&str; 2] = ["customer.test", "second.test"];

/// Those who have a mailbox at either domain; plus-addresses share it.
pub const USERS: [&str; 4] = ["alice", "bob", "erin", "frank"];

/// Aliases at customer.test: one that leads outside, a mixed one, and one that only sends.
pub const ALIASES: [(&str, &str); 3] = [
    ("outside", "dora@other.test"),
    ("team", "bob@customer.test, carol@remote.test"),
    ("newsletter", "frank@customer.test"),
];

/// One more, at customer.test, that leads outside: Sendmail resolves it before a milter is asked (virtusertable), the others
/// after it (aliases).
pub const FORWARD: (&str, &str) = ("partner", "dora@other.test");

/// User and group who own the mailboxes: nobody.
pub const MAILBOX_OWNER: u32 = 65534;

/// Makes the directory of the mailboxes in a lab's directory.
pub fn add_mailboxes(dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir.join("mailboxes"))?;
    Ok(chown(dir.join("mailboxes"), Some(MAILBOX_OWNER), Some(MAILBOX_OWNER))?)
}

/// The mailbox directories of a lab's directory, each with the address that it belongs to.
pub fn mailboxes(dir: &Path) -> Vec<(String, PathBuf)> {
    let list = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten();
    let name = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    list(dir.join("mailboxes"))
        .flat_map(|domain| list(domain.path()).map(move |user| (name(&domain), user)))
        .map(|(domain, user)| (format!("{}@{domain}", name(&user)), user.path()))
        .collect()
}

/// Settings for Cyrus SASL with this password file.
pub fn log_in_settings(passwords: &Path) -> String {
    let passwords = passwords.display();
    format!("pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN\nsasldb_path: {passwords}\n")
}

/// Writes a password file with the one user who can log in, readable by nobody but its owner.
pub fn add_passwords(file: &Path) -> Result<(), Error> {
    let (user, domain) = USER.split_once('@').ok_or("the user has no domain")?;
    let password = file.with_extension("password");
    fs::write(&password, PASSWORD)?;
    let mut command = Command::new("saslpasswd2");
    command.args(["-p", "-c", "-u", domain, "-f"]).arg(file).arg(user).stdin(fs::File::open(password)?);
    run(&mut command)?;
    Ok(())
}
