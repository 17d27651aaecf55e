//! Is this submission right?

mod compare;
mod problem;
mod verdict;

pub use compare::{Compare, Compat};
pub use problem::{
    CallTest, Checker, LimitOverrides, Problem, StdioTest, Submission, SubmissionSource, Suite,
};
pub use verdict::ErrorType;
