//! The job graphs of a binary, by name.
//!
//! A manifest names one of them and gives it arguments. Every deployment builds the graph anew, so a builder must be a
//! pure function of its arguments: connectors are opened later, by the subtasks.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use weir_api::{Invalid, form};
use weir_engine::graph::{Graph, GraphError, JobGraph};

use crate::args::{ArgInfo, Args};
use crate::suggest::closest;

/// Why a graph's builder gave up. Any error becomes one with `?`.
#[derive(Debug)]
pub struct JobError(Box<dyn Error + Send + Sync>);

impl JobError {
    /// An error with this message: lower case, no full stop.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into().into())
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for JobError {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

/// Why a job cannot be built. Several things that are wrong at once are one per line.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    /// The graph's name or its arguments were refused.
    #[error("{}", lines(.0))]
    Refused(Vec<Invalid>),
    /// The builder gave up.
    #[error("job {name} cannot be built from its arguments")]
    Build {
        /// The graph.
        name: String,
        /// What the builder said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The builder made a graph that cannot run: a mistake in the program.
    #[error("job {name} is not a graph that can run: {}", lines(.errors))]
    Graph {
        /// The graph.
        name: String,
        /// What is wrong with it.
        errors: Vec<GraphError>,
    },
    /// Two graphs have one name, or a name cannot be one: a mistake in the program.
    #[error("job {name:?} cannot be registered: {reason}")]
    Registration {
        /// The name.
        name: String,
        /// Why not.
        reason: String,
    },
}

fn lines(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Graphs that a message names one by one.
const MOST_NAMED: usize = 12;

type Builder = Arc<dyn Fn(&mut Args) -> Result<Graph, JobError> + Send + Sync>;

#[derive(Clone)]
struct Job {
    description: String,
    build: Builder,
}

/// A graph as `weir jobs` lists it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobInfo {
    /// Its name in `spec.job`.
    pub name: String,
    /// What it does, in one line.
    pub description: String,
    /// Its arguments, in the order in which it asks for them.
    pub args: Vec<ArgInfo>,
}

/// The job graphs of a binary. Hand it to [`main`](crate::main()).
#[derive(Clone, Default)]
pub struct Jobs {
    jobs: BTreeMap<String, Job>,
    mistakes: Vec<(String, String)>,
}

impl Jobs {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a graph: its name in manifests, one line about it, and its builder.
    #[must_use]
    pub fn job(
        mut self,
        name: &str,
        description: &str,
        build: impl Fn(&mut Args) -> Result<Graph, JobError> + Send + Sync + 'static,
    ) -> Self {
        self.add(name, Job { description: description.to_owned(), build: Arc::new(build) });
        self
    }

    /// Adds all graphs of another registry.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        for (name, job) in others.jobs {
            self.add(&name, job);
        }
        self.mistakes.extend(others.mistakes);
        self
    }

    fn add(&mut self, name: &str, job: Job) {
        if let Err(reason) = form::GRAPH.check(name) {
            let reason = format!("{}; {reason}", form::GRAPH.allowed);
            self.mistakes.push((name.to_owned(), reason));
        } else if self.jobs.insert(name.to_owned(), job).is_some() {
            self.mistakes.push((name.to_owned(), "two graphs have this name".to_owned()));
        }
    }

    /// Whether all names are allowed and given once.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check(&self) -> Result<(), JobsError> {
        match self.mistakes.first() {
            None => Ok(()),
            Some((name, reason)) => Err(JobsError::Registration { name: name.clone(), reason: reason.clone() }),
        }
    }

    /// Builds the graph `name` from its arguments.
    ///
    /// # Errors
    /// When there is no such graph, arguments are refused, or the graph cannot run.
    pub fn build(&self, name: &str, args: &BTreeMap<String, Value>) -> Result<JobGraph, JobsError> {
        let job = self.jobs.get(name).ok_or_else(|| self.unknown(name))?;
        let mut args = Args::new(args.clone());
        let built = (job.build)(&mut args);
        // What the builder made of a refused argument's placeholder means nothing.
        let refused = args.finish(name);
        if !refused.is_empty() {
            return Err(JobsError::Refused(refused));
        }
        let graph = built.map_err(|JobError(source)| JobsError::Build { name: name.to_owned(), source })?;
        graph.finish().map_err(|errors| JobsError::Graph { name: name.to_owned(), errors })
    }

    /// All graphs with their arguments, by name.
    pub fn list(&self) -> Vec<JobInfo> {
        self.jobs
            .iter()
            .map(|(name, job)| JobInfo {
                name: name.clone(),
                description: job.description.clone(),
                args: asked_by(job),
            })
            .collect()
    }

    /// Why there is no graph of this name.
    pub(crate) fn unknown(&self, name: &str) -> JobsError {
        let names: Vec<&str> = self.jobs.keys().map(String::as_str).collect();
        let hint = match closest(name, names.iter().copied()) {
            Some(meant) => format!("write {meant} if that is what you meant"),
            None => "see `weir jobs` for the graphs and their arguments".to_owned(),
        };
        let allowed = match names.len() {
            0 => "none, this binary has no graphs".to_owned(),
            1..=MOST_NAMED => names.join(", "),
            count => format!("one of the {count} graphs that `weir jobs` lists"),
        };
        JobsError::Refused(vec![Invalid::new("spec.job", format!("{name:?}"), allowed, hint)])
    }
}

/// Runs the builder without arguments, only to hear what it asks for.
fn asked_by(job: &Job) -> Vec<ArgInfo> {
    let mut args = Args::new(BTreeMap::new());
    let _ = (job.build)(&mut args);
    args.asked().to_vec()
}

#[cfg(test)]
mod tests;
