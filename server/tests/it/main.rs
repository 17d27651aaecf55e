//! The server as its clients see it: over a socket, in the contract's words.

mod abuse;
mod contract;
mod judge_calls;
mod jupyter;
mod languages;
mod run_code;
mod submit;
mod support;
