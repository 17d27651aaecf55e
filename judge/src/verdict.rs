//! The answer: is this submission right, and if not, why not. Serialises as a verdict row.

use serde::{Deserialize, Serialize};

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
