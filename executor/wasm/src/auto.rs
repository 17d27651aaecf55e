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
    pub fn new(wasm: Arc<WasmSandbox>, native: Arc<dyn Runner>) -> Self {
        let (one, other) = (wasm.interpreter(), native.interpreter());
        let interpreter = Interpreter::of_backend(
            other.executable.clone(),
            format!("{}, else {}", one.version, other.version),
            format!("{}+{}", one.fingerprint, other.fingerprint),
        );
        Self {
            wasm,
            native,
            interpreter,
        }
    }
}

/// Whether the text of a request says that wasm will not do.
fn needs_native(request: &RunRequest) -> bool {
    let python = match &request.program {
        Program::Command { .. } => return true,
        Program::Python { source, .. } => source,
    };
    // A harness's program is its own; the submission is in what it reads.
    let texts = [
        &python[..],
        if request.report_pipe {
            &request.stdin
        } else {
            &[]
        },
    ];
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

    fn interpreter(&self) -> &Interpreter {
        &self.interpreter
    }
}
