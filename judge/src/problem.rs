//! What is asked: a problem and its test cases, as a native row (DESIGN section 11) carries them.

use std::sync::Arc;

use crate::{Compare, Value};

/// One problem with its suite. Every dataset reader produces these.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// `Codeforces/1575/G`, `HumanEval/0`, `MBPP/11`.
    pub problem_id: String,
    /// Slug of the dataset it came from.
    pub dataset: String,
    /// What a model is shown. For `check` problems also the head of the program: a continuation is
    /// appended to it, a whole program gets its imports and helpers.
    pub prompt: String,
    /// The test cases, by kind.
    pub suite: Suite,
    /// The problem's own comparison; a flag wins over it.
    pub compare: Option<Compare>,
    /// The problem's own limits; a flag wins over each.
    pub limits: LimitOverrides,
    /// Limits the source states, used only when asked for (`--limits source`).
    pub source_limits: LimitOverrides,
    /// The dataset's own solutions, best first, as finished sources.
    pub references: Vec<String>,
}

/// The test cases of a problem, by the way they are run.
#[derive(Clone, Debug, PartialEq)]
pub enum Suite {
    /// A program reads stdin and prints; one run per test case.
    Stdio {
        /// In dataset order.
        tests: Vec<StdioTest>,
        /// A program that decides instead of a comparison (testlib convention).
        checker: Option<Checker>,
        /// CodeContests' `input_file`: the input is given under this name instead of stdin.
        input_file: Option<String>,
        /// CodeContests' `output_file`: read instead of stdout.
        output_file: Option<String>,
    },
    /// HumanEval: prompt + completion, then `test`, then `check(entry_point)`. One test case.
    Check {
        /// The function's name.
        entry_point: String,
        /// Source that defines `check(candidate)`.
        test: String,
        /// Whether `test` calls `check` itself.
        calls_check: bool,
    },
    /// MBPP: the program, `setup`, then each assert on its own.
    Asserts {
        /// Runs after the submission (it may need the submission's class).
        setup: String,
        /// Import lines run just before the asserts (sanitized MBPP).
        imports: Vec<String>,
        /// One statement each, in order.
        tests: Vec<String>,
        /// The function's name, where known.
        entry_point: Option<String>,
    },
    /// LiveCodeBench and APPS: a function or `Solution` method called with JSON arguments.
    Call {
        /// The function's name.
        entry_point: String,
        /// Runs before the submission, in its namespace: imports that the dataset takes for granted.
        setup: String,
        /// One run per test case.
        tests: Vec<CallTest>,
    },
}

impl Suite {
    /// The kind's word in rows: `stdio`, `check`, `asserts`, `call` or `checker`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Stdio { checker: None, .. } => "stdio",
            Self::Stdio {
                checker: Some(_), ..
            } => "checker",
            Self::Check { .. } => "check",
            Self::Asserts { .. } => "asserts",
            Self::Call { .. } => "call",
        }
    }

    /// About how many bytes its test cases take; only stdio problems are ever large.
    pub(crate) fn size_bytes(&self) -> usize {
        match self {
            Self::Stdio { tests, .. } => tests
                .iter()
                .map(|test| test.stdin.len() + test.expected.len())
                .sum(),
            Self::Check { .. } | Self::Asserts { .. } | Self::Call { .. } => 0,
        }
    }

    /// How many test cases it has.
    pub fn test_count(&self) -> usize {
        match self {
            Self::Stdio { tests, .. } => tests.len(),
            Self::Check { .. } => 1,
            Self::Asserts { tests, .. } => tests.len(),
            Self::Call { tests, .. } => tests.len(),
        }
    }
}

/// One stdin/stdout test case. Bytes: nothing here is assumed to be UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StdioTest {
    /// Fed on standard input.
    pub stdin: Arc<[u8]>,
    /// What standard output is compared with.
    pub expected: Arc<[u8]>,
}

/// One call test case. [`Value`] keeps integers of any size, which `serde_json::Value` does not.
#[derive(Clone, Debug, PartialEq)]
pub struct CallTest {
    /// Positional arguments.
    pub args: Vec<Value>,
    /// The result expected.
    pub expected: Value,
}

/// A problem's own checker program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checker {
    /// Its source.
    pub source: String,
    /// `python` is the one that is always there.
    pub language: String,
}

/// Limits that a row, a config section or a flag states; each is optional.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(default, deny_unknown_fields)]
pub struct LimitOverrides {
    /// Wall time in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_time_ms: Option<u64>,
    /// CPU time in milliseconds; without it, the wall limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_time_ms: Option<u64>,
    /// Memory in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Standard output in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout_bytes: Option<u64>,
    /// Standard error kept, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr_bytes: Option<u64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u32>,
    /// Open descriptors per process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u32>,
    /// Largest file in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_size_bytes: Option<u64>,
    /// Scratch space in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scratch_bytes: Option<u64>,
    /// Files and folders in the scratch space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scratch_inodes: Option<u64>,
}

/// A source to judge, with its problem.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The problem it answers.
    pub problem: Arc<Problem>,
    /// Which sample of that problem, from 0.
    pub sample: u32,
    /// The source, as extraction left it.
    pub source: SubmissionSource,
    /// The extraction mode that fired (`fenced`, `completion`, …), if the text was a completion.
    pub extraction: Option<&'static str>,
    /// Whether generation stopped at its token limit.
    pub truncated: bool,
}

/// Source bytes of a submission, or the reason why there are none.
///
/// Bytes, because CPython reads bytes: a coding cookie, a byte order mark and text that is no UTF-8
/// (a lone surrogate of a model's answer, say) mean what they would mean in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmissionSource {
    /// A finished program, or a module that stands alone.
    Program(Arc<[u8]>),
    /// The text continues the problem's prompt.
    Continuation(Arc<[u8]>),
    /// Stands alone if it compiles alone and defines the entry point at module level, else
    /// continues the prompt. Decided inside the sandbox; a continuation is reported as extraction
    /// `completion`.
    ProgramOrContinuation(Arc<[u8]>),
    /// A blank completion: `syntax_error/no_code`, not run.
    Empty,
    /// The model server gave no completion; the reason becomes the subtype of an `api_error`.
    Missing {
        /// For example `context_length`.
        reason: String,
    },
}
