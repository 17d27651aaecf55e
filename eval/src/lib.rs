//! How good is this set of completions?
//!
//! A judgement of recorded completions reads, top to bottom, through these modules:
//!
//! - [`Dataset`] turns any known file into a stream of `judge::Problem`s;
//! - [`Completions`] indexes a file of model texts and hands out the submissions for a problem,
//!   found in the texts by [`extract`];
//! - [`scan`] checks both before anything runs;
//! - [`judge_answers`] judges them and keeps each verdict in the [`ResultsFolder`], which also knows
//!   what an earlier run has done;
//! - [`Tally`] turns verdicts into the numbers of `metrics.json` and `summary.json`.

mod campaign;
pub mod checkpoint;
pub mod compare;
mod completions;
mod config;
mod dataset;
mod error;
mod extract;
mod fields;
mod generate;
pub mod handoff;
mod judging;
mod manifest;
mod metrics;
mod operations;
pub mod outcomes;
mod pipeline;
mod prompt;
mod qa;
mod results;
mod rows;
mod safetensors;
pub mod select;
mod starter;
pub mod stats;
mod store;
pub mod track;
mod trainer_log;

pub use campaign::{Campaign, Done, Request, Until};
pub use completions::{Answer, CompletionRow, Completions, Generation, spellings};
pub use config::{
    CompareConfig, DEFAULT_CONFIG, DatasetConfig, EvalConfig, GeneratorKind, Sampling, Style,
};
pub use dataset::{Dataset, DatasetSpec, Format, Problems, Selection, TestSelection};
pub use error::{EvalError, Place, Position};
pub use extract::{ExtractRule, Mode, Target, extract};
pub use generate::{CompletionRecord, ServerHome, guard};
pub use judging::{Judged, Ledger, TooManyFailures, judge_answers};
pub use manifest::{
    ManifestMeta, ManifestRow, WrittenManifest, compare_manifest, read_manifest, write_manifest,
};
pub use metrics::{DatasetSummary, MetricSettings, Session, Subtypes, Tally};
pub use operations::{CheckReport, FailingReference, Listing, Scan, scan};
pub use pipeline::{Evaluated, Observer, Plan, Progress, Stage, Subject, SubjectKind, evaluate};
pub use prompt::{PromptRow, Prompter};
pub use qa::{Candidate, Chosen, QaRecord, choose};
pub use results::{Evaluation, ResultsFolder, RowLog, Start, Summary, flat_metrics, write_file};
pub use trainer_log::read_trainer_log;
