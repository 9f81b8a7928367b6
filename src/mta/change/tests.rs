//! The transaction, step by step, on a real file system.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

/// A directory of a test: the files, and the back-ups beside them.
struct Place {
    files: PathBuf,
    backups: PathBuf,
}

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("conbool-milter-{}-change-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        let place = Self { files: path.join("etc"), backups: path.join("state/backups") };
        fs::create_dir_all(&place.files).unwrap();
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        fs::write(self.file(name), text).unwrap();
        fs::set_permissions(self.file(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Every file with its bytes and attributes, hidden ones included.
    fn state(&self) -> Vec<(PathBuf, Option<Content>)> {
        let mut paths: Vec<PathBuf> = fs::read_dir(&self.files)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .collect();
        paths.sort();
        paths.into_iter().map(|path| (path.clone(), Content::read(&path).unwrap())).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.files.parent().unwrap());
    }
}

fn change(place: &Place, files: &[(&str, Option<&str>)]) -> Change {
    let mut change = Change::new();
    for (name, text) in files {
        match text {
            Some(text) => change.write(&place.file(name), *text).unwrap(),
            None => change.remove(&place.file(name)).unwrap(),
        }
    }
    change
}

fn yes() -> Result<(), String> {
    Ok(())
}

#[test]
fn what_is_applied_leads_back_byte_for_byte() {
    let place = Place::new("there-and-back");
    place.write("main.cf", "a = 1\nb = 2", 0o640);
    place.write("old", "gone\n", 0o600);
    let before = place.state();
    let change = change(&place, &[("table", Some("x\n")), ("old", None), ("main.cf", Some("a = 1\nb = 3\n"))]);
    let main_cf = place.file("main.cf").display().to_string();
    assert!(change.diff().contains(&format!("--- {main_cf}\n+++ {main_cf}\n")), "{}", change.diff());
    assert!(change.diff().contains("--- /dev/null\n"), "{}", change.diff());
    assert!(change.diff().contains("\n-b = 2\n"), "{}", change.diff());
    change.apply(&place.backups, yes, yes).unwrap();
    let after = place.state();
    assert_eq!(after.len(), 2, "{after:?}");
    assert_eq!(fs::metadata(place.file("main.cf")).unwrap().permissions().mode() & 0o7777, 0o640);
    let backup = latest_backup(&place.backups).unwrap().unwrap();
    let back = backup.way_back().unwrap();
    let mut transaction = back.begin(&place.backups, Some(&backup)).unwrap();
    transaction.place(|_| true).unwrap();
    transaction.commit().unwrap();
    assert_eq!(place.state(), before);
    assert!(latest_backup(&place.backups).unwrap().is_none());
}

#[test]
fn what_is_there_already_is_no_change() {
    let place = Place::new("empty");
    place.write("main.cf", "a = 1\n", 0o600);
    let same = change(&place, &[("main.cf", Some("a = 1\n")), ("none", None)]);
    assert!(same.is_empty());
    let called = RefCell::new(0);
    let call = || {
        *called.borrow_mut() += 1;
        Ok(())
    };
    assert_eq!(same.apply(&place.backups, call, call).unwrap(), Applied { backup: None });
    assert_eq!(called.into_inner(), 0);
    // There and back again is none either.
    let mut twice = change(&place, &[("main.cf", Some("a = 2\n"))]);
    twice.write(&place.file("main.cf"), "a = 1\n").unwrap();
    assert!(twice.is_empty());
}

#[test]
fn a_check_that_fails_and_a_reload_that_fails() {
    let place = Place::new("refused");
    place.write("main.cf", "a = 1\n", 0o600);
    let before = place.state();
    let change = change(&place, &[("table", Some("x\n")), ("main.cf", Some("a = 2\n"))]);
    let error = change.apply(&place.backups, || Err("bad setting".into()), || panic!("not checked")).unwrap_err();
    assert_eq!(error.to_string(), "bad setting");
    assert_eq!(place.state(), before);
    let seen = RefCell::new(Vec::new());
    let reload = || {
        let text = fs::read_to_string(place.file("main.cf")).unwrap();
        seen.borrow_mut().push(text.clone());
        if text == "a = 2\n" { Err("will not start".into()) } else { Ok(()) }
    };
    assert_eq!(change.apply(&place.backups, yes, reload).unwrap_err().to_string(), "will not start");
    assert_eq!(seen.into_inner(), ["a = 2\n", "a = 1\n"]);
    assert_eq!(place.state(), before);
    // Nothing was changed, so there is nothing to go back to.
    assert!(latest_backup(&place.backups).unwrap().is_none());
}

#[test]
fn a_file_that_cannot_be_written_leaves_the_others_alone() {
    let place = Place::new("unwritable");
    place.write("main.cf", "a = 1\n", 0o600);
    let before = place.state();
    let change = change(&place, &[("main.cf", Some("a = 2\n")), ("no/such/folder", Some("x"))]);
    let error = change.apply(&place.backups, || panic!("checked"), || panic!("in force")).unwrap_err();
    assert!(matches!(&error, ChangeError::File(path, ..) if path.ends_with("no/such/folder")), "{error}");
    assert_eq!(place.state(), before);
    assert_eq!(fs::read_dir(&place.backups).unwrap().count(), 1, "only the lock");
}

#[test]
fn a_name_that_cannot_be_taken_puts_back_what_was_placed() {
    let place = Place::new("taken");
    place.write("main.cf", "a = 1\n", 0o600);
    let before = place.state();
    let change = change(&place, &[("main.cf", Some("a = 2\n")), ("table", Some("x\n"))]);
    let mut transaction = change.begin(&place.backups, None).unwrap();
    // A directory with something in it cannot be replaced by a file.
    fs::create_dir_all(place.file("table/full")).unwrap();
    let error = transaction.place(|_| true).unwrap_err();
    assert_eq!(fs::read_to_string(place.file("main.cf")).unwrap(), "a = 2\n");
    let error = transaction.undo(error);
    fs::remove_dir_all(place.file("table")).unwrap();
    // The one that is in the way is somebody else's.
    assert!(matches!(error, ChangeError::NotRestored { .. }), "{error}");
    assert_eq!(fs::read_to_string(place.file("main.cf")).unwrap(), "a = 1\n");
    assert_eq!(recover(&place.backups).unwrap().len(), 2);
    assert_eq!(place.state(), before);
}

#[test]
fn one_at_a_time_and_nobody_else() {
    let place = Place::new("alone");
    place.write("main.cf", "a = 1\n", 0o600);
    let mine = change(&place, &[("main.cf", Some("a = 2\n"))]);
    let transaction = mine.begin(&place.backups, None).unwrap();
    assert!(matches!(mine.begin(&place.backups, None), Err(ChangeError::Busy(_))));
    drop(transaction);
    place.write("main.cf", "a = 9\n", 0o600);
    assert!(matches!(mine.begin(&place.backups, None), Err(ChangeError::Meanwhile(_))));
    // Files of this host are made from the back-ups: nobody else may have a hand in them.
    fs::set_permissions(&place.backups, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(latest_backup(&place.backups), Err(ChangeError::Backup(..))));
    fs::remove_dir_all(&place.backups).unwrap();
    symlink(&place.files, &place.backups).unwrap();
    assert!(matches!(mine.begin(&place.backups, None), Err(ChangeError::Backup(..))));
}

#[test]
fn a_link_stays_a_link() {
    let place = Place::new("link");
    place.write("real", "a = 1\n", 0o600);
    symlink("real", place.file("main.cf")).unwrap();
    change(&place, &[("main.cf", Some("a = 2\n"))]).apply(&place.backups, yes, yes).unwrap();
    assert_eq!(fs::read_link(place.file("main.cf")).unwrap(), Path::new("real"));
    assert_eq!(fs::read_to_string(place.file("real")).unwrap(), "a = 2\n");
}

#[test]
fn a_back_up_that_was_tampered_with_is_not_used() {
    let place = Place::new("tampered");
    place.write("main.cf", "a = 1\n", 0o600);
    let applied = change(&place, &[("main.cf", Some("a = 2\n"))]).apply(&place.backups, yes, yes).unwrap();
    let backup = latest_backup(&place.backups).unwrap().unwrap();
    place.write("main.cf", "a = 3\n", 0o600);
    assert_eq!(backup.changed_since().unwrap(), [place.file("main.cf")]);
    fs::write(applied.backup.unwrap().join("0"), "a = 7\n").unwrap();
    assert!(matches!(backup.way_back(), Err(ChangeError::Backup(..))));
}

/// What the daemon's user can do, whose directory the back-ups lie in.
#[test]
fn what_is_put_in_place_of_the_back_ups_is_not_used() {
    const DAEMON: u32 = 65534;
    let place = Place::new("swapped");
    place.write("main.cf", "a = 1\n", 0o600);
    change(&place, &[("main.cf", Some("a = 2\n"))]).apply(&place.backups, yes, yes).unwrap();
    let backup = latest_backup(&place.backups).unwrap().unwrap();
    let name = backup.directory().file_name().unwrap().to_owned();
    let aside = place.backups.with_file_name("aside");
    fs::rename(&place.backups, &aside).unwrap();
    // As the true ones, but for what main.cf was.
    let forged = place.backups.join(&name);
    fs::create_dir_all(&forged).unwrap();
    for entry in fs::read_dir(aside.join(&name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), forged.join(entry.file_name())).unwrap();
    }
    fs::write(forged.join("0"), "a = 7\n").unwrap();
    // What was looked at before is what is used, whatever has taken its name since.
    let way_back = backup.way_back().unwrap();
    assert_eq!(way_back.files()[0].after.as_ref().unwrap().bytes, b"a = 1\n");
    let mine = change(&place, &[("main.cf", Some("a = 3\n"))]);
    let refused = |why: &str| {
        assert!(matches!(latest_backup(&place.backups), Err(ChangeError::Backup(..))), "{why}");
        assert!(matches!(interrupted(&place.backups), Err(ChangeError::Backup(..))), "{why}");
        assert!(matches!(recover(&place.backups), Err(ChangeError::Backup(..))), "{why}");
        assert!(matches!(mine.begin(&place.backups, None), Err(ChangeError::Backup(..))), "{why}");
    };
    for what in [&place.backups, &forged, &forged.join("manifest.json")] {
        chown(what, Some(DAEMON), None).unwrap();
        refused(&what.display().to_string());
        chown(what, Some(0), None).unwrap();
    }
    fs::set_permissions(&forged, fs::Permissions::from_mode(0o777)).unwrap();
    refused("everybody can write");
    assert_eq!(fs::read_to_string(place.file("main.cf")).unwrap(), "a = 2\n");
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn contents() -> impl Strategy<Value = Vec<Option<(String, u32)>>> {
    let content = proptest::option::of(("[a-z\n]{0,20}", prop_oneof![Just(0o644), Just(0o600), Just(0o4751)]));
    proptest::collection::vec(content, NAMES.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Killed after any step, a later process finds what there was and puts it back.
    #[test]
    fn killed_anywhere(before in contents(), after in contents(), steps in 0..=NAMES.len()) {
        let place = Place::new("killed");
        for (name, content) in NAMES.iter().zip(&before) {
            if let Some((text, mode)) = content {
                place.write(name, text, *mode);
            }
        }
        let state = place.state();
        let files: Vec<_> = NAMES.iter().zip(&after).map(|(name, content)| {
            (*name, content.as_ref().map(|(text, _)| text.as_str()))
        }).collect();
        let change = change(&place, &files);
        let mut transaction = change.begin(&place.backups, None).unwrap();
        prop_assert!(NAMES.iter().all(|name| Content::read(&place.file(name)).unwrap()
            == state.iter().find(|(path, _)| path.ends_with(name)).and_then(|(_, content)| content.clone())));
        for name in &NAMES[..steps] {
            transaction.place(|path| path.ends_with(name)).unwrap();
        }
        transaction.die();
        if !change.is_empty() {
            prop_assert!(matches!(change.begin(&place.backups, None), Err(ChangeError::Interrupted(_))));
            prop_assert_eq!(recover(&place.backups).unwrap().len(), change.files().len());
        }
        prop_assert_eq!(place.state(), state);
        prop_assert!(recover(&place.backups).unwrap().is_empty());
    }
}
