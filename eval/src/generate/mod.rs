//! Completions: from servers, from records, or the dataset's own solutions.
//!
//! - `row`: one line of `completions/<dataset>.jsonl`
//! - `client`: one request, and what can become of it
//! - `serve`: starting and ending the model server
//! - `fleet`: many requests over several servers, with repeats and restarts
//!
//! Whoever asks gives a list of jobs and gets each row as soon as there is one, in any order.

mod client;
mod fleet;
mod row;
mod serve;

use std::path::PathBuf;
use std::sync::Arc;

pub(crate) use client::{Ask, Client};
pub(crate) use fleet::{Fleet, FleetEvent};
pub use row::CompletionRecord;
pub use serve::guard;
pub(crate) use serve::{Launch, Server, cause};

use crate::completions::Completions;
use crate::config::Style;
use crate::error::EvalError;
use crate::store::ProblemStore;

/// One sample of one problem of one dataset, by their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) dataset: u32,
    pub(crate) problem: u32,
    pub(crate) sample: u32,
}

/// One completion to generate.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) key: Key,
    pub(crate) problem_id: String,
    pub(crate) style: Style,
    pub(crate) prompt: String,
    pub(crate) stop: Arc<[String]>,
}

/// How to end the server that the evaluation starts, and where its log goes.
#[derive(Clone, Debug)]
pub struct ServerHome {
    /// The command that runs [`guard`]: this program and its `guard` command.
    pub guard: Vec<String>,
    /// The folder for logs.
    pub logs: PathBuf,
}

/// The row for a recorded completion of this problem, if there is one.
pub(crate) fn replay(
    recorded: &Completions,
    problem_id: &str,
    sample: u32,
) -> Result<Option<CompletionRecord>, EvalError> {
    let rows = recorded.rows(problem_id)?;
    let found = rows.into_iter().find(|(number, _)| *number == sample);
    found
        .map(|(_, text)| CompletionRecord::new(problem_id, sample).recorded(&text))
        .transpose()
}

/// The row for the dataset's own solution of a problem, if it has one.
pub(crate) fn reference(
    store: &ProblemStore,
    problem: usize,
) -> Result<Option<CompletionRecord>, EvalError> {
    let problem = store.problem(problem)?;
    Ok(problem.references.first().map(|source| CompletionRecord {
        source: Some(source.clone()),
        ..CompletionRecord::new(&problem.problem_id, 0)
    }))
}
