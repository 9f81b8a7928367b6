//! Lists in main.cf values: taken apart, put together.

/// Splits a main.cf list at commas and white space, as Postfix does: what stands in braces stays together, and so does
/// the word around them (`static:{FILTER a:}`). Unbalanced braces leave the rest as one item.
pub fn split(value: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let mut start = None;
    let mut depth = 0usize;
    for (at, character) in value.char_indices() {
        let separator = depth == 0 && (character == ',' || character.is_ascii_whitespace());
        match (separator, start) {
            (true, Some(from)) => {
                items.push(&value[from..at]);
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    items.extend(start.map(|from| &value[from..]));
    items
}

/// The restrictions of an access restriction list (postconf(5), smtpd_relay_restrictions), each with its argument.
pub fn restrictions(value: &str) -> Vec<String> {
    let mut restrictions: Vec<String> = Vec::new();
    let mut open = false;
    for item in split(value) {
        match restrictions.last_mut() {
            Some(last) if open => {
                last.push(' ');
                last.push_str(item);
            }
            _ => restrictions.push(item.to_owned()),
        }
        open = takes_argument(item);
    }
    restrictions
}

fn takes_argument(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    word.starts_with("check_")
        || matches!(word.as_str(), "warn_if_reject" | "sleep" | "reject_rbl_client")
        || word.starts_with("reject_rhsbl_")
        || word.starts_with("permit_dnswl_")
        || word.starts_with("permit_rhswl_")
}

/// One main.cf setting. A list of more than one item, or a long one, is written one item a line.
pub fn setting(name: &str, items: &[String], separator: &str) -> String {
    match items {
        [] => format!("{name} =\n"),
        [item] if name.len() + item.len() < 100 => format!("{name} = {item}\n"),
        _ => {
            let items = items.join(&format!("{separator}\n    "));
            format!("{name} =\n    {items}\n")
        }
    }
}

/// The lines of main.cf or master.cf, each with those that continue it (postconf(5), the format of main.cf).
pub fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty()) {
        match lines.last_mut() {
            Some(last) if line.starts_with(char::is_whitespace) => last.extend([" ", line.trim()]),
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

/// The settings in a main.cf text, each on one line.
pub fn settings(text: &str) -> Vec<(String, String)> {
    let setting = |line: &String| line.split_once('=').map(|(name, value)| (name.trim().into(), value.trim().into()));
    logical_lines(text).iter().filter_map(setting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_keep_items_together() {
        assert_eq!(
            split("inet:localhost:8891, { unix:a b, x=y }\tstatic:{FILTER a:}  c"),
            ["inet:localhost:8891", "{ unix:a b, x=y }", "static:{FILTER a:}", "c"]
        );
        assert_eq!(split(" , "), Vec::<&str>::new());
        assert_eq!(split("a { b, c"), ["a", "{ b, c"]);
    }

    #[test]
    fn settings_may_be_long() {
        let text = "# a = b\nrelayhost =\nmaps =\n    a,\n# no end\n\n    b\nlast=1\n";
        let expected = [("relayhost", ""), ("maps", "a, b"), ("last", "1")];
        assert_eq!(settings(text), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn restrictions_keep_their_arguments() {
        assert_eq!(
            restrictions(
                "permit_mynetworks warn_if_reject reject_rbl_client a.test, check_policy_service { inet:a:1, b=c } reject"
            ),
            [
                "permit_mynetworks",
                "warn_if_reject reject_rbl_client a.test",
                "check_policy_service { inet:a:1, b=c }",
                "reject"
            ]
        );
    }
}
