//! The eval library against real dataset files, generated parquet, and broken inputs.

mod broken;
mod completions;
mod datasets;
mod handoff;
mod operations;
mod parquet;
mod results;
mod support;
