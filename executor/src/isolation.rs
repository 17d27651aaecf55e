//! Which isolation a run really had. Reported with every result, never assumed.

use serde::{Deserialize, Serialize};

/// How strongly a run was isolated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// All layers: namespaces, a private root, seccomp, rlimits.
    Namespaces,
    /// The host forbids namespaces: seccomp, Landlock where the kernel has it, rlimits.
    Restricted,
    /// A WebAssembly sandbox.
    Wasm,
}

impl Isolation {
    /// The word used in reports and flags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Restricted => "restricted",
            Self::Wasm => "wasm",
        }
    }
}

/// Which isolation the caller accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IsolationRequest {
    /// Every layer, or an error that names the missing one.
    #[default]
    Namespaces,
    /// The weaker level, asked for by name.
    Restricted,
    /// The strongest level this host can give.
    BestAvailable,
}
