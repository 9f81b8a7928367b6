//! Where Sendmail listens, and whether it takes mail there with its milters.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long one answer may take; a pause before the greeting, which some sites have, is no more than 5 minutes, and none
/// for this host.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long Sendmail may take to listen again after a restart.
const LISTENING_TIME: Duration = Duration::from_secs(30);

/// The addresses at which connections for the first plain SMTP listener of a sendmail.cf are taken; `None` if it has none.
///
/// A listener with the modifier `s` (TLS at once) is none, nor is one that is off.
pub fn address(options: &[&str]) -> Option<SocketAddr> {
    if options.is_empty() {
        return Some((Ipv4Addr::LOCALHOST, 25).into());
    }
    options.iter().find_map(|option| listener(option))
}

/// The address to connect to for one value of `DaemonPortOptions` (Operation Guide, section 5.6).
fn listener(option: &str) -> Option<SocketAddr> {
    let field = |name: char| {
        let mut fields = option.split(',').filter_map(|field| field.trim().split_once('='));
        // Only the first letter of a field's name counts.
        fields.find(|(key, _)| key.trim().starts_with(name)).map(|(_, value)| value.trim())
    };
    if field('M').is_some_and(|modifiers| modifiers.contains(['s', 'O', 'a'])) {
        return None;
    }
    let v6 = field('F') == Some("inet6");
    let anywhere = if v6 { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { Ipv4Addr::LOCALHOST.into() };
    let address = match field('A') {
        None => anywhere,
        Some(written) => match written.trim_start_matches("IPv6:").parse::<IpAddr>() {
            Ok(address) if address.is_unspecified() => anywhere,
            Ok(address) => address,
            Err(_) => return None,
        },
    };
    let port = match field('P').unwrap_or("smtp") {
        "smtp" => 25,
        "submission" => 587,
        number => number.parse().ok()?,
    };
    Some(SocketAddr::new(address, port))
}

/// Waits until a message would be taken at this address: as far as MAIL, where one whose milter cannot be reached answers
/// with a temporary error.
///
/// # Errors
/// What it says instead.
pub fn wait_for(address: SocketAddr) -> Result<(), String> {
    let end = Instant::now() + LISTENING_TIME;
    loop {
        let problem = match begin(address) {
            Ok(()) => return Ok(()),
            Err(problem) => problem,
        };
        if Instant::now() > end {
            return Err(format!("Sendmail takes no mail on {address}: {problem}; its log says why"));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Goes as far as MAIL.
fn begin(address: SocketAddr) -> Result<(), String> {
    let told = |error: std::io::Error| error.to_string();
    let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(told)?;
    stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE))).map_err(told)?;
    let mut replies = BufReader::new(stream.try_clone().map_err(told)?).lines();
    let mut reply = || loop {
        let line = replies.next().ok_or("it closes the connection")?.map_err(told)?;
        // The last line of a reply (RFC 5321, section 4.2.1).
        if line.as_bytes().get(3) != Some(&b'-') {
            // Whoever must log in first, or is unknown, is told so by a permanent error: it listens, and its milters do.
            return if line.starts_with('4') { Err(line) } else { Ok(()) };
        }
    };
    reply()?;
    for command in ["EHLO localhost\r\n", "MAIL FROM:<>\r\n", "QUIT\r\n"] {
        (&stream).write_all(command.as_bytes()).map_err(told)?;
        reply()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_in_sendmail_notation() {
        let found = |options: &[&str]| address(options).map(|address| address.to_string());
        assert_eq!(found(&[]).as_deref(), Some("127.0.0.1:25"));
        assert_eq!(found(&["Name=MTA"]).as_deref(), Some("127.0.0.1:25"));
        assert_eq!(found(&["Name=MTA, Address=127.0.1.1, Port=smtp, Family=inet"]).as_deref(), Some("127.0.1.1:25"));
        assert_eq!(found(&["Family=inet6, Name=MTA-v6, Port=2525, Addr=::"]).as_deref(), Some("[::1]:2525"));
        assert_eq!(found(&["Port=smtps, M=s", "Port=587, M=E"]).as_deref(), Some("127.0.0.1:587"));
        assert_eq!(found(&["Port=465, M=s"]), None);
    }
}
