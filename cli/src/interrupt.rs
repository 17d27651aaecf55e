//! Ctrl-C and SIGTERM. A command that can stop in good order asks for the [`switch`]: the first
//! signal then throws it, the second ends the process at once. Without it the first one does.
//!
//! Ending at once is always safe: cells die with this process, and result files are written so
//! that they survive it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use executor::Cancel;

use crate::exit::ExitCode;
use crate::output::say;

static SWITCH: OnceLock<Cancel> = OnceLock::new();
static THROWN: AtomicBool = AtomicBool::new(false);

/// Takes over SIGINT, SIGTERM and SIGHUP. Called once, before anything else.
pub(crate) fn install() -> anyhow::Result<()> {
    ctrlc::set_handler(|| match SWITCH.get() {
        Some(switch) if !THROWN.swap(true, Ordering::SeqCst) => {
            say("\ninterrupted: stopping; once more ends at once\n");
            switch.cancel();
        }
        _ => std::process::exit(i32::from(ExitCode::Interrupted as u8)),
    })
    .context("cannot install a signal handler")
}

/// From now on the first signal only throws the switch returned; the caller stops in good order.
///
/// # Errors
///
/// This process is out of descriptors.
pub(crate) fn switch() -> anyhow::Result<Cancel> {
    if SWITCH.get().is_none() {
        // Lost only to another caller's switch, which then serves both.
        let _ = SWITCH.set(Cancel::new()?);
    }
    Ok(SWITCH.get().expect("set above").clone())
}
