//! Our configuration file as setup writes it: only what was asked changes, and comments stay.

use toml_edit::{Array, DocumentMut, Item, Table, Value};

/// How a new file begins.
const HEAD: &str =
    "# conbool-milter: see conbool-milter.toml(5). What you add or change here, `conbool-milter setup` keeps.\n\n";

/// The file's text with these keys (`relay.port`) set, or removed where the value is `None`. What has the value already is
/// left as it is written.
///
/// # Errors
/// A sentence if the text is not TOML, or has something else where a section is to be.
pub fn edited<K: AsRef<str>>(text: &str, settings: &[(K, Option<Value>)]) -> Result<String, String> {
    let mut document: DocumentMut =
        if text.is_empty() { HEAD } else { text }.parse().map_err(|error| format!("{error}").trim_end().to_owned())?;
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
    // A new file begins with a comment, which TOML takes for what stands before the first key, or behind the last.
    let written = document.to_string();
    Ok(if text.is_empty() && !written.starts_with('#') { format!("{HEAD}{written}") } else { written })
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
