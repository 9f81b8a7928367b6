//! `conbool-milter setup`: what each mail server needs. One file a kind of mail server.

mod edge;
mod exchange_online;
mod open_xchange;
mod postfix;
mod zimbra;

use std::path::Path;

/// Set up the mail server
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    server: Server,
}

#[derive(Debug, clap::Subcommand)]
enum Server {
    Edge(Box<edge::Arguments>),
    Postfix(postfix::Arguments),
    OpenXchange(open_xchange::Arguments),
    Zimbra(zimbra::Arguments),
    ExchangeOnline(Box<exchange_online::Arguments>),
}

/// Sets up what the arguments name.
///
/// # Errors
/// A sentence for the administrator.
pub fn run(config: &Path, arguments: &Arguments) -> Result<(), String> {
    match &arguments.server {
        Server::Edge(arguments) => edge::run(config, arguments),
        Server::Postfix(arguments) => postfix::run(config, arguments),
        Server::OpenXchange(arguments) => open_xchange::run(config, arguments),
        Server::Zimbra(arguments) => zimbra::run(config, arguments),
        Server::ExchangeOnline(arguments) => exchange_online::run(config, arguments),
    }
}
