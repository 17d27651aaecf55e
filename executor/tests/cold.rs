//! One program at a time on the cold path.

const PATH: executor::PathRequest = executor::PathRequest::Cold;

include!("both/one_program.rs");
