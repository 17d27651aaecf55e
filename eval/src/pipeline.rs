//! An evaluation from prompts to numbers.
//!
//! ```text
//!   datasets ─► prompts/ ─► generator ─► completions/ ─► judge ─► verdicts/ ─► summary, metrics,
//!                            (a thread)       │ keys of new rows      ▲         QA logs
//!                                             └── bounded channel ────┘
//! ```
//!
//! Each stage leaves files that the next one reads. Completions and verdicts are appended as they
//! come, so whatever ends the process costs at most what was in flight; the same evaluation started
//! again asks only for what is missing. Generation and judging go on at the same time: the
//! generator sends the key of each row once the row is on disk, and the judge reads it there. The
//! channel holds keys only, so it may be long: neither side waits for the other while there is work.

mod finish;
mod prepare;
mod session;
mod settings;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use executor::{Cancel, Runner};
use judge::Verdict;

use crate::config::EvalConfig;
use crate::error::EvalError;
use crate::generate::{CompletionRecord, ServerHome};
use crate::judging::{Judged, TooManyFailures};
use crate::results::{ResultsFolder, Start};
use prepare::{backlog_of, open_ledgers, prepare};
use session::Session;
use settings::{environment, settings_of};

/// What is evaluated.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What kind of evaluation this is.
    pub kind: SubjectKind,
    /// The training step, if it is of one.
    pub step: Option<u64>,
    /// The model's name in requests and results.
    pub name: String,
    /// The folder that the server loads.
    pub model: Option<PathBuf>,
    /// Where it was found, as results name it.
    pub model_path: Option<String>,
    /// What tells it from other checkpoints.
    pub fingerprint: Option<String>,
}

/// The kinds of evaluations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectKind {
    /// A checkpoint of a training run.
    Step,
    /// The untrained model.
    Baseline,
    /// The end of training: all tiers.
    Final,
}

impl SubjectKind {
    /// The word in `summary.json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Baseline => "baseline",
            Self::Final => "final",
        }
    }
}

/// A stage that can be run alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Writes `prompts/`.
    Prompts,
    /// Writes `completions/`.
    Completions,
    /// Writes `verdicts/`.
    Verdicts,
    /// Writes the summary, metrics and QA logs.
    Metrics,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [
        Self::Prompts,
        Self::Completions,
        Self::Verdicts,
        Self::Metrics,
    ];

    /// The word that `--stages` takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prompts => "prompts",
            Self::Completions => "completions",
            Self::Verdicts => "verdicts",
            Self::Metrics => "metrics",
        }
    }
}

/// One evaluation to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How.
    pub config: EvalConfig,
    /// Of what.
    pub subject: Subject,
    /// On which datasets, by slug.
    pub datasets: Vec<String>,
    /// Where to.
    pub folder: PathBuf,
    /// Which stages.
    pub stages: Vec<Stage>,
    /// Whether to go on from what the folder holds.
    pub start: Start,
    /// Leaves problems without a recorded completion or solution out, rather than refuse to start.
    pub allow_missing: bool,
    /// How many runs go on at once.
    pub workers: usize,
    /// What network programs see.
    pub network: executor::Network,
}

/// What happens in an evaluation.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Something a reader should know.
    Note(String),
    /// A dataset was read; what of it an earlier run has left.
    Prepared {
        /// The dataset.
        dataset: &'a str,
        /// Its problems.
        problems: usize,
        /// Samples of all of them.
        samples: usize,
        /// Samples that have a completion already.
        generated: usize,
        /// Samples that have a verdict already.
        judged: usize,
    },
    /// A completion is on disk, or the reason why there is none.
    Generated {
        /// The dataset.
        dataset: &'a str,
        /// The row.
        row: &'a CompletionRecord,
    },
    /// A verdict is on disk.
    Verdict(&'a Verdict),
    /// A dataset's numbers stand.
    Finished {
        /// The dataset.
        dataset: &'a str,
        /// Its numbers.
        judged: &'a Judged,
    },
}

/// Hears of progress, one thing at a time, from several threads.
pub trait Observer: Send {
    /// Takes one.
    ///
    /// # Errors
    ///
    /// Ends the evaluation.
    fn on(&mut self, progress: Progress<'_>) -> Result<(), EvalError>;
}

/// How an evaluation came out.
#[derive(Debug)]
pub struct Evaluated {
    /// The numbers by dataset; empty if the last stage was not run.
    pub judged: BTreeMap<String, Judged>,
    /// Set if the numbers mean nothing.
    pub void: Option<TooManyFailures>,
}

/// Runs an evaluation, or what is left of it.
///
/// # Errors
///
/// Bad data or settings (before anything runs), a lost server, a full disk, a host that cannot run
/// programs; [`EvalError::Interrupted`] when `cancel` was thrown. What was done is kept.
pub fn evaluate(
    plan: &Plan,
    runner: Arc<dyn Runner>,
    home: &ServerHome,
    cancel: &Cancel,
    observer: &mut dyn Observer,
) -> Result<Evaluated, EvalError> {
    let observer = Mutex::new(observer);
    let tell = |progress: Progress<'_>| lock(&observer).on(progress);
    fs::create_dir_all(&plan.folder).map_err(EvalError::write(&plan.folder))?;
    let mut prepared = Vec::new();
    for slug in &plan.datasets {
        prepared.push(prepare(plan, slug)?);
    }
    let settings = settings_of(plan, &prepared, &*runner);
    let folder =
        ResultsFolder::open_evaluation(&plan.folder, settings, environment(plan), plan.start)?;
    let mut runs = Vec::new();
    for prepared in prepared {
        runs.push(prepared.open(plan, &folder)?);
    }
    let mut ledgers = open_ledgers(&runs, &folder)?;
    let backlog = backlog_of(&runs, &mut ledgers)?;
    for run in &runs {
        let completions = lock(&run.completions);
        tell(Progress::Prepared {
            dataset: &run.slug,
            problems: run.store.len(),
            samples: run.keys(0).count(),
            generated: run
                .ids()
                .filter(|(id, n)| completions.is_settled(id, *n))
                .count(),
            judged: ledgers[&run.slug].distribution().values().sum::<u64>() as usize,
        })?;
    }
    let evaluation = Session {
        plan,
        home,
        cancel,
        runs: &runs,
        stop: AtomicBool::new(false),
        tell: &tell,
    };
    evaluation.generate_and_judge(&mut ledgers, backlog, runner)?;
    if cancel.is_cancelled() {
        return Err(EvalError::Interrupted);
    }
    evaluation.complete(&folder, ledgers)
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
