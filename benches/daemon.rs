//! Measures the whole daemon against a libmilter program on the same load. See README.md beside this file.

mod load;

use std::error::Error;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;

use load::messages::{self, Message};
use load::process::{Daemon, compile_baseline};
use load::start;
use load::wire::Endpoint;

/// Measures the whole daemon against a libmilter program on the same load.
#[derive(Parser)]
struct Options {
    /// Rounds; the programs take turns in each, and the figures are medians over the rounds.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Multiplies the number of messages.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Another build of conbool-milter to measure.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_conbool-milter"))]
    program: PathBuf,
    /// Given by cargo bench, and not by cargo test, where there is nothing to do.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn scaled(&self, messages: u64) -> u64 {
        ((messages as f64 * self.scale) as u64).max(1)
    }
}

/// A load, and how much of libmilter's CPU time the daemon may take for it.
struct Load {
    name: &'static str,
    message: Message,
    connections: usize,
    messages: u64,
    target: Option<f64>,
}

/// A program that takes part.
struct Contender {
    name: &'static str,
    daemon: Daemon,
    unix: Endpoint,
    tcp: Option<Endpoint>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    if !options.bench {
        return Ok(());
    }
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("daemon-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let result = measure(&options, &directory);
    let _ = fs::remove_dir_all(&directory);
    result
}

fn measure(options: &Options, directory: &Path) -> Result<(), Box<dyn Error>> {
    let telemetry = format!("[telemetry]\nsocket = \"unix:{}\"\n", directory.join("telemetry.sock").display());
    let contenders = [
        libmilter(directory)?,
        conbool(options, directory, "conbool-milter", "")?,
        conbool(options, directory, "  without log lines", "[log]\nlevel = \"warn\"\n")?,
        conbool(options, directory, "  with one worker", "[milter]\nworkers = 1\n")?,
        conbool(options, directory, "  with telemetry", &telemetry)?,
    ];
    cpu_time(options, &contenders)?;
    tcp_rate(options, &contenders[1])?;
    drop(contenders);
    starts(options, directory)?;
    memory(options, &conbool(options, directory, "conbool-milter", "")?)?;
    idle_connections(&conbool(options, directory, "conbool-milter", "")?)
}

fn libmilter(directory: &Path) -> Result<Contender, Box<dyn Error>> {
    let program = compile_baseline(directory)?;
    let path = directory.join("libmilter.sock");
    let socket = format!("unix:{}", path.display());
    let unix = Endpoint::Unix(path);
    let daemon = Daemon::start(Command::new(program).arg(socket), &[&unix])?;
    Ok(Contender { name: "libmilter", daemon, unix, tcp: None })
}

/// Starts the daemon with the five lines that every site has and `sections`; its log goes to a file, as in real life.
fn conbool(
    options: &Options,
    directory: &Path,
    name: &'static str,
    sections: &str,
) -> Result<Contender, Box<dyn Error>> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let socket = directory.join(format!("{port}.sock"));
    let config = directory.join(format!("{port}.toml"));
    fs::write(
        &config,
        format!(
            "provider = \"conbool\"\ndomains = [\"customer.test\"]\nrelay_networks = [\"192.0.2.0/24\"]\n\
             internal_networks = [\"10.0.0.0/8\"]\nsocket = [\"unix:{}\", \"inet:127.0.0.1:{port}\"]\n{sections}",
            socket.display()
        ),
    )?;
    let unix = Endpoint::Unix(socket);
    let tcp = Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let log = File::create(directory.join(format!("{port}.log")))?;
    let mut command = Command::new(&options.program);
    command.args(["run", "--config"]).arg(config).stdin(std::process::Stdio::null()).stderr(log);
    let daemon = Daemon::start(&mut command, &[&unix, &tcp])?;
    Ok(Contender { name, daemon, unix, tcp: Some(tcp) })
}

fn cpu_time(options: &Options, contenders: &[Contender]) -> Result<(), Box<dyn Error>> {
    let loads = [
        load("2 KB, 10 connections", messages::note(), 10, 3000, Some(0.75)),
        load("2 KB, 1 connection", messages::note(), 1, 1500, None),
        load("60 KB text, 10 connections", messages::report(), 10, 1500, Some(0.9)),
        load("60 KB text and HTML, 10 connections", messages::newsletter(), 10, 1500, Some(0.9)),
        load("10 MB with attachment, 2 connections", messages::attachment(), 2, 200, Some(0.03)),
    ];
    println!("CPU time (user and system) over unix sockets, medians of {} rounds\n", options.rounds);
    println!("{:<38} {:>12} {:>13} {:>12} {:>7}  target", "", "µs a message", "of libmilter", "messages/s", "edits");
    for load in loads {
        println!("{}", load.name);
        let messages = options.scaled(load.messages);
        let mut figures = vec![Vec::new(); contenders.len()];
        for round in 0..=options.rounds {
            for turn in 0..contenders.len() {
                // Nobody always comes right after the same other.
                let turn = if round % 2 == 0 { turn } else { contenders.len() - 1 - turn };
                let who = (turn + round / 2) % contenders.len();
                let contender = &contenders[who];
                let before = contender.daemon.cpu_time()?;
                let outcome = load::run(&contender.unix, &load.message, load.connections, messages)
                    .map_err(|error| format!("{}: {error}", contender.name.trim_start()))?;
                let cpu = contender.daemon.cpu_time()? - before;
                // The first round warms up.
                if round > 0 {
                    figures[who].push(Figure {
                        cpu: cpu.as_secs_f64() * 1e6 / messages as f64,
                        rate: outcome.rate(),
                        edits: outcome.edits as f64 / messages as f64,
                    });
                }
            }
        }
        for (index, (contender, own)) in contenders.iter().zip(&figures).enumerate() {
            let ratio = median(own.iter().zip(&figures[0]).map(|(own, baseline)| own.cpu / baseline.cpu));
            print!(
                "  {:<36} {:>12.1} {ratio:>13.3} {:>12.0} {:>7.1}",
                contender.name,
                median(own.iter().map(|figure| figure.cpu)),
                median(own.iter().map(|figure| figure.rate)),
                median(own.iter().map(|figure| figure.edits)),
            );
            match load.target.filter(|_| index == 1) {
                Some(target) => println!("  at most {target}: {}", met(ratio <= target)),
                None => println!(),
            }
        }
    }
    Ok(())
}

fn load(name: &'static str, message: Message, connections: usize, messages: u64, target: Option<f64>) -> Load {
    Load { name, message, connections, messages, target }
}

#[derive(Clone)]
struct Figure {
    cpu: f64,
    rate: f64,
    edits: f64,
}

fn tcp_rate(options: &Options, contender: &Contender) -> Result<(), Box<dyn Error>> {
    const TARGET: f64 = 0.8;
    let message = messages::note();
    let messages = options.scaled(1500);
    let tcp = contender.tcp.as_ref().ok_or("no TCP socket")?;
    let mut rates = Vec::new();
    for _ in 0..options.rounds {
        let unix = load::run(&contender.unix, &message, 1, messages)?.rate();
        rates.push((unix, load::run(tcp, &message, 1, messages)?.rate()));
    }
    let ratio = median(rates.iter().map(|(unix, tcp)| tcp / unix));
    println!("\nOne session of 2 KB messages, messages a second\n");
    println!(
        "  unix {:.0}, TCP {:.0}",
        median(rates.iter().map(|rate| rate.0)),
        median(rates.iter().map(|rate| rate.1))
    );
    println!("  TCP of unix {ratio:.2}, at least {TARGET}: {}", met(ratio >= TARGET));
    Ok(())
}

/// From the start to being ready, and what an idle daemon takes then: with the configuration of packages, and with the five
/// lines and a telemetry socket.
fn starts(options: &Options, directory: &Path) -> Result<(), Box<dyn Error>> {
    const TARGETS: (f64, u64) = (100.0, 15 << 10);
    let packaged = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/conbool-milter.toml"))?
        .replace("/run/conbool-milter", &directory.to_string_lossy());
    let site = packaged.replace(
        "mode = \"monitor\"\n",
        "domains = [\"customer.test\"]\nrelay_networks = [\"192.0.2.0/24\"]\ninternal_networks = [\"10.0.0.0/8\"]\n",
    );
    println!("\nFrom the start to being ready (ms), and idle then (KiB)\n");
    for (name, text) in [("configuration of packages", packaged), ("a site's", site)] {
        let config = directory.join("start.toml");
        fs::write(&config, text)?;
        let mut starts = Vec::new();
        for _ in 0..options.rounds {
            starts.push(start::measure(&options.program, &config, directory)?);
        }
        let ready = median(starts.iter().map(|start| start.ready.as_secs_f64() * 1e3));
        let resident = starts.iter().map(|start| start.memory.resident).max().unwrap_or_default();
        let is_met = ready <= TARGETS.0 && resident <= TARGETS.1;
        println!("  {name:<36} {ready:>9.1} {resident:>9}  at most {} and {}: {}", TARGETS.0, TARGETS.1, met(is_met));
    }
    Ok(())
}

fn memory(options: &Options, contender: &Contender) -> Result<(), Box<dyn Error>> {
    println!("\nResident memory of conbool-milter in KiB, one process all the way\n");
    println!("  {:<36} {:>9} {:>9}", "after", "now", "at most");
    let print = |name: &str| -> Result<(), Box<dyn Error>> {
        let memory = contender.daemon.memory()?;
        println!("  {name:<36} {:>9} {:>9}", memory.resident, memory.peak);
        Ok(())
    };
    print("the start")?;
    let steps = [
        (messages::note(), "2 KB", 500),
        (messages::note(), "2 KB", 20_000),
        (messages::newsletter(), "60 KB", 5_000),
        (messages::attachment(), "10 MB", 20),
        (messages::attachment(), "10 MB", 1_000),
        (messages::note(), "2 KB", 20_000),
    ];
    for (message, size, count) in steps {
        let count = options.scaled(count);
        load::run(&contender.unix, &message, 10, count)?;
        print(&format!("{count} messages of {size}"))?;
    }
    Ok(())
}

/// What a connection takes that has had a message and waits for the next.
fn idle_connections(contender: &Contender) -> Result<(), Box<dyn Error>> {
    const CONNECTIONS: usize = 1000;
    const TARGET: f64 = 20.0;
    // What is taken once, whatever the number of connections.
    load::run(&contender.unix, &messages::note(), 10, 500)?;
    let before = contender.daemon.memory()?.resident;
    let idle = load::idle(&contender.unix, &messages::note(), CONNECTIONS)?;
    let after = contender.daemon.memory()?.resident;
    drop(idle);
    let each = after.saturating_sub(before) as f64 / CONNECTIONS as f64;
    println!("\nAn idle connection takes {each:.1} KiB, at most {TARGET}: {}", met(each <= TARGET));
    Ok(())
}

fn met(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}
