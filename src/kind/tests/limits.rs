//! How much of the body is read.

use super::{Kind, Message, REQUEST, message};

/// A meeting of which the calendar is `size` bytes larger than usual.
fn meeting(size: usize) -> Message {
    let attached = format!("ATTACH;ENCODING=BASE64:{}\nEND:VEVENT", "A".repeat(size));
    message(&format!(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nPlanning\n--b\nContent-Type: text/calendar; method=REQUEST\n\n{}\n--b\nContent-Type: application/pdf\nContent-Transfer-Encoding: base64\n\n{}\n--b--\n",
        REQUEST.replace("END:VEVENT", &attached),
        "AAAA".repeat(2000)
    ))
}

#[test]
fn no_more_is_wanted_once_the_calendar_was_read() {
    let meeting = meeting(0);
    let enough = meeting.enough().expect("an answer");
    assert!(enough < 600, "{enough}");
    assert_eq!(meeting.classify(enough, false), Kind::Calendaring);
    assert_eq!(meeting.kind(), Kind::Calendaring);
}

#[test]
fn a_structure_that_has_ended_is_enough() {
    let plain =
        message(&format!("Content-Type: multipart/mixed; boundary=b\n\n--b\n\nhello\n--b--\n{}", "x\n".repeat(500)));
    assert_eq!(plain.enough(), Some("--b\r\n\r\nhello\r\n--b--\r\n".len()));
}

#[test]
fn a_calendar_cut_off_by_the_limit_counts_if_its_properties_were_read() {
    let large = meeting(10_000);
    for limit in [4096, 6000, 10_000] {
        let large = large.clone().set(|settings| settings.body_limit = limit);
        assert_eq!(large.kind(), Kind::Calendaring, "{limit}");
        assert!(!large.wants_body(limit));
        assert_eq!(large.classify(limit - 1, false), Kind::Normal, "more of it could be read");
    }
    // The limit comes before the first component, where a METHOD could still stand.
    for limit in [1, 40, 80, 150] {
        assert_eq!(large.clone().set(|settings| settings.body_limit = limit).kind(), Kind::Normal, "{limit}");
    }
}

#[test]
fn what_was_not_read_does_not_matter() {
    let mut large = meeting(10_000);
    large.settings.body_limit = 4096;
    large.body.truncate(9000);
    large.body.push(0);
    assert_eq!(large.kind(), Kind::Calendaring);
    let mut small = meeting(0);
    let at = small.body.len() - 4000;
    small.body[at] = 0;
    assert_eq!(small.kind(), Kind::Calendaring, "a defect after the calendar");
}

#[test]
fn greatest_size() {
    let meeting = meeting(0);
    let size = meeting.body.len();
    let at_most = |most| meeting.clone().set(move |settings| settings.calendaring_max_size = Some(most));
    assert_eq!(at_most(size).kind(), Kind::Calendaring);
    assert_eq!(at_most(size).classify(size, false), Kind::Normal, "there may be more");
    assert_eq!(at_most(size - 1).kind(), Kind::Normal);
    assert_eq!(at_most(1000).enough(), Some(1001), "too large is known at once");
    let unknown = at_most(size).set(|settings| settings.body_limit = 4096);
    assert_eq!(unknown.kind(), Kind::Normal, "its end is never read");
    let by_class = "Content-Class: urn:content-classes:calendarmessage\n\n12345678";
    let by_class = |most| message(by_class).set(move |settings| settings.calendaring_max_size = Some(most));
    assert_eq!(by_class(8).kind(), Kind::Calendaring);
    assert_eq!(by_class(7).kind(), Kind::Normal);
}

#[test]
fn nothing_is_wanted_at_the_limit() {
    let open = message(&format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "x\n".repeat(4096)));
    let open = open.set(|settings| settings.body_limit = 4096);
    assert!(open.wants_body(4095));
    assert!(!open.wants_body(4096));
    assert!(!open.wants_body(5000));
}

#[test]
fn a_large_limit_costs_time_in_proportion() {
    // 12 MiB in chunks, with a calendar part that never ends.
    let filler = "A".repeat(12 << 20);
    let large = message(&format!(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/calendar; method=REQUEST\n\nBEGIN:VCALENDAR\n{filler}"
    ))
    .set(|settings| settings.body_limit = 16 << 20);
    let looks = (0..large.body.len()).step_by(65_535).filter(|&read| super::super::is_due(read)).count();
    assert!((8..20).contains(&looks), "{looks}");
    for read in [100, 300 << 10, 8 << 20] {
        assert!(large.wants_body(read));
    }
}
