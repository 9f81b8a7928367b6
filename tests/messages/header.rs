//! Carries out the edits of an answer on the message, as a mail server would, and looks at what is left.

use serde_json::Value;

/// The edits of an answer, in the words of the table.
pub fn edits(answer: &Value) -> Vec<String> {
    let edits = answer["edits"].as_array().map_or(&[][..], Vec::as_slice);
    edits
        .iter()
        .map(|edit| {
            let text = |key: &str| edit[key].as_str().unwrap_or("?").trim().to_owned();
            let detail = edit["value"].as_str().map_or_else(|| edit["index"].to_string(), str::to_owned);
            format!("{} {} {detail}", text("op"), text("name"))
        })
        .collect()
}

/// What must hold after any edits, whatever the table says: no marker is left but the relay's own, and the only spam
/// flag is the one that the verdict asks for. An edit that hits nothing is wrong too: the order of the edits matters,
/// since a mail server counts the fields that are still there.
pub fn what_is_left_is_wrong(answer: &Value, message: &[u8]) -> Vec<String> {
    let mut fields = fields(message);
    let mut wrong = Vec::new();
    for edit in edits(answer) {
        let words: Vec<&str> = edit.splitn(3, ' ').collect();
        match words[..] {
            ["delete", name, index] => {
                let same = |field: &(String, String)| field.0.eq_ignore_ascii_case(name);
                let nth = index.parse::<usize>().unwrap_or_default().wrapping_sub(1);
                let hit = fields.iter().enumerate().filter(|(_, field)| same(field)).nth(nth).map(|(at, _)| at);
                match hit {
                    Some(at) => drop(fields.remove(at)),
                    None => wrong.push(format!("nothing to {edit}")),
                }
            }
            ["add" | "insert", name, value] => fields.push((name.to_owned(), value.to_owned())),
            _ => wrong.push(format!("unknown edit: {edit}")),
        }
    }
    if answer["peer"] != "relay" {
        let forged = fields.iter().filter(|field| field.0.to_ascii_lowercase().starts_with("x-conbool-"));
        wrong.extend(forged.map(|field| format!("{} is left in the message", field.0)));
    }
    let flags: Vec<&str> =
        fields.iter().filter(|field| field.0.eq_ignore_ascii_case("X-Spam-Flag")).map(|field| &*field.1).collect();
    let wanted: &[&str] = if answer["spam"] == "flagged" { &["YES"] } else { &[] };
    if flags != wanted {
        wrong.push(format!("X-Spam-Flag: {wanted:?} wanted, {flags:?} left"));
    }
    wrong
}

/// The fields of the header section, unfolded.
fn fields(message: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(message);
    let head = text.split_once("\r\n\r\n").map_or(&*text, |(head, _)| head);
    let head = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    let field =
        |line: &str| line.split_once(':').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
    head.split("\r\n").filter_map(field).collect()
}
