//! `conbool-milter setup` with a real Postfix: from nothing to the first relayed message and back again, and what becomes
//! of it all when something fails.

#[path = "../lab/mod.rs"]
mod lab;

mod assistant;
mod failures;
mod host;
mod revisions;
mod rollback;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use host::{Host, RELAY};
use lab::Error;

fn main() -> ExitCode {
    lab::main(|| {
        Ok(vec![
            lab::trial("from_nothing_to_the_first_message", from_nothing_to_the_first_message),
            lab::trial("the_assistant_asks_and_applies", assistant::asks_and_applies),
            lab::trial("the_assistant_says_no_more_than_asked", assistant::declined),
            lab::trial("without_a_terminal_all_that_is_missing_is_named", assistant::missing),
            lab::trial("a_second_run_changes_nothing", revisions::second_run),
            lab::trial("another_scope_changes_only_that", revisions::other_scope),
            lab::trial("a_list_from_the_start", revisions::list_from_the_start),
            lab::trial("another_provider_leaves_nothing_of_the_old_one", revisions::other_provider),
            lab::trial("a_strange_main_cf_is_merged", revisions::strange_main_cf),
            lab::trial("the_way_back_is_exact", rollback::exact),
            lab::trial("no_way_back_while_mail_needs_the_rules", rollback::mail_in_the_queue),
            lab::trial("no_way_back_over_somebody_elses_change", rollback::changed_since),
            lab::trial("a_check_that_fails", failures::check),
            lab::trial("a_reload_that_fails", failures::reload),
            lab::trial("postfix_down", failures::postfix_down),
            lab::trial("a_directory_that_is_read_only", failures::read_only),
            lab::trial("a_full_disk", failures::full_disk),
            lab::trial("a_daemon_that_does_not_answer", failures::silent_daemon),
            lab::trial("a_port_that_is_taken", failures::port_taken),
            lab::trial("killed_in_the_middle", failures::killed),
            lab::trial("interrupted_in_the_middle", failures::interrupted),
        ])
    })
}

/// How long it may take at most, by promise.
const PROMISE: Duration = Duration::from_secs(60);

/// Prints how long it takes: `cargo test --test setup -- --nocapture from_nothing`.
fn from_nothing_to_the_first_message() -> Result<(), Error> {
    let mut host = Host::new("first-message", "")?;
    host.start_postfix()?;
    let begin = Instant::now();
    host.apply(&[])?;
    let applied = begin.elapsed();
    host.expect_at(RELAY)?;
    let relayed = begin.elapsed();
    println!("configuration in force after {applied:.1?}, first message at the relay after {relayed:.1?}");
    let received = host.lab.host(RELAY).received();
    if received.len() != 1 || received[0].tls_version.is_none() {
        return Err(format!("{received:?}").into());
    }
    if relayed > PROMISE {
        return Err(format!("{relayed:?} is longer than {PROMISE:?}").into());
    }
    Ok(())
}
