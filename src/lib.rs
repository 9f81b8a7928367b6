//! conbool-milter: a milter that puts a cloud e-mail security service behind a company's own mail server.

pub mod case;
pub mod cli;
pub mod config;
pub mod kind;
pub mod mta;
pub mod verdict;
