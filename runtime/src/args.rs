//! A graph's arguments: typed access with defaults.
//!
//! A builder asks for each argument by name, says what it is for and what it is without being given, and gets a value at
//! once. What was asked for is remembered, so that `weir jobs` can list it, and whatever was given wrongly is refused
//! afterwards, all of it together and by name: a builder never sees a value of the wrong kind and needs no error path.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use serde::Serialize;
use serde_json::Value;
use weir_api::{FieldPath, Invalid};

use crate::suggest::closest;

mod value;

pub use value::ArgValue;

/// What an argument is if it is not given.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ArgDefault {
    /// This value.
    Value(Value),
    /// Nothing; the graph does without.
    Unset,
    /// It must be given.
    Required,
}

/// An argument, as a graph's builder asked for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ArgInfo {
    /// Its name in `spec.args`.
    pub name: String,
    /// What kind of value it takes, in one or two words.
    pub takes: String,
    /// What it is if it is not given.
    pub default: ArgDefault,
    /// What it is for.
    pub description: String,
}

/// The arguments of one graph, handed to its builder.
///
/// ```
/// use std::time::Duration;
/// use weir::{Args, JobError, Jobs, prelude::*};
///
/// fn build(args: &mut Args) -> Result<Graph, JobError> {
///     let limit = args.within("limit", 1..=1_000_000_u64, 1000, "how many numbers to count");
///     let every = args.get("every", Duration::from_secs(1), "size of the window");
///     let rate = args.optional::<u64>("rate", "numbers per second; as fast as possible if left out");
///     # let _ = (every, rate);
///     let graph = Graph::new();
///     graph.source("numbers", Sequence::bounded(limit), WatermarkStrategy::none()).sink("out", Blackhole::new());
///     Ok(graph)
/// }
///
/// let jobs = Jobs::new().job("count", "counts numbers", build);
/// let given = [("limt".to_owned(), 5.into())].into();
/// let refused = jobs.build("count", &given).err().map(|error| error.to_string());
/// assert_eq!(
///     refused.as_deref(),
///     Some("spec.args.limt: found an argument that count does not take; \
///           allowed: every, limit, rate; write limit if that is what you meant")
/// );
/// ```
#[derive(Debug, Default)]
pub struct Args {
    given: BTreeMap<String, Value>,
    asked: Vec<ArgInfo>,
    refused: Vec<Invalid>,
}

impl Args {
    pub(crate) fn new(given: BTreeMap<String, Value>) -> Self {
        Self { given, asked: Vec::new(), refused: Vec::new() }
    }

    /// An argument with a default.
    pub fn get<T: ArgValue>(&mut self, name: &str, default: T, description: &str) -> T {
        self.ask::<T>(name, ArgDefault::Value(default.show()), description);
        self.take(name).unwrap_or(default)
    }

    /// An argument that may be left out.
    pub fn optional<T: ArgValue>(&mut self, name: &str, description: &str) -> Option<T> {
        self.ask::<T>(name, ArgDefault::Unset, description);
        self.take(name)
    }

    /// An argument that must be given. If it is not, the job is refused after the builder returned; until then the
    /// argument is `T`'s [placeholder](ArgValue::placeholder).
    pub fn required<T: ArgValue>(&mut self, name: &str, description: &str) -> T {
        self.ask::<T>(name, ArgDefault::Required, description);
        if !self.given.contains_key(name) {
            self.refuse(name, "nothing", T::allowed(), format!("add {name}: {description}"));
        }
        self.take(name).unwrap_or_else(T::placeholder)
    }

    /// An argument with a default and bounds, both included.
    pub fn within<T>(&mut self, name: &str, bounds: RangeInclusive<T>, default: T, description: &str) -> T
    where
        T: ArgValue + PartialOrd + Display,
    {
        self.ask::<T>(name, ArgDefault::Value(default.show()), description);
        let Some(value) = self.take::<T>(name) else { return default };
        if bounds.contains(&value) {
            return value;
        }
        let hint = if value < *bounds.start() { "raise it" } else { "lower it" };
        self.refuse(name, &value, format!("{} to {}", bounds.start(), bounds.end()), hint);
        default
    }

    /// An argument that is one of a few words, each of which stands for a value. `default` is one of the words.
    ///
    /// # Panics
    /// When `default` is none of the words: a mistake in the graph that every use of it shows.
    pub fn choice<T: Clone>(&mut self, name: &str, choices: &[(&str, T)], default: &str, description: &str) -> T {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let meaning = |word: &str| choices.iter().find(|(known, _)| *known == word).map(|(_, value)| value.clone());
        let fallback = meaning(default).expect("the default of a choice is one of its words");
        self.record(name, &words.join(" | "), ArgDefault::Value(default.into()), description);
        let Some(given) = self.given.get(name) else { return fallback };
        if let Some(value) = given.as_str().and_then(meaning) {
            return value;
        }
        let hint = match given.as_str().and_then(|word| closest(word, words.iter().copied())) {
            Some(word) => format!("write {word} if that is what you meant"),
            None => "write one of these words".to_owned(),
        };
        self.refuse(name, value::describe(given), words.join(", "), hint);
        fallback
    }

    /// Whether the argument was given.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// Refuses a given argument for a reason that only the builder knows: what was found, what is allowed, what to do.
    pub fn refuse(&mut self, name: &str, found: impl Display, allowed: impl Display, hint: impl Display) {
        self.refused.push(Invalid::new(FieldPath::from("spec.args").key(name), found, allowed, hint));
    }

    /// What was asked for so far, in that order.
    pub fn asked(&self) -> &[ArgInfo] {
        &self.asked
    }

    /// Everything that was refused, arguments that nobody asked for included.
    pub(crate) fn finish(self, job: &str) -> Vec<Invalid> {
        let Self { given, asked, mut refused } = self;
        let mut names: Vec<&str> = asked.iter().map(|info| info.name.as_str()).collect();
        names.sort_unstable();
        for name in given.keys().filter(|name| !names.contains(&name.as_str())) {
            let allowed = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let hint = match closest(name, names.iter().copied()) {
                Some(meant) => format!("write {meant} if that is what you meant"),
                None => "remove it".to_owned(),
            };
            let found = format!("an argument that {job} does not take");
            refused.push(Invalid::new(FieldPath::from("spec.args").key(name), found, allowed, hint));
        }
        refused
    }

    fn ask<T: ArgValue>(&mut self, name: &str, default: ArgDefault, description: &str) {
        self.record(name, T::TAKES, default, description);
    }

    fn record(&mut self, name: &str, takes: &str, default: ArgDefault, description: &str) {
        if self.asked.iter().all(|info| info.name != name) {
            let (name, takes, description) = (name.to_owned(), takes.to_owned(), description.to_owned());
            self.asked.push(ArgInfo { name, takes, default, description });
        }
    }

    /// The given value, if it is one of this type; refuses any other.
    fn take<T: ArgValue>(&mut self, name: &str) -> Option<T> {
        let given = self.given.get(name)?;
        if let Some(value) = T::parse(given) {
            return Some(value);
        }
        let (found, hint) = (value::describe(given), value::hint::<T>(given));
        self.refuse(name, found, T::allowed(), hint);
        None
    }
}

#[cfg(test)]
mod tests;
