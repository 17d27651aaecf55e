//! Is this submission right?

mod compare;
mod problem;
mod value;
mod verdict;

pub use compare::{Compare, Compat};
pub use problem::{
    CallTest, Checker, LimitOverrides, Problem, StdioTest, Submission, SubmissionSource, Suite,
};
pub use value::Value;
pub use verdict::ErrorType;
