//! `conbool-milter setup`: what each mail server needs. One file a kind of mail server.

mod exchange_online;
mod postfix;

use std::path::Path;

/// Set up the mail server
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    server: Server,
}

#[derive(Debug, clap::Subcommand)]
enum Server {
    Postfix(postfix::Arguments),
    ExchangeOnline(exchange_online::Arguments),
}

/// Sets up what the arguments name.
///
/// # Errors
/// A sentence for the administrator.
pub fn run(config: &Path, arguments: &Arguments) -> Result<(), String> {
    match &arguments.server {
        Server::Postfix(arguments) => postfix::run(config, arguments),
        Server::ExchangeOnline(arguments) => exchange_online::run(config, arguments),
    }
}
