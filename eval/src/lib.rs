//! How good is this set of completions?
//!
//! A judgement of recorded completions reads, top to bottom, through these modules:
//!
//! - [`Dataset`] turns any known file into a stream of `judge::Problem`s;
//! - [`Completions`] indexes a file of model texts and hands out the submissions for a problem,
//!   found in the texts by [`extract`];
//! - [`scan`] checks both before anything runs;
//! - the caller gives the submissions to a judge, and each verdict row to
//!   [`VerdictLog::append`], in the [`ResultsFolder`] that also knows what an earlier run has done;
//! - [`Tally`] turns verdicts into the numbers of `metrics.json` and `summary.json`.

mod completions;
mod dataset;
mod error;
mod extract;
mod fields;
mod metrics;
mod operations;
mod results;
mod rows;
mod starter;
pub mod stats;

pub use completions::{Answer, CompletionRow, Completions, Generation, spellings};
pub use dataset::{Dataset, DatasetSpec, Format, Problems, TestSelection};
pub use error::{EvalError, Place, Position};
pub use extract::{ExtractRule, Mode, Target, extract};
pub use metrics::{DatasetSummary, MetricSettings, Session, Tally};
pub use operations::{CheckReport, FailingReference, Listing, Scan, scan};
pub use results::{ResultsFolder, Start, Summary, VerdictLog, flat_metrics};
