//! The second wall: what a worker process itself may still do once it runs guests.
//!
//! Code that broke out of WebAssembly would find itself in a process without files, with limits of
//! its own, and behind a seccomp filter that lets it do little more than compute and answer.

use std::io;

use nix::sys::resource::{Resource, setrlimit};
use seccompiler::TargetArch;

#[cfg(target_arch = "x86_64")]
const PROFILE: Option<&str> = Some(include_str!(
    "../../../seccomp-profiles/wasm-worker-x86_64.json"
));
#[cfg(not(target_arch = "x86_64"))]
const PROFILE: Option<&str> = None;

/// Closes what the supervisor's own parents may have left open, and sets limits. To be called first,
/// with nothing open but the standard descriptors.
pub(crate) fn limit_resources() -> io::Result<()> {
    close_inherited();
    // A core dump would hold other people's programs. 1, not 0, also stops piped ones.
    setrlimit(Resource::RLIMIT_CORE, 1, 1)?;
    // Nothing here writes files.
    setrlimit(Resource::RLIMIT_FSIZE, 0, 0)?;
    Ok(())
}

#[allow(unsafe_code)]
fn close_inherited() {
    // SAFETY: this process has opened nothing itself, so no owner of a descriptor is deceived.
    // Where the call is missing (before Linux 5.9) whatever is open stays open.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
}

/// Puts every thread of this process behind the filter. Whether that was possible is the answer: a
/// host that forbids seccomp still has the first wall.
pub(crate) fn filter_calls() -> bool {
    let Some(profile) = PROFILE else { return false };
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else {
        return false;
    };
    let Ok(filters) = seccompiler::compile_from_json(profile.as_bytes(), arch) else {
        return false;
    };
    filters
        .values()
        .all(|filter| seccompiler::apply_filter_all_threads(filter).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_compiles_and_every_rule_gives_its_reason() {
        let Some(profile) = PROFILE else { return };
        let arch = TargetArch::try_from(std::env::consts::ARCH).expect("a known processor");
        let filters =
            seccompiler::compile_from_json(profile.as_bytes(), arch).expect("the profile compiles");
        assert_eq!(filters.len(), 1);
        let profile: serde_json::Value = serde_json::from_str(profile).expect("it is JSON");
        let rules = profile["worker"]["filter"].as_array().expect("rules");
        for rule in rules {
            assert!(
                rule["comment"].as_str().unwrap_or_default().len() > 8,
                "{rule}"
            );
            let call = rule["syscall"].as_str().expect("a call");
            for never in [
                "open",
                "openat",
                "execve",
                "fork",
                "vfork",
                "clone",
                "clone3",
                "socket",
                "connect",
                "ptrace",
                "mount",
                "unshare",
                "kill",
                "bpf",
                "io_uring_setup",
            ] {
                assert_ne!(call, never, "{call} is allowed");
            }
        }
    }
}
