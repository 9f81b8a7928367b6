use proptest::prelude::*;

use super::*;

fn text(bytes: impl Into<Vec<u8>>) -> CString {
    CString::new(bytes).unwrap()
}

fn shown(marked: Option<CString>) -> Option<String> {
    marked.map(|marked| marked.to_string_lossy().into_owned())
}

#[test]
fn an_address_is_put_below_the_pseudo_domain() {
    for (address, marked_address) in [
        ("bob@remote.test", "<bob@remote.test.conbool-relay.invalid>"),
        ("Bob@Remote.test.", "<Bob@Remote.test.conbool-relay.invalid>"),
        ("b+x=y%z!@remote.test", "<b+x=y%z!@remote.test.conbool-relay.invalid>"),
        ("a..b.@remote.test", "<a..b.@remote.test.conbool-relay.invalid>"),
        ("\"a @ \\\"b\\\\\"@remote.test", "<\"a @ \\\"b\\\\\"@remote.test.conbool-relay.invalid>"),
        ("bob@[192.0.2.9]", "<bob%[192.0.2.9]@lit.conbool-relay.invalid>"),
        ("\"x y\"@[IPv6:2001:db8::1]", "<\"x y\"%[IPv6:2001:db8::1]@lit.conbool-relay.invalid>"),
        ("jürgen@remote.test", "<jürgen@remote.test.conbool-relay.invalid>"),
    ] {
        assert_eq!(shown(marked(address.as_bytes(), Route::Relay)).as_deref(), Some(marked_address), "{address}");
    }
    assert_eq!(
        shown(marked(b"bob@remote.test", Route::Direct)).as_deref(),
        Some("<bob@remote.test.conbool-direct.invalid>")
    );
}

#[test]
fn what_sendmail_would_read_otherwise_is_not_marked() {
    for address in [
        "",
        "bob",
        "@remote.test",
        "bob@",
        "bob@.",
        "bob@a..b",
        "bob@.remote.test",
        "bob@remote.test..",
        "bob@lit",
        "bob@LIT.",
        "bob@[]",
        "bob@[192.0.2.9",
        "bob@[192.0.2.9]x",
        "bob@[a]b]",
        "\"@remote.test",
        "\"a\"b\"@remote.test",
        "\"a\\\"@remote.test",
        "a b@remote.test",
        "a,b@remote.test",
        "a;b@remote.test",
        "a:b@remote.test",
        "<a@remote.test",
        "a(b)@remote.test",
        "a\\b@remote.test",
        "bob@remote.test>",
        "bob@remote.test bob",
        "bob@rem ote.test",
        "bob@remote,test",
        "b\tb@remote.test",
        "\"a\nb\"@remote.test",
        "J\u{c4}rgen@remote.test",
        "bob@remote(x).test",
        "a@b@remote.test",
    ] {
        assert_eq!(shown(marked(address.as_bytes(), Route::Relay)), None, "{address:?}");
    }
}

#[test]
fn the_longest_address_is_sendmails_less_the_mark() {
    let of = |length: usize| format!("{}@remote.test", "l".repeat(length - "@remote.test".len()));
    for (route, most) in [(Route::Relay, 231), (Route::Direct, 230)] {
        assert_eq!(marked(of(most).as_bytes(), route).unwrap().as_bytes().len(), MAX_ADDRESS);
        assert_eq!(marked(of(most + 1).as_bytes(), route), None);
    }
    // Two octets that count twice each.
    assert!(marked(format!("ü{}", of(227)).as_bytes(), Route::Relay).is_some());
    assert_eq!(marked(format!("ü{}", of(228)).as_bytes(), Route::Relay), None);
}

proptest! {
    #[test]
    fn a_mark_is_one_path_with_the_address_in_it(address in prop_oneof![
        any::<Vec<u8>>(),
        "[ -~]{0,40}@[ -~]{0,40}".prop_map(String::into_bytes),
        "\"([ !#-\\[\\]-~]|\\\\[ -~]){0,20}\"@[a-z.]{1,20}".prop_map(String::into_bytes),
        "[a-z+=%!'./]{1,20}@\\[[0-9A-Za-z.:]{1,20}\\]".prop_map(String::into_bytes),
    ]) {
        if let Some(marked) = marked(&address, Route::Relay) {
            let bytes = marked.as_bytes();
            prop_assert!(bytes.len() <= MAX_ADDRESS);
            prop_assert!(bytes.iter().all(|byte| (b' '..=b'~').contains(byte) || *byte >= 0xa0), "{marked:?}");
            let inner = bytes.strip_prefix(b"<").unwrap().strip_suffix(b".conbool-relay.invalid>").unwrap();
            // What the rules in sendmail.cf do.
            let back = match inner.strip_suffix(b"]@lit").and_then(|rest| rest.windows(2).rposition(|two| two == b"%[")) {
                Some(at) => [&inner[..at], b"@", &inner[at + 1..inner.len() - b"@lit".len()]].concat(),
                None => inner.to_vec(),
            };
            prop_assert_eq!(back, address.strip_suffix(b".").unwrap_or(&address));
        }
    }

    #[test]
    fn parameters_are_two_words_at_most_and_well_formed(
        argument in "[ -~\u{80}-\u{ff}]{0,60}",
        given in proptest::collection::vec("(NOTIFY|notify|ORCPT|oRCPT|BODY)=[ -~]{0,20}|[ -~]{0,20}|NOTIFY=(NEVER|SUCCESS,DELAY)|ORCPT=rfc822;[!-~]{0,9}", 0..4),
    ) {
        let recipient = Recipient::of_test(text(argument), given.into_iter().map(text).collect(), "");
        let parameters = parameters(&recipient, true).map(CString::into_bytes).unwrap_or_default();
        let words: Vec<&[u8]> = parameters.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect();
        prop_assert!(words.len() <= 2 && parameters.iter().all(|byte| (b' '..=b'~').contains(byte)));
        for word in words {
            let (name, value) = word.split_at(word.iter().position(|byte| *byte == b'=').unwrap());
            let fits = if name.eq_ignore_ascii_case(b"NOTIFY") { is_notify } else { is_orcpt };
            prop_assert!(fits(&value[1..]), "{:?}", String::from_utf8_lossy(word));
        }
    }
}

#[test]
fn the_clients_parameters_go_on_as_they_came() {
    let given = |parameters: &[&str]| {
        let parameters = parameters.iter().map(|parameter| text(*parameter)).collect();
        Recipient::of_test(text("<Bob+x@remote.test>"), parameters, "bob+x@remote.test")
    };
    let sent = |parameters: &[&str]| shown(super::parameters(&given(parameters), true)).unwrap();
    assert_eq!(sent(&[]), "ORCPT=rfc822;Bob+2Bx@remote.test");
    assert_eq!(sent(&["NOTIFY=NEVER"]), "NOTIFY=NEVER ORCPT=rfc822;Bob+2Bx@remote.test");
    assert_eq!(sent(&["orcpt=RFC822;B+2BX", "notify=Success,DELAY"]), "notify=Success,DELAY orcpt=RFC822;B+2BX");
    // Nothing that Sendmail could stumble over.
    for odd in
        ["NOTIFY=", "NOTIFY=SUCCESS,NEVER", "NOTIFY=A", "NOTIFY", "ORCPT=rfc822", "ORCPT=;x", "ORCPT=rfc822;+2b", "X=Y"]
    {
        assert_eq!(sent(&[odd]), "ORCPT=rfc822;Bob+2Bx@remote.test", "{odd}");
    }
    assert_eq!(super::parameters(&given(&[]), false), None, "where delivery status notifications may not be on offer");
    let not_ascii = Recipient::of_test(text("<j\u{fc}rgen@remote.test>"), Vec::new(), "");
    assert_eq!(super::parameters(&not_ascii, true), None);
    let long = Recipient::of_test(text("+".repeat(200)), Vec::new(), "");
    assert_eq!(super::parameters(&long, true), None);
}

#[test]
fn a_client_cannot_write_a_mark() {
    for argument in [
        "<bob@remote.test.conbool-direct.invalid>",
        "<bob@remote.test.Conbool-Relay.INVALID.>",
        "<bob%remote.test.conbool-direct.invalid@customer.test>",
        "<\"bob%remote.test.conbool-direct.invalid\"@customer.test>",
        "<bob@remote.test.conbool\\-direct.invalid>",
        "<bob@remote.test.conbool-(x (y))direct . invalid>",
        "<bob@remote.test.\"conbool-direct\".invalid>",
        "<bob@remote.test(.conbool-direct.invalid)>",
        "<@conbool-direct.invalid:bob@remote.test>",
    ] {
        assert!(names_a_pseudo_domain(&text(argument)), "{argument}");
    }
    assert!(!names_a_pseudo_domain(c"<conbool-direct@invalid.test>"));
}
