//! What the tests that run programs on CPython for WASI share.

use std::env;

use wasm::{Cache, FUEL_PER_SECOND, Mode, SetupError, WasmConfig, WasmSandbox};

/// A sandbox on the installed interpreter; `None`, loudly, where there is none. CI has one.
pub(crate) fn sandbox(mode: Mode, slots: Option<usize>) -> Option<WasmSandbox> {
    let bundle = match Cache::of_user().and_then(|cache| cache.installed(mode)) {
        Ok(bundle) => bundle,
        Err(error @ SetupError::NotInstalled(_)) if env::var_os("CI").is_none() => {
            eprintln!("skipped: {error}; {}", error.hint());
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let config = WasmConfig {
        bundle,
        mode,
        fuel_per_second: FUEL_PER_SECOND,
        slots,
        worker: (
            env!("CARGO_BIN_EXE_codejury-wasm-worker").into(),
            Vec::new(),
        ),
    };
    Some(WasmSandbox::new(config).expect("a worker starts"))
}
