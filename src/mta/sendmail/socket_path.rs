//! Where the daemon's sockets are, and whether Sendmail uses them: only those that nobody but their owner could have put
//! there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Cf;
use crate::config::Socket;

/// Where the daemon's sockets are by default; its service makes this directory at each start of the host.
pub const SOCKETS: &str = "/run/conbool-milter";

/// A socket for the socketmap, in the directory of the first unix socket of these.
pub fn beside<'a>(sockets: impl IntoIterator<Item = &'a Socket>) -> Socket {
    let directory = sockets.into_iter().find_map(|socket| match socket {
        Socket::Unix(path) => path.parent(),
        Socket::Inet(..) => None,
    });
    Socket::Unix(directory.unwrap_or(Path::new(SOCKETS)).join("socketmap.sock"))
}

/// What Sendmail would say against a unix socket at this path, whether it is there yet or not: at the start it ends if a
/// directory on the way to it can be written to by a group or by everybody (Operation Guide, "DontBlameSendmail"). The
/// address test mode does not look at this.
///
/// # Errors
/// A sentence.
pub fn check(path: &Path, cf: &Cf) -> Result<(), String> {
    for directory in path.ancestors().skip(1) {
        // What is not there yet is made as it has to be.
        let Ok(metadata) = fs::metadata(directory) else { continue };
        if let Some(others) = others_who_write(metadata.mode(), cf) {
            return Err(format!(
                "{} can be written to by {others}, so Sendmail would take {} for unsafe and not start: chmod go-w {0}",
                directory.display(),
                path.display()
            ));
        }
    }
    Ok(())
}

/// Those besides its owner who can write to a directory of this mode, unless sendmail.cf has nothing against them.
fn others_who_write(mode: u32, cf: &Cf) -> Option<&'static str> {
    let allowed = cf.option("DontBlameSendmail").unwrap_or_default().to_ascii_lowercase();
    let others = [(0o002, "everybody", "worldwritabledirpathsafe"), (0o020, "its group", "groupwritabledirpathsafe")];
    let writes = others.into_iter().find(|(bit, _, allowance)| mode & bit != 0 && !allowed.contains(allowance));
    writes.map(|(_, who, _)| who)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_that_others_can_write_to() {
        let others =
            |mode: u32, option: &str| others_who_write(mode, &Cf::parse(&format!("O DontBlameSendmail={option}\n")));
        assert_eq!(others(0o2750, ""), None);
        assert_eq!(others(0o770, ""), Some("its group"));
        assert_eq!(others(0o770, "Safe, GroupWritableDirPathSafe"), None);
        assert_eq!(others(0o1777, "groupwritabledirpathsafe"), Some("everybody"));
        assert_eq!(others(0o1777, "WorldWritableDirPathSafe GroupWritableDirPathSafe"), None);
    }
}
