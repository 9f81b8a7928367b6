//! `conbool-milter setup` with a real Postfix and a real Sendmail: from nothing to the first relayed message and back again, and what becomes
//! of it all when something fails.

#[path = "../lab/mod.rs"]
mod lab;

mod assistant;
mod failures;
mod host;
mod packaged;
mod revisions;
mod rollback;
mod sendmail;
mod wired;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use host::{Host, Installed, RELAY};
use lab::Error;
use lab::postfix::Postfix;
use lab::sendmail::Sendmail;
use libtest_mimic::Trial;

fn main() -> ExitCode {
    lab::main(|| {
        let mut trials = on_each_mail_server::<Postfix>("smtpd_milters =\n");
        trials.extend(on_each_mail_server::<Sendmail>(""));
        trials.extend([
            lab::trial("without_a_terminal_all_that_is_missing_is_named", assistant::missing),
            lab::trial("another_scope_changes_only_that", revisions::other_scope),
            lab::trial("a_list_from_the_start", revisions::list_from_the_start),
            lab::trial("another_provider_leaves_nothing_of_the_old_one", revisions::other_provider),
            lab::trial("a_strange_main_cf_is_merged", revisions::strange_main_cf),
            lab::trial("no_way_back_while_mail_needs_the_rules", rollback::mail_in_the_queue),
            lab::trial("a_check_that_fails", failures::check),
            lab::trial("a_reload_that_fails", failures::reload),
            lab::trial("a_port_that_is_taken", failures::port_taken),
            lab::trial("sendmail::no_way_back_while_mail_needs_the_rules", sendmail::mail_in_the_queue),
            lab::trial("sendmail::a_cf_that_was_edited_by_hand", sendmail::edited_by_hand),
            lab::trial("sendmail::m4_that_fails", sendmail::m4_fails),
            lab::trial("sendmail::a_socket_in_a_place_for_all", sendmail::unsafe_socket),
            lab::trial("sendmail::a_check_that_fails", sendmail::check_fails),
            lab::trial("sendmail::a_reload_at_which_it_ends", sendmail::ends_at_the_reload),
            lab::trial("sendmail::beside_a_postfix", sendmail::which_mail_server),
            lab::trial("sendmail::set_up_as_configured", sendmail::as_configured),
            lab::trial("the_configuration_of_the_package_leaves_some_to_ask", packaged::missing),
            lab::trial("what_is_wired", wired::places),
            lab::trial("what_cannot_be_told", wired::doubts),
            lab::trial("what_is_not_wired", wired::none),
        ]);
        Ok(trials)
    })
}

/// What is so whichever mail server it is; `previous` are settings that one of them had before.
fn on_each_mail_server<M: Installed>(previous: &'static str) -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), Error>| lab::trial(&format!("{}::{name}", M::COMMAND), test);
    vec![
        trial("from_nothing_to_the_first_message", from_nothing_to_the_first_message::<M>),
        trial("the_assistant_asks_and_applies", assistant::asks_and_applies::<M>),
        trial("the_assistant_says_no_more_than_asked", assistant::declined::<M>),
        trial("from_the_configuration_of_the_package_and_back", packaged::there_and_back::<M>),
        trial("a_second_run_changes_nothing", revisions::second_run::<M>),
        lab::trial(&format!("{}::the_way_back_is_exact", M::COMMAND), || rollback::exact::<M>(previous)),
        trial("no_way_back_over_somebody_elses_change", rollback::changed_since::<M>),
        trial("a_mail_server_that_is_down", failures::mail_server_down::<M>),
        trial("a_directory_that_is_read_only", failures::read_only::<M>),
        trial("a_full_disk", failures::full_disk::<M>),
        trial("a_daemon_that_does_not_answer", failures::silent_daemon::<M>),
        trial("killed_in_the_middle", failures::killed::<M>),
        trial("interrupted_in_the_middle", failures::interrupted::<M>),
    ]
}

/// How long it may take at most, by promise.
const PROMISE: Duration = Duration::from_secs(60);

/// Prints how long it takes: `cargo test --test setup -- --nocapture from_nothing`.
fn from_nothing_to_the_first_message<M: Installed>() -> Result<(), Error> {
    let mut host = Host::<M>::new("first-message", "")?;
    host.start_mail_server()?;
    let begin = Instant::now();
    host.apply(&[])?;
    let applied = begin.elapsed();
    host.expect_at(RELAY)?;
    let relayed = begin.elapsed();
    println!(
        "{}: configuration in force after {applied:.1?}, first message at the relay after {relayed:.1?}",
        M::TITLE
    );
    let received = host.lab.host(RELAY).received();
    if received.len() != 1 || received[0].tls_version.is_none() {
        return Err(format!("{received:?}").into());
    }
    if relayed > PROMISE {
        return Err(format!("{relayed:?} is longer than {PROMISE:?}").into());
    }
    Ok(())
}
