//! `--backend auto`: wasm first, native for programs that need what wasm lacks.

use std::sync::Arc;

use executor::{
    Cancel, Interpreter, Isolation, Network, Outcome, Program, RunReport, RunRequest, Runner,
    SandboxError,
};

use crate::WasmSandbox;
use crate::missing;

/// Two backends as one. Each report says which of them made it.
pub struct AutoRunner {
    wasm: Arc<WasmSandbox>,
    native: Arc<dyn Runner>,
    interpreter: Interpreter,
}

impl AutoRunner {
    /// Wasm where it can, `native` where it must.
    ///
    /// # Errors
    ///
    /// The two are not of one Python version (3.11, say). What a program does would then depend on
    /// which of them ran it, and code compiled by the one means something else to the other.
    pub fn new(wasm: Arc<WasmSandbox>, native: Arc<dyn Runner>) -> Result<Self, SandboxError> {
        let (one, other) = (wasm.interpreter(), native.interpreter());
        if release(&one.version) != release(&other.version) {
            return Err(SandboxError::Interpreter {
                path: other.executable.clone(),
                reason: format!(
                    "it is {}, and the wasm backend's is {}; `auto` needs a --python of the same version",
                    other.version, one.version
                ),
            });
        }
        let interpreter = Interpreter::of_backend(
            other.executable.clone(),
            format!("{}, else {}", one.version, other.version),
            format!("{}+{}", one.fingerprint, other.fingerprint),
        );
        Ok(Self {
            wasm,
            native,
            interpreter,
        })
    }
}

/// `3.11` of `CPython 3.11.2 (wasm)`.
fn release(version: &str) -> Option<(&str, &str)> {
    let mut parts = version.split(' ').nth(1)?.split('.');
    Some((parts.next()?, parts.next()?))
}

/// Whether the text of a request says that wasm will not do.
fn needs_native(request: &RunRequest) -> bool {
    let python = match &request.program {
        Program::Command { .. } => return true,
        Program::Python { source, .. } => source,
    };
    // A harness's program is its own, and says which texts it will run.
    let texts: Vec<&[u8]> = match &request.sources[..] {
        [] => vec![python],
        texts => texts.iter().map(|text| &**text).collect(),
    };
    request.network == Network::Loopback
        || texts.iter().any(|text| missing::imported(text).is_some())
}

impl Runner for AutoRunner {
    fn run_until(
        &self,
        request: &RunRequest,
        cancel: Option<&Cancel>,
    ) -> Result<RunReport, SandboxError> {
        if needs_native(request) {
            return self.native.run_until(request, cancel);
        }
        let report = self.wasm.run_until(request, cancel)?;
        let lacked = report
            .wasm
            .as_ref()
            .is_some_and(|wasm| !wasm.missing.is_empty());
        // A program that did without what it missed has no need of another run.
        let harness_says_so = request.report_pipe;
        if lacked && (harness_says_so || report.outcome != (Outcome::Exited { code: 0 })) {
            return self.native.run_until(request, cancel);
        }
        Ok(report)
    }

    /// The weaker of the two: what every run has at least.
    fn isolation(&self) -> Isolation {
        self.native.isolation()
    }

    fn backend(&self) -> &'static str {
        "auto"
    }

    fn fuel_per_second(&self) -> Option<u64> {
        self.wasm.fuel_per_second()
    }

    fn interpreter(&self) -> &Interpreter {
        &self.interpreter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_told_apart_and_patches_are_not() {
        assert_eq!(release("CPython 3.11.2 (wasm)"), Some(("3", "11")));
        assert_eq!(release("CPython 3.11.7"), release("CPython 3.11.2 (wasm)"));
        assert_ne!(release("CPython 3.12.1"), release("CPython 3.11.2 (wasm)"));
    }
}
