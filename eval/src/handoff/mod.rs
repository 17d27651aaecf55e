//! Handing a checkpoint on to reinforcement learning: is it whole, and does the training reward
//! mean what the evaluation meant?
//!
//! - `verify`: a Hugging Face folder, checked without torch; then the real server
//! - `export`: the package for GRPO
//! - `merge`: FSDP shards to weights, by verl's own merger

mod export;
mod merge;
mod tokenizer;
mod verify;

pub use export::{ExportRequest, Exported, export};
pub use merge::merge;
pub use verify::{Check, State, Verified, ask_server, verify};
