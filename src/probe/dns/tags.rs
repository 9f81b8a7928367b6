//! Tag lists: `v=DKIM1; k=rsa; p=…` (RFC 6376, section 3.2; DMARC uses the same).

/// The tags in order, names in lower case, without white space around names and values.
///
/// # Errors
/// The part that is not a name and a value.
pub fn parse(text: &str) -> Result<Vec<(String, &str)>, &str> {
    let parts = text.split(';').map(str::trim);
    let tag = |part| {
        let (name, value): (&str, &str) = str::split_once(part, '=').ok_or(part)?;
        let name = name.trim();
        let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        if is_name { Ok((name.to_ascii_lowercase(), value.trim())) } else { Err(part) }
    };
    parts.filter(|part| !part.is_empty()).map(tag).collect()
}

/// The value of a tag.
pub fn value<'a>(tags: &[(String, &'a str)], name: &str) -> Option<&'a str> {
    tags.iter().find(|(tag, _)| tag == name).map(|(_, value)| *value)
}

/// A tag that is there more than once, which makes the whole list invalid.
pub fn twice<'a>(tags: &'a [(String, &str)]) -> Option<&'a str> {
    let repeated = |(index, (name, _)): (usize, &'a (String, &str))| {
        tags.iter().take(index).any(|(before, _)| before == name).then_some(name.as_str())
    };
    tags.iter().enumerate().find_map(repeated)
}
