//! A question to a policy server, as Postfix asks it (SMTPD_POLICY_README).

use std::io::{self, Read, Write};

/// Longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 4096;

/// Asks whether a client on this host may write to `recipient`, and gives back the action. `stream` should have time
/// limits.
///
/// # Errors
/// Of the connection, or if what comes is no answer of a policy server.
pub fn ask(stream: &mut (impl Read + Write), recipient: &str) -> io::Result<String> {
    let question = format!(
        "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\nclient_address=127.0.0.1\n\
         client_name=localhost\nhelo_name=localhost\nsender=\nrecipient={recipient}\n\n"
    );
    stream.write_all(question.as_bytes())?;
    let mut answer = Vec::new();
    let mut chunk = [0; 512];
    while !answer.ends_with(b"\n\n") && (answer.len() as u64) < MAX_ANSWER {
        match stream.read(&mut chunk)? {
            0 => break,
            length => answer.extend_from_slice(&chunk[..length]),
        }
    }
    let text = String::from_utf8_lossy(&answer);
    match text.strip_prefix("action=").and_then(|rest| rest.strip_suffix("\n\n")) {
        Some(action) => Ok(action.to_owned()),
        None => Err(io::Error::other(format!("it answers {:?}, which is no action", text.trim_end()))),
    }
}
