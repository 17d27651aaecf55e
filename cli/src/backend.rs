//! From `--backend` to what runs programs.

use std::env;
use std::ffi::OsString;
use std::sync::Arc;

use anyhow::Context as _;
use executor::{IsolationRequest, Runner, Sandbox, SandboxConfig, SandboxError};
use wasm::{AutoRunner, Cache, FUEL_PER_SECOND, SetupError, WasmConfig, WasmSandbox};

use crate::args::{BackendChoice, SandboxArgs};

/// The hidden command that a wasm worker is; what follows are its arguments.
pub(crate) const WORKER: &str = "wasm-worker";

/// Becomes a wasm worker if that is what this process was started for. Before anything else: a
/// worker has no use for a command line, for signals or for output.
pub(crate) fn serve_as_worker() {
    let mut arguments = env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == WORKER) {
        wasm::worker::main(arguments);
    }
}

/// The runner asked for. `config` is the native sandbox's, whose slots count for either backend.
///
/// # Errors
///
/// The host cannot give it, or the wasm backend has no interpreter here.
pub(crate) fn runner(args: &SandboxArgs, config: SandboxConfig) -> anyhow::Result<Arc<dyn Runner>> {
    match args.backend() {
        BackendChoice::Native if args.may_be_wasm() => best_available(args, config),
        BackendChoice::Native => Ok(Arc::new(Sandbox::new(config)?)),
        BackendChoice::Wasm => Ok(Arc::new(asked(args, config.slots)?)),
        BackendChoice::Auto => {
            let wasm = Arc::new(asked(args, config.slots)?);
            match Sandbox::new(config) {
                Ok(native) => Ok(Arc::new(AutoRunner::new(wasm, Arc::new(native))?)),
                // What wasm lacks is then missing, and verdicts say so.
                Err(SandboxError::IsolationUnavailable { .. }) => Ok(wasm),
                Err(error) => Err(error.into()),
            }
        }
    }
}

/// Namespaces, else wasm if its interpreter is installed, else what is weaker.
fn best_available(args: &SandboxArgs, config: SandboxConfig) -> anyhow::Result<Arc<dyn Runner>> {
    let with_namespaces = SandboxConfig {
        isolation: IsolationRequest::Namespaces,
        ..config.clone()
    };
    match Sandbox::new(with_namespaces) {
        Ok(native) => return Ok(Arc::new(native)),
        Err(SandboxError::IsolationUnavailable { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    match Cache::of_user().and_then(|cache| cache.manifest()) {
        Ok(_) => Ok(Arc::new(asked(args, config.slots)?)),
        Err(SetupError::NotInstalled(_) | SetupError::NoFolder) => {
            Ok(Arc::new(Sandbox::new(config)?))
        }
        Err(error) => Err(error.into()),
    }
}

fn asked(args: &SandboxArgs, slots: Option<usize>) -> anyhow::Result<WasmSandbox> {
    wasm(args.wasm_mode.into(), args.wasm_fuel_per_second, slots)
}

/// The wasm backend, as it is installed.
///
/// # Errors
///
/// It is not, or its workers do not start.
pub(crate) fn wasm(
    mode: wasm::Mode,
    fuel_per_second: Option<u64>,
    slots: Option<usize>,
) -> anyhow::Result<WasmSandbox> {
    let bundle = Cache::of_user()?.installed(mode)?;
    let program = env::current_exe().context("cannot tell where codejury is")?;
    let config = WasmConfig {
        bundle,
        mode,
        fuel_per_second: fuel_per_second.unwrap_or(FUEL_PER_SECOND),
        slots,
        worker: (program.into(), vec![OsString::from(WORKER)]),
    };
    Ok(WasmSandbox::new(config)?)
}
