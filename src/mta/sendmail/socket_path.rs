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
    let allowed = cf.option("DontBlameSendmail").unwrap_or_default().to_ascii_lowercase();
    for directory in path.ancestors().skip(1) {
        // What is not there yet is made as it has to be.
        let Ok(mode) = fs::metadata(directory).map(|metadata| metadata.mode()) else { continue };
        for (bits, who, allowance) in
            [(0o002, "everybody", "worldwritabledirpathsafe"), (0o020, "its group", "groupwritabledirpathsafe")]
        {
            if mode & bits != 0 && !allowed.contains(allowance) {
                return Err(format!(
                    "{} can be written to by {who}, so Sendmail would take {} for unsafe and not start: chmod go-w {0}",
                    directory.display(),
                    path.display()
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn directories_that_others_can_write_to() {
        let directory = std::env::temp_dir().join(format!("conbool-milter-socket-path-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("sockets/milter.sock");
        let said = |mode: u32, option: &str| {
            fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
            // The directory for temporary files itself is everybody's.
            let cf = Cf::parse(&format!("O DontBlameSendmail=WorldWritableDirPathSafe {option}\n"));
            check(&path, &cf).err()
        };
        assert_eq!(said(0o750, ""), None);
        assert!(said(0o770, "").unwrap().contains("by its group"));
        assert_eq!(said(0o770, "GroupWritableDirPathSafe"), None);
        assert!(check(&path, &Cf::default()).unwrap_err().contains("by everybody"));
        fs::remove_dir_all(&directory).unwrap();
    }
}
