//! Questions on the terminal; without one, what cannot be answered is collected.

use std::fmt;
use std::io::{self, IsTerminal};

use dialoguer::{Confirm, Input, Select};

/// Asks, or notes what it would have to ask.
#[derive(Debug)]
pub struct Asker {
    terminal: bool,
    missing: Vec<String>,
}

/// A question: what is asked, by which flag it can be answered, and what stands before it on the terminal.
#[derive(Debug)]
pub struct Question<'a> {
    /// What is asked, in a word or two.
    pub prompt: &'a str,
    /// The flag that answers it, with a value as an example.
    pub flag: &'a str,
    /// Why it is asked and where the default comes from, in a sentence.
    pub why: &'a str,
}

impl Asker {
    /// Asks on a terminal, unless nothing is to be asked.
    pub fn new(unattended: bool) -> Self {
        Self { terminal: !unattended && io::stdin().is_terminal() && io::stderr().is_terminal(), missing: Vec::new() }
    }

    /// True if there is somebody to ask.
    pub fn is_attended(&self) -> bool {
        self.terminal
    }

    /// The answer to a question: the flag's, or that of the one who sits there, or the default.
    ///
    /// `check` says what is wrong with an answer, as a phrase that follows the quoted value.
    ///
    /// # Errors
    /// If the flag's answer is wrong, or the terminal fails.
    pub fn text(
        &mut self,
        question: &Question<'_>,
        given: Option<String>,
        default: Option<String>,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Result<String, String> {
        let flag = question.flag.split(' ').next().unwrap_or_default();
        let refused = |value: &str, problem: String| format!("{flag}: {value:?} {problem}");
        if let Some(given) = given {
            return check(&given).map(|()| given.clone()).map_err(|problem| refused(&given, problem));
        }
        if !self.terminal {
            return Ok(default.unwrap_or_else(|| {
                self.missing.push(question.flag.to_owned());
                String::new()
            }));
        }
        eprintln!("\n{}", question.why);
        let empty_is_an_answer = default.as_deref() == Some("");
        let input = Input::<String>::new().with_prompt(question.prompt).allow_empty(empty_is_an_answer);
        let input = match default {
            Some(default) if !default.is_empty() => input.default(default),
            _ => input,
        };
        let valid = |value: &String| check(value).map_err(|problem| format!("{value:?} {problem}"));
        input.validate_with(valid).interact_text().map_err(failed)
    }

    /// A list: answers separated by commas or spaces.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn list<T>(
        &mut self,
        question: &Question<'_>,
        given: &[String],
        default: Option<&[String]>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<String>, String> {
        let given = (!given.is_empty()).then(|| given.join(", "));
        let answer = self.text(question, given, default.map(|items| items.join(", ")), |text| {
            items(text).try_for_each(|item| parse(item).map(drop).map_err(|problem| format!("({item}) {problem}")))
        })?;
        Ok(items(&answer).map(str::to_owned).collect())
    }

    /// One of these; on a terminal only if there is more than one.
    ///
    /// # Errors
    /// If the terminal fails.
    pub fn choice<T: fmt::Display>(
        &mut self,
        question: &Question<'_>,
        choices: Vec<T>,
        default: usize,
    ) -> Result<Option<T>, String> {
        let chosen = match choices.len() {
            0 => None,
            1 => Some(0),
            _ if self.terminal => {
                eprintln!("\n{}", question.why);
                let select = Select::new().with_prompt(question.prompt).items(&choices).default(default);
                Some(select.interact().map_err(failed)?)
            }
            _ => {
                self.missing.push(question.flag.to_owned());
                None
            }
        };
        Ok(chosen.and_then(|chosen| choices.into_iter().nth(chosen)))
    }

    /// Yes or no, if there is somebody to ask; else no.
    ///
    /// # Errors
    /// If the terminal fails.
    pub fn yes(&self, prompt: &str) -> Result<bool, String> {
        if !self.terminal {
            return Ok(false);
        }
        Confirm::new().with_prompt(prompt).default(false).interact().map_err(failed)
    }

    /// # Errors
    /// Every flag that is missing.
    pub fn complete(self) -> Result<Self, String> {
        if self.missing.is_empty() {
            return Ok(self);
        }
        Err(format!("There is no terminal to ask on, and these are not known; add:\n  {}", self.missing.join("\n  ")))
    }
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| character == ',' || character.is_whitespace()).filter(|item| !item.is_empty())
}

fn failed(error: dialoguer::Error) -> String {
    format!("The terminal cannot be used: {error}")
}
