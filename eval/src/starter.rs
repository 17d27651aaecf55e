//! The suite that comes inside the binary: a few dozen problems of every kind, with completions
//! whose verdicts are known, to try an installation without any download.

use std::path::Path;

/// Native problem rows.
pub(crate) const PROBLEMS: &[u8] = include_bytes!("../../data/starter/problems.jsonl");

/// Completion rows for them.
pub(crate) const COMPLETIONS: &[u8] = include_bytes!("../../data/starter/completions.jsonl");

/// Whether a dataset or completions argument names this suite.
pub(crate) fn is_name(name: &Path) -> bool {
    name == Path::new("starter")
}
