//! Dovecot with Pigeonhole: the provider's script at the mailboxes, and the settings by which it is run.

mod installed;
mod settings;

pub use installed::{DovecotError, Installed};
pub use settings::{Generation, Settings, settings};

/// The line of a mailbox script that names the folder for spam. A site's own name takes its place.
const SPAM_FOLDER_LINE: &str = "set \"spam_folder\" \"Spam\";";

/// The provider's mailbox script for a site whose spam goes to `spam_folder`; `None` if the script has no line
/// `set "spam_folder" "Spam";` and so names no folder that could be another.
pub fn mailbox_script(template: &str, spam_folder: &str) -> Option<String> {
    let mut found = false;
    let lines = template.split_inclusive('\n').map(|line| {
        let ours = line.trim_end() == SPAM_FOLDER_LINE;
        found |= ours;
        if ours { line.replace(SPAM_FOLDER_LINE, &set_spam_folder(spam_folder)) } else { line.to_owned() }
    });
    let script: String = lines.collect();
    found.then_some(script)
}

/// Sets the variable to exactly this text: quoted (RFC 5228, section 2.4.2), and with nothing in it that would be taken
/// for a reference to a variable (RFC 5229, section 3), for which there is no escape.
fn set_spam_folder(name: &str) -> String {
    let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
    if quoted.contains("${") {
        format!("set \"dollar\" \"$\";\nset \"spam_folder\" \"{}\";", quoted.replace("${", "${dollar}{"))
    } else {
        format!("set \"spam_folder\" \"{quoted}\";")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = include_str!("../../sieve/conbool/mailbox.sieve");

    #[test]
    fn the_script_as_it_comes_is_that_of_the_default_folder() {
        assert_eq!(mailbox_script(TEMPLATE, "Spam").as_deref(), Some(TEMPLATE));
    }

    #[test]
    fn names_are_quoted() {
        let line = |name| {
            let script = mailbox_script(TEMPLATE, name).unwrap();
            let differing: Vec<String> = script
                .lines()
                .filter(|line| !TEMPLATE.lines().any(|other| other == *line))
                .map(str::to_owned)
                .collect();
            differing
        };
        assert_eq!(line("Junk/Spam für \u{1F4E7}"), ["set \"spam_folder\" \"Junk/Spam für \u{1F4E7}\";"]);
        assert_eq!(line(r#"a"b\c"#), [r#"set "spam_folder" "a\"b\\c";"#]);
        assert_eq!(line("$1 ${x}"), [r#"set "dollar" "$";"#, r#"set "spam_folder" "$1 ${dollar}{x}";"#]);
    }

    #[test]
    fn a_script_that_names_no_folder_is_told() {
        assert_eq!(mailbox_script("require \"fileinto\";\nfileinto \"Junk\";\n", "Spam"), None);
    }
}
