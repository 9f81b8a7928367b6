//! What was meant by a key that does not exist.

/// Below this likeness, from 0 to 1, two keys have nothing to do with each other.
const ALIKE: f64 = 0.65;

/// From this likeness on, two keys differ in how they are written only.
const SAME: f64 = 0.95;

/// What to say about an unknown key.
pub struct Suggestion {
    /// The key that was very likely meant.
    pub instead: Option<String>,
    /// The whole message.
    pub message: String,
}

/// Looks for the known key, or for a table the section, that `path` most likely stands for. `known` holds all keys
/// with their sections.
pub fn nearest(path: &str, is_table: bool, known: &[String]) -> Suggestion {
    if is_table { section(path, known) } else { key(path, known) }
}

fn key(path: &str, known: &[String]) -> Suggestion {
    let (own_section, name) = split(path);
    let likeness = |key: &String| {
        let (section, known_name) = split(key);
        let whole = strsim::normalized_damerau_levenshtein(&plain(path), &plain(key));
        // Within one section the bare names count as much: the section's name makes all of its keys alike.
        let same = section == own_section;
        if same { (whole + strsim::jaro_winkler(&plain(name), &plain(known_name))) / 2.0 } else { whole }
    };
    let near = |key: &String| {
        let likeness = likeness(key);
        likeness >= SAME || own_section.is_some() && split(key).0 == own_section && likeness >= ALIKE
    };
    let namesakes: Vec<&String> = known.iter().filter(|key| split(key).1 == name).collect();
    if let Some(key) = namesakes.iter().find(|key| split(key).0.is_none()) {
        let message = format!("unknown key here; \"{name}\" belongs at the top of the file, before the first section");
        return Suggestion { instead: Some((*key).clone()), message };
    }
    if let (Some(key), false) = (namesakes.first(), known.iter().any(near)) {
        let sections: Vec<&str> = namesakes.iter().filter_map(|key| split(key).0).collect();
        let message = format!("unknown key here; \"{name}\" belongs in section [{}]", sections.join("] or ["));
        return Suggestion { instead: Some((*key).clone()), message };
    }
    match best(known.iter(), likeness) {
        Some((key, likeness)) if likeness >= ALIKE => {
            Suggestion { instead: Some(key.clone()), message: format!("unknown key; did you mean \"{key}\"?") }
        }
        Some((key, _)) => Suggestion {
            instead: None,
            message: format!(
                "unknown key; the nearest known one is \"{key}\", and conbool-milter.toml(5) lists them all"
            ),
        },
        None => Suggestion { instead: None, message: "unknown key".into() },
    }
}

fn section(path: &str, known: &[String]) -> Suggestion {
    let mut sections: Vec<&str> = known.iter().filter_map(|key| split(key).0).collect();
    sections.dedup();
    let likeness = |section: &&str| strsim::normalized_damerau_levenshtein(&plain(path), &plain(section));
    let message = match best(sections.iter(), likeness) {
        Some((section, likeness)) if likeness >= ALIKE => format!("unknown section; did you mean [{section}]?"),
        _ => format!("unknown section; the sections are [{}]", sections.join("], [")),
    };
    Suggestion { instead: None, message }
}

fn best<'k, K: 'k>(known: impl Iterator<Item = &'k K>, likeness: impl Fn(&K) -> f64) -> Option<(&'k K, f64)> {
    known.map(|key| (key, likeness(key))).max_by(|a, b| a.1.total_cmp(&b.1))
}

/// The section, if any, and the name within it.
fn split(key: &str) -> (Option<&str>, &str) {
    key.rsplit_once('.').map_or((None, key), |(section, name)| (Some(section), name))
}

/// Without the differences that are no difference to a person.
fn plain(key: &str) -> String {
    key.chars().map(|letter| if letter.is_alphanumeric() { letter.to_ascii_lowercase() } else { '_' }).collect()
}
