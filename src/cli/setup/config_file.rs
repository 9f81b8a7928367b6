//! Our configuration file as setup writes it: only what was asked changes, and comments stay.

use toml_edit::{Array, DocumentMut, Item, Table, Value};

use crate::config;

/// How a new file begins.
const HEAD: &str =
    "# conbool-milter: see conbool-milter.toml(5). What you add or change here, `conbool-milter setup` keeps.\n\n";

/// The file's text with these keys (`relay.port`) set, or removed where the value is `None`. What has the value already is
/// left as it is written.
///
/// # Errors
/// A sentence if the text is not TOML, or has something else where a section is to be.
pub fn edited<K: AsRef<str>>(text: &str, settings: &[(K, Option<Value>)]) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|error| format!("{error}").trim_end().to_owned())?;
    for (key, value) in settings {
        let key = key.as_ref();
        let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
        let Some(table) = section_of(document.as_table_mut(), section, value.is_some())? else { continue };
        match value {
            None => {
                table.remove(name);
            }
            Some(value) if table.get(name).and_then(Item::as_value).is_some_and(|now| means(now, value)) => {}
            // What stands around the old value, such as a comment behind it, stays.
            Some(value) => match table.get_mut(name).and_then(Item::as_value_mut) {
                Some(now) => {
                    let decor = now.decor().clone();
                    *now = value.clone();
                    *now.decor_mut() = decor;
                }
                None => {
                    table.insert(name, Item::Value(value.clone()));
                }
            },
        }
    }
    let written = document.to_string();
    Ok(if text.is_empty() { format!("{HEAD}{}", written.trim_start()) } else { written })
}

/// The text without the line of the key `mode` and without the comment that is about it alone: the lines of comment
/// directly above, where nothing but an empty line follows.
pub fn without_mode(text: &str) -> String {
    let Some(at) = config::line_of(text, "mode").and_then(|line| line.checked_sub(1)) else { return text.to_owned() };
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let is_empty = |line: &&&str| line.trim().is_empty();
    let (above, below) = (lines.get(..at).unwrap_or_default(), lines.get(at + 1..).unwrap_or_default());
    let stands_alone = below.first().as_ref().is_none_or(is_empty);
    let comment = above.iter().rev().take_while(|line| stands_alone && line.starts_with('#')).count();
    let above = &above[..above.len() - comment];
    // Of the two empty lines that are left, one is enough.
    let doubled = stands_alone && above.last().as_ref().is_none_or(is_empty);
    above.iter().chain(&below[usize::from(doubled && !below.is_empty())..]).copied().collect()
}

/// The section of this name, with dots between it and those that it is in; made if it is not there and `make` says so.
fn section_of<'a>(root: &'a mut Table, name: &str, make: bool) -> Result<Option<&'a mut Table>, String> {
    let mut table = root;
    let parts: Vec<&str> = name.split('.').filter(|part| !part.is_empty()).collect();
    for (depth, part) in parts.iter().enumerate() {
        if !table.contains_key(part) {
            if !make {
                return Ok(None);
            }
            let mut new = Table::new();
            // Those in between need no line of their own.
            new.set_implicit(depth + 1 < parts.len());
            new.decor_mut().set_prefix("\n");
            table.insert(part, Item::Table(new));
        }
        let item = table.get_mut(part).and_then(Item::as_table_mut);
        table = item.ok_or_else(|| format!("{name}: is no section; write [{name}]"))?;
    }
    Ok(Some(table))
}

/// A list of strings.
pub fn strings<S: AsRef<str>>(items: &[S]) -> Value {
    Value::Array(items.iter().map(AsRef::as_ref).collect::<Array>())
}

/// True if both are the same to whoever reads the file.
fn means(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one.value() == other.value(),
        (Value::Integer(one), Value::Integer(other)) => one.value() == other.value(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| means(one, other))
        }
        // `socket` and others are one string or a list of one.
        (Value::Array(list), single @ Value::String(_)) | (single @ Value::String(_), Value::Array(list)) => {
            list.len() == 1 && list.iter().all(|item| means(item, single))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_changes() {
        let text = "# mine\nprovider = 'conbool' # ours\ndomains = [\n  \"a.test\", # one\n  \"b.test\",\n]\n\n[relay]\nport = 25 # usual\n";
        let same: Vec<(&str, Option<Value>)> = vec![
            ("provider", Some("conbool".into())),
            ("domains", Some(strings(&["a.test", "b.test"]))),
            ("relay.port", Some(25.into())),
            ("scope.files", None),
            ("relay.host", None),
        ];
        assert_eq!(edited(text, &same).unwrap(), text);
        let other = edited(text, &[("relay.port", Some(587.into())), ("scope.mode", Some("list".into()))]).unwrap();
        assert_eq!(other, text.replace("port = 25", "port = 587") + "\n[scope]\nmode = \"list\"\n");
        assert_eq!(edited(&other, &[("scope.mode", None)]).unwrap().lines().count(), other.lines().count() - 1);
    }

    #[test]
    fn a_new_file() {
        let new =
            edited("", &[("provider", Some("conbool".into())), ("relay.host", Some("relay.test".into()))]).unwrap();
        assert_eq!(new, format!("{HEAD}provider = \"conbool\"\n\n[relay]\nhost = \"relay.test\"\n"));
        assert_eq!(edited(&new, &[("provider", Some("conbool".into()))]).unwrap(), new);
    }

    #[test]
    fn the_mode_goes_with_its_comment_alone() {
        let head = "# What this is.\n\n";
        let rest = "provider = \"conbool\" # ours\n# The end.\n\n[routing]\nmode = \"monitor\"\n";
        for mode in ["# Nothing is\n# set up yet.\nmode = \"monitor\"\n\n", "mode = \"monitor\" # for now\n\n"] {
            assert_eq!(without_mode(&format!("{head}{mode}{rest}")), format!("{head}{rest}"));
            assert_eq!(without_mode(&format!("{mode}{rest}")), rest);
        }
        // A comment above several keys is about all of them.
        let both = format!("# Both.\nmode = \"monitor\"\n{rest}");
        assert_eq!(without_mode(&both), format!("# Both.\n{rest}"));
        assert_eq!(without_mode("provider = 'a'\nmode = \"monitor\""), "provider = 'a'\n");
        assert_eq!(without_mode("provider = 'a'\n\n# Now.\nmode = \"monitor\"\n"), "provider = 'a'\n\n");
        assert_eq!(without_mode(rest), rest);
    }

    #[test]
    fn a_section_within_a_section() {
        let new = edited("[scope]\nmode = \"all\"\n", &[("scope.avg.mode", Some("list".into()))]).unwrap();
        assert_eq!(new, "[scope]\nmode = \"all\"\n\n[scope.avg]\nmode = \"list\"\n");
        let new = edited("a = 1\n", &[("scope.avg.mode", Some("list".into()))]).unwrap();
        assert_eq!(new, "a = 1\n\n[scope.avg]\nmode = \"list\"\n");
    }

    #[test]
    fn what_is_no_toml_is_left_alone() {
        assert!(edited::<&str>("provider = \n", &[]).unwrap_err().contains("line 1"));
        assert!(edited("relay = 3\n", &[("relay.port", Some(25.into()))]).unwrap_err().contains("[relay]"));
    }
}
