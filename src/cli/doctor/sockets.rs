//! The daemon's sockets, as those see them who connect to them.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use super::context::Context;
use super::{handshake, mail_server};
use crate::config::{Config, MailServer, Socket};
use crate::finding::{Area, Finding, Status};
use crate::mta::{self, MilterClient};
use crate::probe::account::{Account, Right, permissions};
use crate::probe::{policy, socketmap};
use crate::routing;

const START: &str = "systemctl start conbool-milter";

/// Examines every socket of the milter door and of those that answer questions.
pub fn examine(context: &Context) -> Vec<Finding> {
    let config = &context.config;
    let client = mail_server::milter_client(config);
    let mut findings = Vec::new();
    for socket in &config.milter.sockets {
        let client = client.as_ref().filter(|client| client.of == *socket);
        findings.extend(milter(socket, client));
    }
    // Each is asked by one kind of mail server only.
    match mta::mail_server(config) {
        MailServer::Postfix => {
            findings.extend(config.policy.sockets.iter().map(|socket| policy_socket(socket, config)));
        }
        MailServer::Sendmail => {
            for socket in &config.socketmap.sockets {
                findings.extend(socketmap_socket(socket, config, client.as_ref()));
            }
        }
    }
    findings
}

fn finding(check: &'static str, socket: &Socket, status: Status, seen: impl Into<String>) -> Finding {
    Finding::new(Area::Sockets, check, socket.to_string(), status, seen)
}

/// A milter socket; `client` is the mail server, if that is the socket that it uses.
fn milter(socket: &Socket, client: Option<&MilterClient>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let owner = client.and_then(|client| Account::named(&client.owner));
    if let Socket::Unix(path) = socket {
        findings.extend(unguarded(socket, path, client));
    }
    let is_root = nix::unistd::geteuid().is_root();
    let (outcome, who) = match client {
        Some(client) if is_root => {
            let place = if client.is_chrooted {
                format!(", chrooted in {}", client.directory.display())
            } else {
                String::new()
            };
            (shake_as(client), format!(" as {}{place}", client.owner))
        }
        _ => (handshake::shake(&socket.to_string()).map(drop), String::new()),
    };
    findings.push(match outcome {
        Ok(()) => finding("handshake", socket, Status::Pass, format!("a milter answers{who}")),
        Err(error) => match why(socket, client, owner.as_ref()) {
            Some((seen, mend)) => {
                finding("handshake", socket, Status::Fail, format!("{seen}{who}: {error}")).mended_by(mend)
            }
            None => finding("handshake", socket, Status::Fail, format!("no handshake{who}: {error}")).mended_by(
                "systemctl status conbool-milter; if all connections are in use:\n[milter]\nmax_connections = 4000",
            ),
        },
    });
    if let (Some(client), false, Socket::Unix(path)) = (client, is_root, socket) {
        findings.push(reachable(socket, path, client, owner.as_ref()));
    }
    findings
}

/// Runs ourselves as the mail server's user.
fn shake_as(client: &MilterClient) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(["handshake", "--user", &client.owner, "--directory"]).arg(&client.directory);
    if client.is_chrooted {
        command.arg("--chroot");
    }
    let output = command.arg(&client.socket).stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// Where it can be told from the file: why nobody answers, and what mends it.
fn why(socket: &Socket, client: Option<&MilterClient>, owner: Option<&Account>) -> Option<(String, String)> {
    let Socket::Unix(path) = socket else {
        return Some(("nobody listens there, or something is in between".into(), START.into()));
    };
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Some((
                "there is no such file: the daemon does not run, or with another configuration".into(),
                START.into(),
            ));
        }
        Err(_) => return None,
    };
    if !metadata.file_type().is_socket() {
        return Some(("that file is no socket".into(), format!("rm {} && {START}", path.display())));
    }
    if let Some((seen, mend)) = owner.and_then(|owner| forbidden(path, &metadata, owner)) {
        return Some((seen, mend));
    }
    if UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
        return Some(("nobody listens there: the daemon ended and left the file behind".into(), START.into()));
    }
    match client {
        Some(client) if client.is_chrooted && !path.starts_with(&client.directory) => {
            let below = client.directory.join("conbool/milter.sock");
            let mend = format!("socket = \"unix:{}\"", below.display());
            let place = client.directory.display();
            Some((format!("{} runs chrooted in {place} and does not see it", client.mail_server), mend))
        }
        _ => None,
    }
}

/// What keeps this user from the socket.
fn forbidden(path: &Path, metadata: &fs::Metadata, user: &Account) -> Option<(String, String)> {
    if let Some(folder) = user.barrier(path) {
        let metadata = fs::metadata(&folder).ok()?;
        let seen = format!("{} ({}) may not be entered by {}", folder.display(), permissions(&metadata), user.name);
        let mend = format!("chgrp {0} {1} && chmod g+xs {1}", user.name, folder.display());
        return Some((seen, mend));
    }
    if user.may(Right::Write, metadata) {
        return None;
    }
    let seen = format!("{} may not connect to it ({})", user.name, permissions(metadata));
    let folder = path.parent().unwrap_or(path).display();
    let mend = format!(
        "chgrp {0} {folder} && chmod 2750 {folder}, then systemctl restart conbool-milter; or\n[milter]\nsocket_group = \"{0}\"",
        user.name
    );
    Some((seen, mend))
}

/// What permissions tell, where the mail server's user cannot be tried out.
fn reachable(socket: &Socket, path: &Path, client: &MilterClient, owner: Option<&Account>) -> Finding {
    const CHECK: &str = "socket-permissions";
    let Some(owner) = owner else {
        return finding(CHECK, socket, Status::Unknown, format!("there is no user {} on this host", client.owner));
    };
    match fs::symlink_metadata(path) {
        Err(error) => finding(CHECK, socket, Status::Unknown, format!("{error}; run doctor as root")),
        Ok(metadata) => match forbidden(path, &metadata, owner) {
            Some((seen, mend)) => finding(CHECK, socket, Status::Fail, seen).mended_by(mend),
            None => finding(CHECK, socket, Status::Pass, format!("{} for {}", permissions(&metadata), owner.name)),
        },
    }
}

/// Whoever can write to the directory can put another socket in the place of ours, and so can judge mail. A mail server
/// may want more of the whole path.
fn unguarded(socket: &Socket, path: &Path, client: Option<&MilterClient>) -> Option<Finding> {
    const CHECK: &str = "socket-directory";
    let writable = |folder: &Path, bits: u32| fs::metadata(folder).ok().filter(|found| found.mode() & bits != 0);
    let shown = |folder: &Path, found: &fs::Metadata| format!("{} ({})", folder.display(), permissions(found));
    let parent = path.parent()?;
    if let Some(found) = writable(parent, 0o002) {
        let seen = format!("{}: everybody can put another socket there", shown(parent, &found));
        let mend = format!("chmod o-w {}", parent.display());
        return Some(finding(CHECK, socket, Status::Fail, seen).mended_by(mend));
    }
    let client = client.filter(|client| client.wants_safe_path)?;
    let (folder, found) = path.ancestors().skip(1).find_map(|folder| Some((folder, writable(folder, 0o022)?)))?;
    let seen = format!(
        "{} can be written to by others than its owner: {} takes no socket below",
        shown(folder, &found),
        client.mail_server
    );
    Some(finding(CHECK, socket, Status::Fail, seen).mended_by(format!("chmod go-w {}", folder.display())))
}

/// A socket of the policy door.
fn policy_socket(socket: &Socket, config: &Config) -> Finding {
    const CHECK: &str = "policy";
    let recipient = format!("postmaster@{}", hosted_domain(config));
    answers(CHECK, socket, |mut stream| policy::ask(&mut stream, &recipient))
}

/// A socket of the socketmap, which `client` asks.
fn socketmap_socket(socket: &Socket, config: &Config, client: Option<&MilterClient>) -> Vec<Finding> {
    const CHECK: &str = "socketmap";
    let mut findings = Vec::new();
    if let Socket::Unix(path) = socket {
        findings.extend(unguarded(socket, path, client));
        // Root may connect to everything, and so may we as root.
        let owner = client.and_then(|client| Account::named(&client.owner));
        let metadata = fs::symlink_metadata(path).ok();
        if let Some((seen, mend)) = owner.zip(metadata).and_then(|(owner, metadata)| forbidden(path, &metadata, &owner))
        {
            findings.push(finding(CHECK, socket, Status::Fail, seen).mended_by(mend));
            return findings;
        }
    }
    let key = format!("doctor | | {}", hosted_domain(config));
    findings.push(answers(CHECK, socket, |mut stream| match socketmap::ask(&mut stream, routing::MAP, &key)? {
        answer if answer.starts_with("OK ") => Ok(answer),
        answer => Err(std::io::Error::other(format!("it answers {answer:?}, as another service"))),
    }));
    findings
}

fn hosted_domain(config: &Config) -> &str {
    config.domains.first().map_or("localhost", String::as_str)
}

/// Whether a door answers a question.
fn answers(
    check: &'static str,
    socket: &Socket,
    ask: impl FnOnce(Box<dyn handshake::Stream>) -> std::io::Result<String>,
) -> Finding {
    let error = match handshake::connect(&socket.to_string()).and_then(ask) {
        Ok(answer) => return finding(check, socket, Status::Pass, format!("answers {}", answer.trim_end())),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::PermissionDenied if !nix::unistd::geteuid().is_root() => {
            finding(check, socket, Status::Unknown, format!("{error}; run doctor as root"))
        }
        // That was an answer.
        ErrorKind::Other => {
            let mend = format!("{}  # tells who listens there: give one of them another socket", listeners(socket));
            finding(check, socket, Status::Fail, error.to_string()).mended_by(mend)
        }
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            finding(check, socket, Status::Fail, "says nothing").mended_by("systemctl restart conbool-milter")
        }
        _ => match why(socket, None, None) {
            Some((seen, mend)) => finding(check, socket, Status::Fail, format!("{seen}: {error}")).mended_by(mend),
            None => finding(check, socket, Status::Fail, error.to_string()).mended_by(START),
        },
    }
}

/// The command that shows who listens at a socket.
fn listeners(socket: &Socket) -> String {
    match socket {
        Socket::Unix(path) => format!("ss -lxp | grep {}", path.display()),
        Socket::Inet(_, port) => format!("ss -ltnp sport = {port}"),
    }
}
