//! The service manager's watchdog (WatchdogSec= in systemd.service(5)): it ends a daemon that has stopped telling that it
//! is alive.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::worker::{self, Handle};
use crate::telemetry;

/// How soon it is looked again when not all was well.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Tells the service manager that the daemon is alive, as long as this is there.
#[derive(Debug)]
pub struct Watchdog(JoinHandle<()>);

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts it on this runtime, whose thread must go on for anything to be told; `None` where no service manager waits for
/// it.
pub fn start(workers: Arc<[Handle]>) -> Option<Watchdog> {
    let patience = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero())?;
    let mut was_alive = true;
    let tell = move |alive: Result<(), String>| {
        match &alive {
            // Nobody to tell is no failure.
            Ok(()) => drop(sd_notify::notify(&[NotifyState::Watchdog])),
            Err(problem) if was_alive => telemetry::watchdog_not_told(problem),
            Err(_) => {}
        }
        was_alive = alive.is_ok();
    };
    Some(Watchdog(tokio::spawn(async move { watch(&workers, patience / 2, tell).await })))
}

/// Looks for ever whether all worker threads answer, and tells: so often if they do, and else sooner.
async fn watch(workers: &[Handle], every: Duration, mut tell: impl FnMut(Result<(), String>)) {
    loop {
        let alive = worker::all_answer(workers).await;
        let wait = if alive.is_ok() { every } else { every.min(LOOK_AGAIN) };
        tell(alive);
        sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::runtime::Builder;
    use tokio::sync::watch::channel;

    use super::*;
    use crate::judge;
    use crate::milter::UnderWay;
    use crate::routing::Routes;

    #[test]
    fn nothing_good_is_told_while_a_worker_hangs() {
        let text = "provider = \"conbool\"\nmode = \"monitor\"\nsocket = \"unix:/run/m.sock\"\n";
        let config = crate::config::Config::parse(text, std::path::Path::new("x.toml")).unwrap();
        let site = Arc::new(crate::milter::CurrentSite::from_pointee(crate::site::load(&config).unwrap()));
        let (_stop, stopped) = channel(false);
        let start = |number| {
            let (site, under_way, routes) = (site.clone(), Arc::new(UnderWay::default()), Arc::new(Routes::volatile()));
            let idle_timeout = config.milter.idle_timeout;
            worker::start(number, site, under_way, routes, judge::judge, idle_timeout, stopped.clone()).unwrap().handle
        };
        let workers = [start(0), start(1)];
        let (told, heard) = mpsc::channel();
        let watched = workers.clone();
        std::thread::spawn(move || {
            let tell = |alive: Result<(), String>| told.send(alive).unwrap();
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(watch(&watched, Duration::from_millis(5), tell));
        });
        for _ in 0..3 {
            assert_eq!(heard.recv().unwrap(), Ok(()));
        }
        let (go_on, wait) = mpsc::channel::<()>();
        workers[1].block_until(wait);
        let first_complaint = heard.iter().find(Result::is_err).unwrap();
        assert!(first_complaint.unwrap_err().contains("have not answered"));
        assert!(heard.recv().unwrap().is_err());
        go_on.send(()).unwrap();
        assert_eq!(heard.iter().find(Result::is_ok), Some(Ok(())));
    }
}
