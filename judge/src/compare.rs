//! Comparing stdout with the expected output (SEMANTICS section 3).

/// A comparison mode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Compare {
    /// Bytes equal.
    Exact,
    /// Trailing LFs removed on both sides, then equal.
    RstripNl,
    /// Lines right-stripped, trailing empty lines dropped, equal.
    Lines,
    /// Split on white space, lists equal.
    Tokens,
    /// The same after ASCII lower-casing.
    TokensCi,
    /// Tokens, numbers within a tolerance.
    Float {
        /// Absolute tolerance.
        abs: f64,
        /// Relative tolerance.
        rel: f64,
    },
    /// DeepMind's rule with integers kept exact.
    CodeContests,
    /// Lines in any order.
    UnorderedLines,
    /// What a public judge does, bug for bug.
    Compat(Compat),
}

/// The public judges whose comparison is reproduced bug for bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compat {
    /// DeepMind's CodeContests evaluator.
    Deepmind,
    /// SandboxFusion.
    Sandboxfusion,
    /// LiveCodeBench.
    Livecodebench,
    /// verl's prime_code.
    PrimeCode,
}
