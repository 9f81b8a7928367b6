//! The arguments of MAIL and RCPT (RFC 5321, 4.1.1.2 and 4.1.1.3), for simulated hosts and text cases alike.

/// One path with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The address without angle brackets; empty is the null sender.
    pub address: String,
    /// `KEYWORD` or `KEYWORD=value`, as sent.
    pub parameters: Vec<String>,
}

impl Path {
    /// Reads `FROM:<address> parameters` or `TO:<address> parameters` after the verb.
    pub fn parse(argument: &str) -> Option<Self> {
        let (keyword, rest) = argument.split_once(':')?;
        if !matches!(keyword.to_ascii_uppercase().as_str(), "FROM" | "TO") {
            return None;
        }
        let rest = rest.trim_start().strip_prefix('<')?;
        let end = closing_bracket(rest)?;
        let parameters = rest[end + 1..].split_ascii_whitespace().map(str::to_owned).collect();
        Some(Self { address: rest[..end].to_owned(), parameters })
    }
}

/// Position of the `>` that ends the path; one inside a quoted local part does not.
fn closing_bracket(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.char_indices().find_map(|(position, character)| {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => return Some(position),
            _ => {}
        }
        None
    })
}
