//! Is this submission right?

mod compare;
mod problem;
mod row;
mod value;
mod verdict;

pub use compare::{Compare, Compat, FirstDifference, ParseCompareError, first_difference};
pub use problem::{
    CallTest, Checker, LimitOverrides, Problem, StdioTest, Submission, SubmissionSource, Suite,
};
pub use row::RowError;
pub use value::Value;
pub use verdict::ErrorType;
