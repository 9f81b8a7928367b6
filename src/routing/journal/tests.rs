use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("conbool-milter-{}-routes-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        Self(folder)
    }

    fn open(&self, now: SystemTime) -> (Journal, Generations) {
        Journal::open(&self.0, 1000, now).unwrap()
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn at(days: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + days * 24 * 3600)
}

fn route() -> impl Strategy<Value = Route> {
    prop_oneof![Just(Route::Relay), Just(Route::Direct)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever part of the last lines a crash leaves: what is there whole is known, nothing else is, and what comes after
    /// it is kept whole.
    #[test]
    fn a_torn_end_costs_what_is_torn(
        written in prop::collection::vec(("[A-Za-z0-9]{1,20}", route()), 1..20),
        lost in 0_usize..60,
        later in prop::collection::vec(("[A-Za-z0-9]{1,20}", route()), 0..5),
    ) {
        let folder = Folder::new();
        let (mut journal, _) = folder.open(at(0));
        for (queue_id, route) in &written {
            prop_assert!(!journal.append(queue_id, *route, at(0)).unwrap());
        }
        drop(journal);
        let path = folder.files().remove(0);
        let bytes = fs::read(&path).unwrap();
        let left = &bytes[..bytes.len().saturating_sub(lost)];
        fs::write(&path, left).unwrap();
        let whole = left.iter().filter(|byte| **byte == b'\n').count();
        let (mut journal, _) = folder.open(at(1));
        for (queue_id, route) in &later {
            journal.append(queue_id, *route, at(1)).unwrap();
        }
        let (_, known) = folder.open(at(2));
        let kept = || written[..whole].iter().chain(&later);
        for (queue_id, _) in written.iter().chain(&later) {
            let last = kept().rev().find(|(kept, _)| kept == queue_id).map(|(_, route)| *route);
            prop_assert_eq!(known.get(queue_id), last, "{}", queue_id);
        }
    }

    #[test]
    fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let folder = Folder::new();
        fs::create_dir_all(&folder.0).unwrap();
        fs::write(folder.0.join("1800000000"), bytes).unwrap();
        let (mut journal, _) = folder.open(at(0));
        journal.append("6AM3u3Hv031625", Route::Relay, at(0)).unwrap();
        prop_assert_eq!(folder.open(at(0)).1.get("6AM3u3Hv031625"), Some(Route::Relay));
    }
}

#[test]
fn a_verdict_is_known_for_fifteen_days_at_least_and_goes_with_its_file() {
    let folder = Folder::new();
    let (mut journal, _) = folder.open(at(0));
    assert!(!journal.append("first", Route::Relay, at(0)).unwrap());
    assert!(!journal.append("second", Route::Direct, at(14)).unwrap());
    assert!(journal.append("third", Route::Relay, at(15)).unwrap());
    let (_, known) = folder.open(at(29));
    assert_eq!(
        ["first", "second", "third"].map(|id| known.get(id)),
        [Some(Route::Relay), Some(Route::Direct), Some(Route::Relay)]
    );
    let (mut journal, known) = folder.open(at(30));
    assert_eq!((known.get("second"), known.get("third")), (None, Some(Route::Relay)));
    assert!(journal.append("fourth", Route::Relay, at(31)).unwrap());
    assert_eq!(folder.files().len(), 2);
    let (_, known) = folder.open(at(90));
    assert_eq!((known.get("fourth"), folder.files().len()), (None, 1));
}

#[test]
fn the_number_of_lines_is_bounded() {
    let folder = Folder::new();
    let (mut journal, _) = Journal::open(&folder.0, 10, at(0)).unwrap();
    let begun = (0..100).filter(|number| journal.append(&format!("id{number}"), Route::Direct, at(0)).unwrap());
    assert_eq!(begun.count(), 9);
    assert_eq!(folder.files().len(), 2);
    let (_, known) = Journal::open(&folder.0, 10, at(0)).unwrap();
    assert_eq!(
        [79, 80, 99].map(|number| known.get(&format!("id{number}"))),
        [None, Some(Route::Direct), Some(Route::Direct)]
    );
}

#[test]
fn what_could_forge_a_line_is_no_queue_id() {
    let folder = Folder::new();
    let (mut journal, _) = folder.open(at(0));
    for queue_id in ["", "a b", "a\nrelay b", "\u{fc}", &"a".repeat(MAX_QUEUE_ID + 1)] {
        assert!(journal.append(queue_id, Route::Relay, at(0)).is_err(), "{queue_id:?}");
    }
    assert_eq!(fs::read(&folder.files()[0]).unwrap(), b"");
}

#[test]
fn a_full_disk_is_an_error_and_leaves_no_half_lines() {
    let folder = Folder::new();
    let (mut journal, _) = folder.open(at(0));
    journal.append("first", Route::Relay, at(0)).unwrap();
    let path = folder.files().remove(0);
    // Cannot be written to, as a full disk.
    let whole = std::mem::replace(&mut journal.current.file, File::open(&path).unwrap());
    let error = journal.append("second", Route::Relay, at(0)).unwrap_err().to_string();
    assert!(error.contains("the message's route cannot be kept"), "{error}");
    journal.current.file = whole;
    journal.append("third", Route::Relay, at(0)).unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), "relay first\nrelay third\n");
}
