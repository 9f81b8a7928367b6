//! What is still going on, on standard error, as long as that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::examinations::Examination;

/// A line that is gone when this is dropped.
pub struct Progress {
    line: ProgressBar,
    waiting: Vec<&'static Examination>,
}

impl Progress {
    /// Shows that all of these go on.
    pub fn start(examinations: impl Iterator<Item = &'static Examination>) -> Self {
        let progress = Self { line: ProgressBar::new_spinner(), waiting: examinations.collect() };
        // Hidden where standard error is no terminal.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} examining {wide_msg}") {
            progress.line.set_style(style);
        }
        progress.line.enable_steady_tick(Duration::from_millis(100));
        progress.show();
        progress
    }

    /// Shows that this one has ended.
    pub fn finished(&mut self, examination: &Examination) {
        self.waiting.retain(|waiting| !(waiting.area == examination.area && waiting.name == examination.name));
        self.show();
    }

    fn show(&self) {
        let mut names: Vec<String> = Vec::new();
        for waiting in &self.waiting {
            let area = waiting.area.name();
            names.push(if area == waiting.name { area.into() } else { format!("{area} ({})", waiting.name) });
        }
        self.line.set_message(names.join(", "));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.line.finish_and_clear();
    }
}
