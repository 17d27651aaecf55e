//! Is this submission right?
//!
//! A [`Judge`] takes a stream of [`Submission`]s, makes runs of them through an
//! [`executor::Runner`], and answers each with a [`Verdict`]. Read in this order:
//!
//! - `problem`, `row`: what is asked, and how rows write it
//! - `settings`: limits, comparison, and who wins where they are stated more than once
//! - `judge`: many submissions at once; the order of work
//! - `run`, `harness` and `harness.py`: one task, its runs, the facts
//! - `decide`, `verdict_of`: from facts to the verdict, all of it pure
//! - `compare`: whether two outputs are the same; `traceback`: which exception stderr tells of
//! - `cache`, `events`: verdicts already known; who hears of what

mod cache;
mod compare;
mod decide;
mod error;
mod events;
mod harness;
mod judge;
mod marshal;
mod problem;
mod row;
mod run;
mod settings;
mod traceback;
mod value;
mod verdict;
mod verdict_of;

pub use compare::{Compare, Compat, FirstDifference, ParseCompareError, first_difference};
pub use error::JudgeError;
pub use events::{Event, EventSink, InOrder};
pub use judge::{Judge, Summary};
pub use problem::{
    CallTest, Checker, LimitOverrides, Problem, StdioTest, Submission, SubmissionSource, Suite,
};
pub use row::RowError;
pub use settings::{Aggregate, CacheConfig, IntegrityRequest, JudgeConfig, Overrides, Rules};
pub use traceback::{Classified, TracebackContext, TracebackKind, classify_traceback};
pub use value::Value;
pub use verdict::{
    ErrorType, Evidence, Exception, Integrity, TestVerdict, UsageRow, VERDICT_SCHEMA, Verdict,
    WasmEvidence,
};
