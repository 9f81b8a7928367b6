//! The watch over MX hosts, as long as lock-down is in mode `auto`.

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::config::Config;
use crate::dns::{self, Event, Watch};
use crate::judge::Site;
use crate::lock_down::Mode;
use crate::milter::CurrentSite;
use crate::telemetry;

/// File in the state directory.
pub const FILE: &str = "lock-down.json";

/// A running watch; it ends when this is dropped.
#[derive(Debug)]
pub struct MxWatch {
    watch: Arc<Watch>,
    task: JoinHandle<()>,
}

impl Drop for MxWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Gives a site what is known of its MX hosts, and makes the watch that goes on from there. It knows what the watch
/// before it knew, which ends here, or else what is in the file.
pub fn prepare(config: &Config, site: Site, before: Option<MxWatch>) -> (Site, Option<Arc<Watch>>) {
    if site.lock_down.mode != Mode::Auto {
        telemetry::lock_down_watched([]);
        return (site, None);
    }
    let file = config.state_directory.join(FILE);
    let known = match &before {
        Some(before) => before.watch.states(),
        None => dns::read(&file).unwrap_or_else(|error| {
            telemetry::mx_state_not_read(&file, &error);
            Vec::new()
        }),
    };
    let watch = Watch::new(&config.lock_down, site.lock_down.mx_hosts.clone(), &config.domains, file, known);
    drop(before);
    let states = watch.states();
    telemetry::lock_down_watched(
        states.iter().map(|state| (state.domain.as_str(), state.enforced, state.why.as_str())),
    );
    let site = site.with_locked(watch.locked());
    (site, Some(Arc::new(watch)))
}

/// Starts the watch; what it finds takes effect for the next message.
pub fn start(watch: Arc<Watch>, current: Arc<CurrentSite>) -> MxWatch {
    let known = watch.clone();
    let enforce = move || {
        let locked = known.locked();
        current.rcu(|site| site.with_locked(locked.clone()));
    };
    let tell = move |event: &Event<'_>| match event {
        Event::Entered(state) => {
            enforce();
            telemetry::lock_down_entered(&state.domain, &state.why);
        }
        Event::Left(state) => {
            enforce();
            telemetry::lock_down_left(&state.domain, &state.why);
        }
        Event::Waiting(state) => telemetry::lock_down_waits(&state.domain, &state.why),
        Event::LookUpFailed(domain, failure) => telemetry::mx_look_up_failed(domain, failure),
        Event::NotSaved(file, failure) => telemetry::mx_state_not_saved(file, failure),
    };
    MxWatch { task: tokio::spawn(watch.clone().run(tell)), watch }
}
