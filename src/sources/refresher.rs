//! Looks after the sources while the daemon runs.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{self, JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::group::Answer;
use super::{Directory, Loaded};
use crate::scope::ScopeSets;
use crate::telemetry;

/// Time between two looks at the files. A changed file has to be the same at two of them.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The scopes in force, and what keeps them so. Its work is done on other threads.
#[derive(Debug)]
pub struct Refresher {
    loaded: Loaded,
    directory: Option<Directory>,
    looks: Interval,
    /// The look that is under way: the scopes after it, and whether their members are others.
    look: Option<JoinHandle<(Loaded, bool)>>,
    /// The questions that are under way, and the groups they are about.
    asks: JoinSet<Answer>,
    asked: HashMap<task::Id, String>,
    answers: Vec<(String, Answer)>,
}

impl Refresher {
    /// Looks after what was loaded. To be called within a runtime.
    pub fn new(loaded: Loaded, directory: Option<Directory>) -> Self {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let refresher = Self {
            loaded,
            directory,
            looks,
            look: None,
            asks: JoinSet::new(),
            asked: HashMap::new(),
            answers: Vec::new(),
        };
        refresher.tell();
        refresher
    }

    /// The scopes in force.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// Looks after these scopes from now on: those of a new configuration.
    pub fn adopt(&mut self, loaded: Loaded, directory: Option<Directory>) {
        // What is under way is about the old ones.
        (self.look, self.asks, self.asked, self.answers) = (None, JoinSet::new(), HashMap::new(), Vec::new());
        (self.loaded, self.directory) = (loaded, directory);
        self.tell();
    }

    /// Waits until a scope has other members, and returns all scopes as they are then. Dropping this future loses
    /// nothing.
    pub async fn changed(&mut self) -> ScopeSets {
        if !self.loaded.can_change() {
            std::future::pending::<()>().await;
        }
        loop {
            tokio::select! {
                _ = self.looks.tick(), if self.look.is_none() => self.begin_look(),
                Some(answer) = self.asks.join_next_with_id() => {
                    let (id, answer) = match answer {
                        Ok((id, answer)) => (id, answer),
                        Err(failure) => (failure.id(), Err("the look-up ended in an internal error".into())),
                    };
                    self.answers.extend(self.asked.remove(&id).map(|group| (group, answer)));
                }
                done = finished(&mut self.look) => {
                    self.look = None;
                    // A look that ended in a panic, which was logged, changes nothing.
                    if let Some((loaded, changed)) = done {
                        self.loaded = loaded;
                        self.tell();
                        if changed {
                            return self.loaded.sets();
                        }
                    }
                }
            }
        }
    }

    fn begin_look(&mut self) {
        let (mut loaded, answers) = (self.loaded.clone(), std::mem::take(&mut self.answers));
        if let Some(directory) = &self.directory {
            let under_way = |group: &String| {
                self.asked.values().any(|asked| asked == group) || answers.iter().any(|(answered, _)| answered == group)
            };
            let due: Vec<String> = self.loaded.due().filter(|group| !under_way(group)).cloned().collect();
            for group in due {
                let (directory, name) = (directory.clone(), group.clone());
                let task = self.asks.spawn(async move { directory.members(&name).await });
                self.asked.insert(task.id(), group);
            }
        }
        self.look = Some(spawn_blocking(move || {
            let changed = loaded.look(answers);
            (loaded, changed)
        }));
    }

    fn tell(&self) {
        telemetry::scopes(self.loaded.status());
    }
}

/// What a look found; waits for ever if there is none.
async fn finished(look: &mut Option<JoinHandle<(Loaded, bool)>>) -> Option<(Loaded, bool)> {
    match look {
        Some(look) => look.await.ok(),
        None => std::future::pending().await,
    }
}
