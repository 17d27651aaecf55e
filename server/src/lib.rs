//! The sandbox and the judge over HTTP.
//!
//! Two surfaces: the contract of SandboxFusion, which RL frameworks and its SDK already speak
//! (`fusion`), and the native `POST /v1/judge` (`judge_calls`). Read in this order:
//!
//! - `config`: what an operator can set; every key with its default
//! - `serve`: the listener, its limits, how it drains
//! - `app`: paths, tokens, body limits, and what an error looks like on each surface
//! - `queue`, `dispatch`: who runs next, and a run from the async side's point of view
//! - `body`, `text`: reading requests as pydantic does, writing output as Python decodes it
//! - `fusion`: `/run_code`, `/run_jupyter`, `/submit` and the data sets behind it
//! - `judge_calls`: many submissions in one call, verdicts as they finish
//! - `metrics`: what Prometheus reads

mod app;
mod body;
mod config;
mod dispatch;
mod error;
mod fusion;
mod judge_calls;
mod metrics;
mod queue;
mod serve;
mod text;

pub use config::{
    ConfigError, EXAMPLE_CONFIG, HttpConfig, JudgeCallsConfig, LanguageConfig, QueueConfig,
    RunConfig, ServeConfig,
};
pub use error::ServeError;
pub use serve::{Runners, Server};
