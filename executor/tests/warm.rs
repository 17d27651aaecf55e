//! One program at a time on the warm path.

const PATH: executor::PathRequest = executor::PathRequest::Warm;

include!("both/one_program.rs");
