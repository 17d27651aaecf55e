//! What this host gives: probed, never assumed.

use std::io;

use crate::{Isolation, SandboxError};

/// The Landlock version of this kernel, 0 for none.
#[allow(
    unsafe_code,
    reason = "no wrapper for this query in the libraries we use"
)]
pub(crate) fn landlock_abi() -> u32 {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: with this flag the call takes a null pointer and size 0, and only returns a number.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(abi).unwrap_or(0)
}

/// Turns a failed step of a cell's setup into the layer that is missing and what to do about it.
pub(crate) fn explain(isolation: Isolation, step: String, source: io::Error) -> SandboxError {
    let code = source.raw_os_error().unwrap_or(0);
    let remedy = match (step.as_str(), code) {
        (s, libc::ENOSPC) if s.starts_with("creating namespaces") => {
            "the limit user.max_user_namespaces is reached or 0: raise it with sysctl"
        }
        (s, _) if s.starts_with("creating namespaces") || s.starts_with("mapping user") => {
            "user namespaces look disabled: ask for kernel.unprivileged_userns_clone=1 (or \
             kernel.apparmor_restrict_unprivileged_userns=0, or a container with a seccomp profile that allows \
             unshare), or accept weaker isolation with --isolation restricted"
        }
        ("mounting /proc", _) => {
            "the container hides parts of /proc: start it with an unmasked /proc, or accept weaker isolation with \
             --isolation restricted"
        }
        _ => return SandboxError::CellSetup { step, source },
    };
    let layer = match isolation {
        Isolation::Namespaces => "namespaces",
        Isolation::Restricted => "restricted",
        Isolation::Wasm => "wasm",
    };
    SandboxError::IsolationUnavailable {
        layer,
        reason: format!("{step} failed: {source}"),
        remedy: remedy.to_owned(),
    }
}
