//! Makes, starts and removes the instance, by Postfix's own commands.

use std::fs;
use std::io;
use std::path::Path;

use super::{EdgeError, Host, Layout, PASSWORDS, SASL_DIRECTORY, file_names};
use crate::config::{Edge, ONLY_INSTANCE};
use crate::mta::postfix::command;
use crate::mta::postfix::revision::RevisionError;

/// The group of instances that an edge belongs to (postmulti(1)).
pub const GROUP: &str = "conbool";

/// What `postmulti -e init` sets in the main.cf of the primary instance, and what the list of instances is called there.
const MANAGEMENT: [&str; 3] = ["multi_instance_wrapper", "multi_instance_enable", "multi_instance_directories"];

/// Directories of a queue that hold sockets and locks.
const RUNTIME: [&str; 3] = ["pid", "private", "public"];

/// The edge's instance, there or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Name, or [`ONLY_INSTANCE`].
    pub name: String,
    /// Its directories.
    pub layout: Layout,
}

impl Instance {
    /// The instance that the configuration names.
    pub fn new(edge: &Edge, layout: Layout) -> Self {
        Self { name: edge.instance.clone(), layout }
    }

    fn is_only_one(&self) -> bool {
        self.name == ONLY_INSTANCE
    }

    /// The commands that are needed to make the instance, in their order; none if it is there.
    ///
    /// # Errors
    /// [`EdgeError`] if Postfix cannot be asked, or has an instance of this name elsewhere.
    pub fn missing(&self, host: &Host) -> Result<Vec<Vec<String>>, EdgeError> {
        if self.is_only_one() || self.is_registered(host)? {
            return Ok(Vec::new());
        }
        let wrapper = command::run("postconf", &host.primary, &["-hx", "multi_instance_wrapper"])?;
        let enabled = command::run("postconf", &host.primary, &["-hx", "multi_instance_enable"])?;
        let mut commands = Vec::new();
        if wrapper.trim().is_empty() || enabled.trim() != "yes" {
            commands.push(words(&["-e", "init"]));
        }
        let mut create = words(&["-I", &self.name, "-G", GROUP, "-e", "create"]);
        let Layout { config, queue, data } = &self.layout;
        for (name, directory) in [("config_directory", config), ("queue_directory", queue), ("data_directory", data)] {
            create.push(format!("{name}={}", directory.display()));
        }
        commands.push(create);
        Ok(commands)
    }

    /// True if the instance is among those of the host.
    ///
    /// # Errors
    /// As [`Self::missing`].
    pub fn is_registered(&self, host: &Host) -> Result<bool, EdgeError> {
        if !host.has_primary {
            return Ok(false);
        }
        let list = command::run_alone("postmulti", &["-l"])?;
        for line in list.lines() {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let [name, group, _, directory] = columns.as_slice() else { continue };
            let here = Path::new(directory) == self.layout.config;
            if here && *name == self.name && *group == GROUP {
                return Ok(true);
            }
            if here || *name == self.name {
                return Err(EdgeError::Taken(format!("{name} in {directory}")));
            }
        }
        Ok(false)
    }

    /// Runs the commands of [`Self::missing`].
    ///
    /// # Errors
    /// [`EdgeError`] of the first that fails.
    pub fn make(&self, commands: &[Vec<String>]) -> Result<(), EdgeError> {
        for command in commands {
            command::run_alone("postmulti", command)?;
        }
        Ok(())
    }

    /// `start` or `stop`, for this instance alone.
    ///
    /// # Errors
    /// What Postfix says.
    pub fn control(&self, action: &str) -> Result<(), EdgeError> {
        match self.is_only_one() {
            true => command::run("postfix", &self.layout.config, &[action])?,
            false => command::run_alone("postmulti", &["-i", &self.name, "-p", action])?,
        };
        Ok(())
    }

    /// How many messages are in its queue.
    ///
    /// # Errors
    /// What Postfix says.
    pub fn queued(&self) -> Result<usize, EdgeError> {
        Ok(command::run("postqueue", &self.layout.config, &["-j"])?.lines().count())
    }

    /// Removes the instance with its files and its data; its queue must be empty. What was set for it in the primary
    /// instance goes too, unless there are other instances.
    ///
    /// # Errors
    /// [`EdgeError`] of the first thing that fails.
    pub fn destroy(&self, host: &Host) -> Result<(), EdgeError> {
        command::run_alone("postmulti", &["-e", "disable", "-i", &self.name])?;
        for name in file_names().chain([PASSWORDS]) {
            remove(&self.layout.config.join(name))?;
        }
        // Postfix's own command leaves directories that are not empty. Its data can be made again; of the queue, only what
        // is no mail goes.
        remove_empty(&self.layout.config.join(SASL_DIRECTORY));
        for directory in [self.layout.data.clone()].into_iter().chain(RUNTIME.map(|name| self.layout.queue.join(name)))
        {
            let failed = |error| RevisionError::File(directory.clone(), error);
            for entry in fs::read_dir(&directory).map_err(failed)? {
                remove(&entry.map_err(failed)?.path())?;
            }
        }
        for queue in fs::read_dir(&self.layout.queue).into_iter().flatten().flatten() {
            for hashed in fs::read_dir(queue.path()).into_iter().flatten().flatten() {
                remove_empty(&hashed.path());
            }
        }
        command::run_alone("postmulti", &["-e", "destroy", "-i", &self.name])?;
        let left = command::run("postconf", &host.primary, &["-hx", "multi_instance_directories"])?;
        if left.trim().is_empty() {
            command::run("postconf", &host.primary, &[&["-X"], &MANAGEMENT[..]].concat())?;
        }
        Ok(())
    }
}

/// Removes a directory with the empty directories in it, unless there is a file in one of them.
fn remove_empty(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        remove_empty(&entry.path());
    }
    // What is not empty is for the administrator to see.
    let _ = fs::remove_dir(directory);
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn remove(path: &Path) -> Result<(), EdgeError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(RevisionError::File(path.to_owned(), error).into())
        }
        _ => Ok(()),
    }
}
