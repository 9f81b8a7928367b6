//! Whether an instance of Postfix is wired to the daemon.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::command::{self, CommandError};
use super::list;
use crate::config::DEFAULT_POSTFIX_DIRECTORY;
use crate::mta::wired::{Names, TABLE, Wires};

/// Where Zimbra's own Postfix is set up, in its newer and older releases.
const ZIMBRA: [&str; 2] = ["/opt/zimbra/common/conf", "/opt/zimbra/postfix/conf"];

/// Settings that name the directories of other instances (postmulti(1)).
const OTHERS: [&str; 2] = ["multi_instance_directories", "alternate_config_directories"];

/// Looks at all instances of this host, and at that in `directory`.
pub fn wires(names: &Names, directory: &Path) -> Wires {
    let mut wires = Wires::default();
    let mut open = vec![directory.to_owned()];
    open.extend(ZIMBRA.map(PathBuf::from));
    match command::run_alone("postconf", &["-dh", "config_directory"]) {
        Ok(primary) => open.push(PathBuf::from(primary.trim())),
        // What packages leave behind serves nobody.
        Err(CommandError::Start(_, error)) if error.kind() == ErrorKind::NotFound => {
            open.retain(|directory| directory != Path::new(DEFAULT_POSTFIX_DIRECTORY));
        }
        Err(error) => {
            wires.doubts.insert(error.to_string());
            open.push(PathBuf::from(DEFAULT_POSTFIX_DIRECTORY));
        }
    }
    let mut seen = BTreeSet::new();
    while let Some(directory) = open.pop() {
        if seen.insert(directory.clone()) {
            open.extend(look_at(&mut wires, names, &directory));
        }
    }
    wires
}

/// Looks at one instance; gives back the directories of others that it names.
fn look_at(wires: &mut Wires, names: &Names, directory: &Path) -> Vec<PathBuf> {
    let (main, master) = (directory.join("main.cf"), directory.join("master.cf"));
    let Some(text) = wires.text_of(&main) else { return Vec::new() };
    let mut settings = list::settings(&text);
    settings.extend(asked(wires, directory, &["-nx"]));
    let mut services: Vec<(String, String)> =
        list::logical_lines(&wires.text_of(&master).unwrap_or_default()).into_iter().filter_map(service).collect();
    let options = asked(wires, directory, &["-Px"]).into_iter();
    services.extend(options.map(|(name, value)| (name.rsplit_once('/').unwrap_or((&name, "")).0.to_owned(), value)));
    let mut values = Vec::new();
    for (file, settings) in [(&main, &settings), (&master, &services)] {
        for (what, value) in settings {
            let look =
                if what.contains("milter") || value.contains("milters") { Wires::look_at_milters } else { Wires::look };
            look(wires, names, file, what, value);
            values.push(value.as_str());
        }
    }
    for table in tables(&values) {
        look_into(wires, names, &table);
    }
    let others = settings.iter().filter(|(name, _)| OTHERS.contains(&name.as_str()));
    others.flat_map(|(_, value)| list::split(value)).filter(|path| path.starts_with('/')).map(PathBuf::from).collect()
}

/// What postconf makes of the instance, `$name` expanded.
fn asked(wires: &mut Wires, directory: &Path, arguments: &[&str]) -> Vec<(String, String)> {
    match command::run("postconf", directory, arguments) {
        Ok(said) => list::settings(&said),
        // What it would expand is read as it is written.
        Err(CommandError::Start(_, error)) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            wires.doubts.insert(format!("{}: {error}", directory.display()));
            Vec::new()
        }
    }
}

/// A line of master.cf: `name/type`, and all of it.
fn service(line: String) -> Option<(String, String)> {
    let mut words = line.split_whitespace();
    let name = format!("{}/{}", words.next()?, words.next()?);
    Some((name, line))
}

/// The files that values refer to, such as those of tables.
fn tables(values: &[&str]) -> BTreeSet<PathBuf> {
    let words = values.iter().flat_map(|value| value.split([',', ' ', '\t', '{', '}', '=']));
    let paths = words.filter_map(|word| word.rsplit(':').next()).filter(|path| path.starts_with('/'));
    paths.map(PathBuf::from).filter(|path| path.is_file() && !is_ours(path)).collect()
}

/// True for a table of ours: who refers to it is named already.
fn is_ours(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(TABLE))
}

/// Looks for us in a table that is a text: milters by client, transports, FILTERs.
fn look_into(wires: &mut Wires, names: &Names, table: &Path) {
    let Some(text) = wires.text_of(table).filter(|text| !text.contains('\0')) else { return };
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let key = line.split_whitespace().next().unwrap_or_default();
        wires.look_at_milters(names, table, key, line);
    }
}
