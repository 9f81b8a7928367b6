//! xtext (RFC 3461, 4): how ESMTP parameters, and Sendmail's macros, carry any octet in printable ASCII.

/// The octets as xtext.
pub fn encode(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    for &octet in octets {
        if octet.is_ascii_graphic() && octet != b'+' && octet != b'=' {
            text.push(char::from(octet));
        } else {
            text += &format!("+{octet:02X}");
        }
    }
    text
}

/// The octets that the text stands for. What need not be encoded may be, and the other way round: Sendmail leaves `=` as
/// it is in the names of certificates.
///
/// `None` if a `+` does not begin an octet.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        octets.push(match byte {
            b'+' => hexadecimal(*rest.next()?)? << 4 | hexadecimal(*rest.next()?)?,
            other => other,
        });
    }
    Some(octets)
}

/// Whether the text is xtext to the letter.
pub fn is_valid(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'=') && decode(text).is_some()
}

/// A digit of xtext; lower case is none.
fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_again(octets: Vec<u8>) {
            let text = encode(&octets);
            prop_assert!(is_valid(text.as_bytes()), "{text:?}");
            prop_assert!(text.bytes().all(|byte| (b'!'..=b'~').contains(&byte) && byte != b'='), "{text:?}");
            prop_assert_eq!(decode(text.as_bytes()), Some(octets));
        }

        #[test]
        fn nothing_that_is_decoded_gets_longer(text: Vec<u8>) {
            prop_assert!(decode(&text).is_none_or(|octets| octets.len() <= text.len()));
        }
    }

    #[test]
    fn a_plus_that_begins_no_octet_is_no_xtext() {
        for text in ["+", "a+", "+2", "+2b", "+G0", "+-1", "+ 20", "++20"] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
        assert_eq!(decode(b"/O=Conbool+20Test/CN=a+2Bb").as_deref(), Some(&b"/O=Conbool Test/CN=a+b"[..]));
    }
}
