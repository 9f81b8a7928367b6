//! `make demo`: real-looking messages on their way through a real Postfix, and where each recipient's copy arrived.

mod lab;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use comfy_table::presets::UTF8_FULL;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width};
use lab::case_file::{self, Case};
use lab::case_run::{self, Outcome};
use lab::mail::Sender;
use lab::namespace;
use lab::postfix::Postfix;
use lab::report::{Copy, Place, fields};
use lab::site::{MailServer, Site};

/// Table width in characters where the output is no terminal.
const WIDTH: u16 = 140;

const INTRODUCTION: &str = "
  customer.test has its own Postfix, with conbool-milter attached, and a relay: relay.conbool.test.
  What its people send to the outside goes to the relay, encrypted and with a verified certificate; what is exempt
  goes to the recipient's own mail host; what is local stays. Everything below is happening now, on real Postfix,
  in a private network of this machine.
";

fn main() -> ExitCode {
    let result = namespace::enter().and_then(|()| demonstrate());
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether everything arrived where it belongs.
fn demonstrate() -> Result<bool, String> {
    println!("{INTRODUCTION}");
    let site = Site::start("all").map_err(|error| error.to_string())?;
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/demo");
    let mut table = Table::new();
    table.load_style(UTF8_FULL.with_rounded_corners());
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["", "Message", "Verdict", "Reason", "Each recipient's copy"].map(heading));
    if !table.is_tty() {
        table.set_width(WIDTH);
    }
    if table.width().is_some_and(|width| width >= WIDTH) {
        // Room enough for an address, an arrow and a host.
        let narrow = ColumnConstraint::LowerBoundary(Width::Fixed(1));
        let copies = ColumnConstraint::LowerBoundary(Width::Fixed(47));
        table.set_constraints([narrow, narrow, narrow, ColumnConstraint::UpperBoundary(Width::Fixed(22)), copies]);
    }
    let (mut messages, mut copies, mut wrong) = (0, 0, Vec::new());
    let start = Instant::now();
    for file in case_file::list(&directory).map_err(|error| error.to_string())? {
        let case = case_file::read(&file, Postfix::NAME)?;
        let token = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let outcome = case_run::run(&site, &token, &case)?;
        messages += 1;
        copies += outcome.report.as_ref().map_or(0, |report| report.copies.len());
        table.add_row(row(messages, &case, &outcome));
        if let Err(error) = outcome.check(&case) {
            wrong.push(error);
        }
    }
    let elapsed = start.elapsed().as_secs_f64();
    println!("{table}");
    if wrong.is_empty() {
        println!("\n  {messages} messages, {copies} copies, each where it belongs, in {elapsed:.1} seconds.\n");
    } else {
        println!("\n  Not as it should be:\n\n{}\n", wrong.join("\n"));
    }
    Ok(wrong.is_empty())
}

fn heading(text: &str) -> Cell {
    Cell::new(text).add_attribute(Attribute::Bold)
}

fn row(number: usize, case: &Case, outcome: &Outcome) -> [Cell; 5] {
    let sent = fields(&case.mail.message);
    let subject = sent.iter().find(|(name, _)| name == "Subject").map(|(_, value)| value.as_str()).unwrap_or_default();
    [
        Cell::new(number).set_alignment(CellAlignment::Right),
        Cell::new(format!("“{subject}”\n{}\n{}", origin(case), case.about)),
        decision(outcome),
        Cell::new(reason(outcome)),
        arrivals(outcome),
    ]
}

fn origin(case: &Case) -> String {
    let sender = case.mail.from.trim_start_matches("FROM:").split(' ').next().unwrap_or_default();
    let client = match case.mail.via {
        Sender::Internal => "from an office desk",
        Sender::Relay | Sender::RelayWithCertificate => "from the relay",
        Sender::RelayWithoutTls => "from the relay's address, without TLS",
        Sender::World | Sender::WorldWithTls => "from somewhere in the world",
        Sender::Authenticated => "from the road, logged in",
        Sender::Submission => "by sendmail(1)",
    };
    format!("{client}, {sender}")
}

fn field<'a>(outcome: &'a Outcome, name: &str) -> &'a str {
    outcome.verdict[name].as_str().unwrap_or_default()
}

fn decision(outcome: &Outcome) -> Cell {
    let (text, colour) = match (field(outcome, "decision"), field(outcome, "spam")) {
        ("", _) => ("refused", Color::Red),
        (_, "flagged") => ("spam", Color::Yellow),
        (_, "trusted") => ("trusted", Color::Green),
        ("relay", _) => ("relay", Color::Cyan),
        (decision, _) => (decision, Color::Green),
    };
    Cell::new(text).fg(colour).add_attribute(Attribute::Bold)
}

fn reason(outcome: &Outcome) -> String {
    let reasons = field(outcome, "reasons").replace(',', "\n");
    if !reasons.is_empty() {
        return reasons;
    }
    let sent = &outcome.sent;
    let replies = [&sent.mail].into_iter().chain(&sent.recipients).chain(&sent.data);
    replies.filter(|reply| !reply.is_positive()).map(|reply| reply.text.clone()).next().unwrap_or_default()
}

fn arrivals(outcome: &Outcome) -> Cell {
    match &outcome.report {
        Some(report) => Cell::new(report.copies.iter().map(arrival).collect::<Vec<_>>().join("\n")),
        None => Cell::new("none").add_attribute(Attribute::Dim),
    }
}

fn arrival(copy: &Copy) -> String {
    let mut text = format!("{} → {}", copy.recipient, copy.place);
    if let Some(arrived) = &copy.arrived {
        match (&copy.place, arrived.tls_version) {
            (Place::Host(_), Some(_)) => text += ", TLS",
            (Place::Host(_), None) => text += ", plain",
            _ => {}
        }
        for (name, value) in arrived.fields().iter().filter(|(name, _)| name == "X-Spam-Flag") {
            text += &format!(", {name}: {value}");
        }
    }
    text
}
