//! The answer: is this submission right, and if not, why not. Serialises as a verdict row.

use std::collections::BTreeMap;

use executor::{Isolation, Usage};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::FirstDifference;

/// The version of the verdict row, in its `schema` field.
pub const VERDICT_SCHEMA: &str = "codejury.verdict/1";

/// Everything decided about one submission: a verdict row, fields in the row's order.
///
/// What is measured, and so may differ from run to run, stands only in `usage` (here and in
/// `tests`), `judge_time`, `path`, `cached` and `near_limit`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// [`VERDICT_SCHEMA`].
    pub schema: String,
    /// The problem answered.
    pub problem_id: String,
    /// Which sample of the problem, from 0.
    pub sample: u32,
    /// The problem's dataset.
    pub dataset: String,
    /// The problem's kind: `stdio`, `check`, `asserts`, `call` or `checker`.
    pub kind: String,
    /// Whether every test case passed.
    pub accepted: bool,
    /// Passed test cases / all test cases; `None` if we failed on any of them.
    pub pass_ratio: Option<f64>,
    /// How many test cases the problem has.
    pub n_tests: usize,
    /// The problem's error type.
    pub error_type: ErrorType,
    /// What exactly: an exception class, `signal:SIGSEGV`, `wall`, `no_output`, …
    pub error_subtype: Option<String>,
    /// How many test cases ended how; `skipped` counts the ones not run.
    pub error_types: BTreeMap<String, usize>,
    /// What the verdict rests on; `None` where nothing ran.
    pub evidence: Option<Evidence>,
    /// stdio: whether every test case ran and printed the right output, whatever its exit status.
    pub output_matched: Option<bool>,
    /// The comparison, in the words of `--compare`, or `checker`; `None` where asserts decide.
    pub compare: Option<String>,
    /// Which extraction mode fired, if the submission was a completion.
    pub extraction: Option<String>,
    /// Whether generation stopped at its token limit.
    pub truncated: bool,
    /// Whether the tests were out of the candidate's reach.
    pub integrity: Integrity,
    /// The isolation every run had.
    pub isolation: Isolation,
    /// `native` or `wasm`; `mixed` where some runs needed the native one.
    pub backend: String,
    /// What a wasm verdict depends on; `None` for others.
    pub wasm: Option<WasmEvidence>,
    /// Whether a run used 80 % of a time limit or more: another machine may decide otherwise.
    pub near_limit: bool,
    /// Each test case in dataset order; empty when nothing compiled or nothing ran.
    pub tests: Vec<TestVerdict>,
    /// Wall time of all runs together, in seconds.
    pub judge_time: f64,
    /// How the runs were started: `warm`, `cold`, or `mixed`; `None` where nothing ran.
    pub path: Option<String>,
    /// Whether the verdict was known already.
    pub cached: bool,
    /// Times of all runs together, and the largest peak memory.
    pub usage: UsageRow,
}

/// One test case of a verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestVerdict {
    /// Its place in dataset order, from 0.
    pub index: usize,
    /// How it ended; `None`, written `skipped`, if it counts as not run.
    #[serde(with = "or_skipped")]
    pub error_type: Option<ErrorType>,
    /// What exactly.
    pub error_subtype: Option<String>,
    /// Where a wrong output first differs.
    pub first_difference: Option<FirstDifference>,
    /// What its runs used; `None` for skipped ones and for asserts, which share one run.
    pub usage: Option<UsageRow>,
}

/// What a verdict rests on: the facts of the test case that decided it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The test case that decided; `None` if compiling did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<usize>,
    /// How its run ended: `exit:1`, `signal:SIGSEGV`, `limit:wall_time`, `cell_lost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The exception that ended it, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<Exception>,
    /// The end of standard error, at most 2 KiB. Missing where a limit ended the run, since how
    /// much was written by then is chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<String>,
    /// What failed on our side, for an `api_error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// stdio: every executed test case printed nothing but white space.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_output: bool,
}

/// An exception, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// Its class, without module.
    pub class: String,
    /// Its message, at most 300 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The line in the submission, or in the tests if it was raised there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Whether it was raised by the tests rather than by the submission.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_tests: bool,
}

/// What a wasm verdict depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WasmEvidence {
    /// Fuel used by all runs; absent where time was limited by the clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Fuel that counted as one second of CPU time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel_per_second: Option<u64>,
    /// The interpreter module.
    pub module_sha256: String,
    /// The wasmtime version.
    pub wasmtime: String,
}

/// Whether the tests were out of the candidate's reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Integrity {
    /// The candidate's process never held what its answer is compared with.
    Isolated,
    /// Tests and candidate shared a process.
    Shared,
}

/// What runs used, as rows write it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UsageRow {
    /// Wall time from program start, in milliseconds.
    pub wall_time_ms: f64,
    /// CPU time, user and system, in milliseconds.
    pub cpu_time_ms: f64,
    /// Preparation, never charged, in milliseconds.
    pub setup_time_ms: f64,
    /// Peak memory in bytes.
    pub memory_peak_bytes: u64,
}

impl UsageRow {
    /// Adds a run: times add up, of the peaks the larger one counts.
    pub(crate) fn add(&mut self, other: &Self) {
        self.wall_time_ms += other.wall_time_ms;
        self.cpu_time_ms += other.cpu_time_ms;
        self.setup_time_ms += other.setup_time_ms;
        self.memory_peak_bytes = self.memory_peak_bytes.max(other.memory_peak_bytes);
    }
}

impl From<&Usage> for UsageRow {
    fn from(usage: &Usage) -> Self {
        // Microseconds are the clocks' grain; more digits would only fill rows.
        let ms = |time: std::time::Duration| time.as_micros() as f64 / 1000.0;
        Self {
            wall_time_ms: ms(usage.wall_time),
            cpu_time_ms: ms(usage.cpu_time()),
            setup_time_ms: ms(usage.setup_time),
            memory_peak_bytes: usage.memory_peak_bytes,
        }
    }
}

impl Verdict {
    /// The verdict as one row, without a line break.
    pub fn to_row(&self) -> String {
        serde_json::to_string(self).expect("a verdict holds texts and finite numbers only")
    }

    /// Reads a row that [`Verdict::to_row`] wrote.
    ///
    /// # Errors
    ///
    /// The line is no verdict row, or one of another schema.
    pub fn from_row(line: &str) -> Result<Self, serde_json::Error> {
        let verdict: Self = serde_json::from_str(line)?;
        if verdict.schema == VERDICT_SCHEMA {
            return Ok(verdict);
        }
        let reason = format!("schema {:?} is not {VERDICT_SCHEMA:?}", verdict.schema);
        Err(serde::de::Error::custom(reason))
    }
}

/// The six words (SEMANTICS section 1). Declaration order is the order of `aggregate = "worst"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorType {
    /// Right.
    Success,
    /// Ran, and the answer is wrong.
    WrongAnswer,
    /// Crossed its wall or CPU limit.
    Timeout,
    /// Died of an exception, a signal, a memory or output limit.
    RuntimeError,
    /// Does not compile.
    SyntaxError,
    /// *We* (or the model server) failed; never charged to the submission.
    ApiError,
}

impl ErrorType {
    /// All six, in declaration order.
    pub const ALL: [Self; 6] = [
        Self::Success,
        Self::WrongAnswer,
        Self::Timeout,
        Self::RuntimeError,
        Self::SyntaxError,
        Self::ApiError,
    ];

    /// The word as metrics and rows spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::WrongAnswer => "wrong_answer",
            Self::Timeout => "timeout",
            Self::RuntimeError => "runtime_error",
            Self::SyntaxError => "syntax_error",
            Self::ApiError => "api_error",
        }
    }
}

mod or_skipped {
    use super::*;

    const SKIPPED: &str = "skipped";

    pub(super) fn serialize<S: Serializer>(
        value: &Option<ErrorType>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(value.map_or(SKIPPED, ErrorType::as_str))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<ErrorType>, D::Error> {
        let word = String::deserialize(deserializer)?;
        if word == SKIPPED {
            return Ok(None);
        }
        let known = ErrorType::ALL
            .into_iter()
            .find(|kind| kind.as_str() == word);
        known
            .map(Some)
            .ok_or_else(|| serde::de::Error::custom(format!("unknown error type {word:?}")))
    }
}
