//! `conbool-milter explain`: the offline door. Message files in, the same verdict as in the daemon out.

mod message_file;
mod report;

use std::io::{Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::mx_watch;
use crate::case::{Case, Client, Envelope};
use crate::judge::{self, Site};
use crate::verdict::Reply;

/// What the message's way here is supposed to have been.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Message files; - reads one from standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Envelope sender; '<>' is the null sender [default: the first address of the From field]
    #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true)]
    from: Option<String>,
    /// Envelope recipient; can be repeated
    #[arg(long, value_name = "ADDRESS")]
    rcpt: Vec<String>,
    /// Address of the SMTP client [default: submitted on this host]
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
    /// The SMTP session is encrypted
    #[arg(long)]
    tls: bool,
    /// Name in the client's verified certificate, as in relay.certificates (implies --tls)
    #[arg(long, value_name = "NAME")]
    cert: Option<String>,
    /// User that the client logged in as
    #[arg(long, value_name = "USER")]
    auth: Option<String>,
    /// One JSON object a message
    #[arg(long)]
    json: bool,
}

/// Judges the files and prints why.
///
/// # Errors
/// A configuration or file that cannot be read.
pub fn run(config: &Path, arguments: &Arguments) -> Result<(), String> {
    let (config, site, loaded) = super::load(config)?;
    if let Some(unknown) = loaded.unknown().first() {
        return Err(unknown.to_string());
    }
    let (site, _) = mx_watch::prepare(&config, site, None);
    let mut output = std::io::stdout().lock();
    for file in &arguments.files {
        let text = read(file).map_err(|error| format!("{}: cannot be read: {error}", file.display()))?;
        let mut case = case(&site, arguments, &text);
        let refused = take_out_refused(&site, &mut case);
        let verdict = judge::judge(&site, &case);
        let report = if arguments.json {
            report::json(&verdict, &refused, (arguments.files.len() > 1).then_some(file.as_path()))
        } else if arguments.files.len() > 1 {
            report::line(file, &verdict)
        } else {
            report::full(&case, &verdict, &refused)
        };
        writeln!(output, "{report}").map_err(|error| format!("cannot write: {error}"))?;
    }
    Ok(())
}

/// A recipient that is refused at RCPT, with the reply.
type Refused = (String, Reply);

/// Takes out the recipients that are refused one by one, as the milter does. If that is all of them, there would be no
/// message; it is judged with them.
fn take_out_refused(site: &Site, case: &mut Case) -> Vec<Refused> {
    let reply = |recipient: &String| {
        let locked = judge::locked(site, &case.client, recipient).filter(|locked| locked.refused)?;
        Some((recipient.clone(), locked.reply(case.client.address)))
    };
    let refused: Vec<Refused> = case.envelope.recipients.iter().filter_map(reply).collect();
    if refused.len() < case.envelope.recipients.len() {
        case.envelope.recipients.retain(|recipient| refused.iter().all(|(other, _)| other != recipient));
    }
    refused
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut text = Vec::new();
        std::io::stdin().read_to_end(&mut text)?;
        return Ok(text);
    }
    std::fs::read(file)
}

/// The CN in the name of a certificate, which is the CN itself, or a whole distinguished name, as in relay.certificates.
fn common_name(name: &str) -> String {
    let of_whole = name.starts_with('/').then(|| name.split('/').find_map(|part| part.strip_prefix("CN="))).flatten();
    of_whole.unwrap_or(name).to_owned()
}

fn case(site: &Site, arguments: &Arguments, text: &[u8]) -> Case {
    let (header, body, exceeded) = message_file::parse(&site.limits.header, text);
    let tls = arguments.tls || arguments.cert.is_some();
    let sender = match &arguments.from {
        Some(sender) => sender.clone(),
        None => {
            crate::scope::from_addresses(&header).addresses.first().map(|address| address.full()).unwrap_or_default()
        }
    };
    let mut case = Case {
        client: Client {
            address: Some(arguments.client.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))),
            tls_version: tls.then(|| "TLSv1.3".to_string()),
            certificate: arguments.cert.as_deref().map(common_name),
            certificate_subject: arguments.cert.clone().filter(|name| name.starts_with('/')),
            authenticated: arguments.auth.clone(),
            listener: None,
        },
        envelope: Envelope { sender, recipients: arguments.rcpt.clone() },
        header,
        exceeded,
        ..Case::default()
    };
    case.body.complete = judge::take_body(site, &mut case, body.into());
    case
}
