//! What is generated for Sendmail, and what m4, makemap and `sendmail -bt` of a real one make of it.

#[path = "../lab/mod.rs"]
mod lab;

mod access_map;
mod host;
mod injection;
mod sites;

use std::process::ExitCode;
use std::thread;

use libtest_mimic::Trial;

fn main() -> ExitCode {
    lab::main(|| {
        Ok(vec![
            trial("debian_as_it_comes", sites::debian),
            trial("red_hat_as_it_comes", sites::red_hat),
            trial("macros_from_elsewhere", sites::macros_from_elsewhere),
            trial("rules_of_the_sites_own", sites::own_rules),
            trial("tables_and_a_smart_host", sites::tables),
            trial("other_milters_come_after_ours", sites::other_milters),
            trial("certificates_of_the_sites_own", sites::certificates),
            trial("a_relay_by_address", || sites::relay_by_address("192.0.2.25", "[192.0.2.25]")),
            trial("a_relay_by_ipv6_address", || sites::relay_by_address("2001:db8::25", "[ipv6:2001:db8::25]")),
            trial("exempt_mail_to_another_host", sites::next_hop),
            trial("a_provider_without_a_relay", sites::without_relay),
            trial("a_sendmail_cf_that_was_edited", sites::edited_cf),
            trial("a_sendmail_mc_that_m4_does_not_take", sites::broken_mc),
            trial("names_that_are_taken", sites::taken_names),
            trial("rules_that_come_before_ours", sites::rules_before_ours),
            trial("no_sendmail", sites::no_sendmail),
            trial("the_command_prints_and_writes", sites::command),
            trial("relay_networks_in_the_access_map", access_map::networks),
            trial("an_access_map_of_another_type", access_map::other_type),
            trial("an_access_map_that_is_no_file", access_map::no_file),
            trial("an_access_map_that_says_otherwise", access_map::contradiction),
            trial("an_access_map_that_is_not_up_to_date", access_map::stale),
            trial("no_access_map_before", access_map::none_before),
            trial("values_come_out_as_they_go_in", injection::values),
            trial("what_cannot_be_written_is_refused", injection::refused),
        ])
    })
}

/// A test with a thread, and so a file system, of its own.
fn trial(name: &str, test: fn() -> Result<(), lab::Error>) -> Trial {
    lab::trial(name, move || thread::spawn(test).join().unwrap_or_else(|_| Err("it panics".into())))
}
