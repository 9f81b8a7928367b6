//! conbool-milter: a milter that puts a cloud e-mail security service behind a company's own mail server.

pub mod address;
pub mod case;
pub mod cli;
pub mod config;
pub mod headers;
pub mod judge;
pub mod kind;
pub mod milter;
pub mod provider;
pub mod rules;
pub mod scope;
pub mod server;
pub mod site;
pub mod telemetry;
pub mod trust;
pub mod verdict;
