//! Whether the Sendmail of this host is wired to the daemon.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Cf, mc};
use crate::config::{self, DEFAULT_SENDMAIL_DIRECTORY};
use crate::mta::wired::{Names, Wire, Wires};

/// Looks at its files, where they are by default and where our configuration says.
pub fn wires(names: &Names, places: &config::Sendmail) -> Wires {
    let mut wires = Wires::default();
    // What packages leave behind serves nobody.
    if !places.program.exists() {
        return wires;
    }
    for directory in BTreeSet::from([Path::new(DEFAULT_SENDMAIL_DIRECTORY), &places.directory]) {
        for name in ["sendmail", "submit"] {
            look_at_source(&mut wires, names, &directory.join(format!("{name}.mc")));
            look_at_made(&mut wires, names, &directory.join(format!("{name}.cf")));
        }
    }
    wires
}

/// What m4 makes the next sendmail.cf of.
fn look_at_source(wires: &mut Wires, names: &Names, file: &Path) {
    let Some(text) = wires.text_of(file) else { return };
    if mc::without_blocks(&text).map_or(true, |site| site != text) {
        let names = "conbool-milter: begin".to_owned();
        wires.found.insert(Wire { file: file.to_owned(), what: "a block of setup".to_owned(), names });
    }
    for line in text.lines().filter(|line| !line.trim_start().starts_with("dnl") && !line.starts_with('#')) {
        let what = line.split(['(', ' ', '\t']).next().unwrap_or_default();
        let look = if line.contains("MAIL_FILTER") { Wires::look_at_milters } else { Wires::look };
        look(wires, names, file, what, line);
    }
}

/// What Sendmail reads.
fn look_at_made(wires: &mut Wires, names: &Names, file: &Path) {
    let Some(text) = wires.text_of(file) else { return };
    for line in Cf::parse(&text).lines() {
        let what = line.text.split([',', ' ', '\t']).next().unwrap_or_default();
        let look = if line.text.starts_with('X') { Wires::look_at_milters } else { Wires::look };
        look(wires, names, file, what, &line.text);
    }
}
