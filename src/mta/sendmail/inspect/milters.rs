//! The milter among the others, and who does not ask it.

use super::Inspection;
use crate::finding::Status;
use crate::mta::sendmail::cf::{Agent, Cf};
use crate::mta::sendmail::{MILTER, TIMES};

/// How the sockets and names of milters that sign messages are called, or where they are by custom.
const SIGNERS: [&str; 7] = ["opendkim", "dkimpy", "dkim-milter", "rspamd", "8891@", "12301@", "11332@"];

/// The fields of the equate `T` of a milter: what each is the time of, and how Sendmail has it by default, in seconds.
const TIMES_OF: [(char, &str, u64); 4] = [
    ('C', "to connect to it", 300),
    ('S', "to send to it", 10),
    ('R', "for its answer", 10),
    ('E', "for its verdict", 300),
];

/// A time in seconds, as sendmail.cf has it: `30s`, `5m`; minutes without a unit.
fn seconds(text: &str) -> Option<u64> {
    let split = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..split].parse().ok()?;
    let factor = match &text[split..] {
        "s" => 1,
        "" | "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// One of the times in an equate `T`, in seconds.
fn time(equate: &str, which: char, default: u64) -> u64 {
    let value =
        equate.split(';').filter_map(|part| part.trim().split_once(':')).find(|(name, _)| name.starts_with(which));
    value.and_then(|(_, value)| seconds(value.trim())).unwrap_or(default)
}

/// The names in a list.
fn names(list: &str) -> Vec<&str> {
    list.split([',', ';']).map(str::trim).filter(|name| !name.is_empty()).collect()
}

/// A field of DaemonPortOptions. Sendmail goes by the first letter of a field's name.
pub(super) fn field(options: &str, letter: char) -> Option<&str> {
    let fields = options.split(',').filter_map(|field| field.trim().split_once('='));
    fields.into_iter().find(|(name, _)| name.starts_with(letter)).map(|(_, value)| value.trim())
}

impl Inspection<'_> {
    /// Looks at our milter among the others.
    pub(super) fn milters(&mut self) {
        const CHECK: &str = "milter";
        let cf = self.cf.clone();
        let Some(ours) = cf.milters().find(|milter| milter.name == MILTER) else {
            let seen = format!("sendmail.cf has no milter {MILTER}: no message is judged");
            let mend = self.mend_cf();
            return self.mend(Status::Fail, (CHECK, MILTER), seen, mend);
        };
        let asked = names(cf.option("InputMailFilters").unwrap_or_default());
        match asked.iter().position(|name| *name == MILTER) {
            Some(_) => self.pass(CHECK, MILTER, format!("InputMailFilters={}", asked.join(","))),
            None => {
                let seen = format!("InputMailFilters={}, without {MILTER}: no message is judged", asked.join(","));
                let mend = self.mend_cf();
                self.mend(Status::Fail, (CHECK, MILTER), seen, mend);
            }
        }
        self.socket(&ours);
        self.failure(&ours);
        self.times(&ours);
        self.order(&cf, &asked);
        self.listeners_without(&cf);
    }

    /// Whether the milter is where the daemon listens.
    fn socket(&mut self, ours: &Agent) {
        const CHECK: &str = "milter-socket";
        let Ok(needed) = crate::mta::sendmail::milter_socket(&self.examined.config.milter.sockets) else { return };
        match ours.equate("S") {
            Some(socket) if normal(socket) == normal(&needed) => self.pass(CHECK, socket, "the daemon's"),
            socket => {
                let socket = socket.unwrap_or("none");
                let seen = format!("S={socket}, but the daemon listens at {needed}: mail gets a temporary error");
                let mend = self.mend_cf();
                self.mend(Status::Fail, (CHECK, socket), seen, mend);
            }
        }
    }

    /// What Sendmail does while the milter does not answer.
    fn failure(&mut self, ours: &Agent) {
        const CHECK: &str = "milter-failure";
        let (status, seen) = match (ours.has_flag('T'), ours.has_flag('R')) {
            (true, false) => return self.pass(CHECK, MILTER, "F=T: clients try again later"),
            (_, true) => (Status::Warn, "F=R: while the milter is down, mail is refused for good"),
            (false, false) => {
                (Status::Fail, "no F=T: while the milter is down, mail passes unjudged, with forged fields")
            }
        };
        let mend = self.mend_cf();
        self.mend(status, (CHECK, MILTER), seen, mend);
    }

    /// Whether the milter gets the time that it needs.
    fn times(&mut self, ours: &Agent) {
        const CHECK: &str = "milter-times";
        let equate = ours.equate("T").unwrap_or_default();
        let short =
            TIMES_OF.iter().find(|(which, _, default)| time(equate, *which, *default) < time(TIMES, *which, *default));
        match short {
            None => self.pass(CHECK, MILTER, format!("T={equate}")),
            Some((which, what, default)) => {
                let seen = format!(
                    "T={equate}: {} seconds {what} ({which}), where {} are needed; then the message gets a temporary error",
                    time(equate, *which, *default),
                    time(TIMES, *which, *default)
                );
                let mend = self.mend_cf();
                self.mend(Status::Warn, (CHECK, MILTER), seen, mend);
            }
        }
    }

    /// What is signed must not be changed afterwards.
    fn order(&mut self, cf: &Cf, asked: &[&str]) {
        const CHECK: &str = "milter-order";
        let Some(ours) = asked.iter().position(|name| *name == MILTER) else { return };
        let signs = |name: &&&str| {
            let milter = cf.milters().find(|milter| milter.name == ***name);
            let socket = milter.and_then(|milter| milter.equate("S").map(str::to_owned)).unwrap_or_default();
            SIGNERS.iter().any(|signer| socket.contains(signer) || name.to_ascii_lowercase().contains(signer))
        };
        if asked.len() == 1 {
            return;
        }
        match asked[..ours].iter().find(signs) {
            Some(signer) => {
                let seen = format!("{signer} comes before the milter: it signs messages that are changed afterwards");
                let mend = format!("put the lines of {signer} in sendmail.mc behind ours, then {}", self.rebuild());
                self.mend(Status::Warn, (CHECK, signer), seen, mend);
            }
            None => self.pass(CHECK, MILTER, format!("{} of {}", ours + 1, asked.len())),
        }
    }

    /// Listeners that ask other milters (the field InputMailFilters of DaemonPortOptions).
    fn listeners_without(&mut self, cf: &Cf) {
        const CHECK: &str = "milter-override";
        let mut well = true;
        for options in cf.options("DaemonPortOptions") {
            let own = field(options, 'I');
            if own.is_none_or(|own| names(own).contains(&MILTER)) {
                continue;
            }
            well = false;
            let name = field(options, 'N').unwrap_or("Daemon0").to_owned();
            let seen = format!("DaemonPortOptions={options}: what comes there is not judged");
            let mend = format!(
                "add {MILTER} to InputMailFilters in that DAEMON_OPTIONS of sendmail.mc, or take it out, then {}",
                self.rebuild()
            );
            self.mend(Status::Fail, (CHECK, &name), seen, mend);
        }
        if well {
            self.pass(CHECK, "", "no listener leaves the milter out");
        }
    }
}

/// A socket in one of the spellings that mean the same.
fn normal(socket: &str) -> String {
    match socket.split_once(':') {
        Some(("local" | "unix", path)) => format!("unix:{path}"),
        None => format!("unix:{socket}"),
        Some(_) => socket.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_milter() {
        assert_eq!(time("C:10s;S:30s; R:2m;E:5", 'R', 10), 120);
        assert_eq!(time("C:10s;E:5", 'E', 300), 300);
        assert_eq!(time("C:10s", 'S', 10), 10);
    }

    #[test]
    fn fields_of_a_listener() {
        let options = "Port=587,Addr=::1, Family=inet6, Name=MSA,M=Ea, InputMailFilters=one;two";
        assert_eq!(field(options, 'N'), Some("MSA"));
        assert_eq!(field(options, 'I').map(names), Some(vec!["one", "two"]));
        assert_eq!(field("Name=MTA", 'I'), None);
    }
}
