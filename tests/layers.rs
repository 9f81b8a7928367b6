//! The rooms of the source tree import downwards only, as the map in `src/lib.rs` says.

use std::fs;
use std::path::{Path, PathBuf};

/// Top to bottom; rooms of one layer do not import each other.
const LAYERS: &[&[&str]] = &[
    &["main", "lib"],
    &["cli"],
    &["server"],
    &["milter", "policyd", "socketmap", "mta", "probe", "site"],
    &["questions", "routing", "sources"],
    &["directory", "dns", "telemetry", "provider"],
    &["config"],
    &["judge"],
    &["headers", "kind", "lock_down", "rules", "scope", "trust"],
    &["address", "case", "finding", "verdict"],
];

fn layer(room: &str) -> usize {
    LAYERS.iter().position(|rooms| rooms.contains(&room)).unwrap_or_else(|| {
        panic!("the map does not know {room:?}; is it new, or are several rooms imported in one line?")
    })
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn imports_point_downwards() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&source, &mut found);
    let mut upwards = Vec::new();
    for file in found {
        let relative = file.strip_prefix(&source).unwrap();
        let first = relative.iter().next().unwrap().to_string_lossy();
        let room = first.trim_end_matches(".rs");
        // Tests put together what they like.
        if relative.to_string_lossy().contains("tests") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for import in code.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
            for (at, _) in import.match_indices("crate::") {
                let name = import[at + 7..].split(|character: char| !character.is_alphanumeric() && character != '_');
                let imported = name.into_iter().next().unwrap_or_default();
                let own = imported == room || room == "main";
                if !own && layer(imported) <= layer(room) {
                    upwards.push(format!("{}: {import}", relative.display()));
                }
            }
        }
    }
    assert!(upwards.is_empty(), "imports that do not point downwards:\n{}", upwards.join("\n"));
}
