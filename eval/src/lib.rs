//! How good is this set of completions?
