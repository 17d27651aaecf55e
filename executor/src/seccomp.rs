//! The seccomp policy: data in `seccomp-profiles/`, compiled here, installed by the cell.

use std::collections::HashMap;

use seccompiler::{BpfProgram, TargetArch};

use crate::{Network, SandboxError};

#[cfg(target_arch = "x86_64")]
const PROFILE: &str = include_str!("../../seccomp-profiles/python-x86_64.json");

/// Compiled filters, by their names in the profile.
#[derive(Debug)]
pub(crate) struct Filters(HashMap<String, Vec<u8>>);

impl Filters {
    /// Compiles the profile for this machine.
    pub(crate) fn compile() -> Result<Self, SandboxError> {
        let unavailable = |reason: String| SandboxError::IsolationUnavailable {
            layer: "seccomp",
            reason,
            remedy: "use an x86_64 Linux build of codejury".to_owned(),
        };
        let arch =
            TargetArch::try_from(std::env::consts::ARCH).map_err(|e| unavailable(e.to_string()))?;
        let compiled = seccompiler::compile_from_json(PROFILE.as_bytes(), arch)
            .map_err(|e| unavailable(format!("the profile does not compile: {e}")))?;
        Ok(Self(
            compiled
                .into_iter()
                .map(|(name, program)| (name, bytes(&program)))
                .collect(),
        ))
    }

    /// What pid 1 installs once, in order. Where two refuse, the later one's errno is seen.
    pub(crate) fn once(&self, network: Network, memory_cgroup: bool) -> Vec<Vec<u8>> {
        let mut names = vec![
            "allowed",
            "refused_as_missing",
            "refused_as_no_such_request",
            "refused_as_unsupported",
            "refused_as_no_such_family",
        ];
        if network == Network::None {
            names.push("refused_without_network");
        }
        if !memory_cgroup {
            names.push("refused_without_memory_cgroup");
        }
        names.into_iter().map(|name| self.0[name].clone()).collect()
    }

    /// What each run installs, last.
    pub(crate) fn run(&self) -> Vec<Vec<u8>> {
        vec![self.0["refused_to_runs"].clone()]
    }
}

/// The kernel's own layout of a filter, eight bytes an instruction.
fn bytes(program: &BpfProgram) -> Vec<u8> {
    let mut out = Vec::with_capacity(program.len() * 8);
    for instruction in program {
        out.extend_from_slice(&instruction.code.to_ne_bytes());
        out.push(instruction.jt);
        out.push(instruction.jf);
        out.extend_from_slice(&instruction.k.to_ne_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_compiles_and_every_filter_is_used() {
        let filters = Filters::compile().expect("the profile compiles");
        let used = filters.once(Network::None, false).len() + filters.run().len();
        assert_eq!(used, filters.0.len(), "a filter nobody installs");
    }

    #[test]
    fn every_rule_gives_its_reason() {
        let profile: serde_json::Value =
            serde_json::from_str(PROFILE).expect("the profile is JSON");
        for (name, filter) in profile.as_object().expect("an object of filters") {
            for rule in filter["filter"].as_array().expect("a list of rules") {
                let reason = rule["comment"].as_str().unwrap_or_default();
                assert!(reason.len() > 8, "{name}: {rule} has no reason");
            }
        }
    }

    #[test]
    fn namespaces_and_mounts_are_never_allowed() {
        let profile: serde_json::Value =
            serde_json::from_str(PROFILE).expect("the profile is JSON");
        let allowed: Vec<_> = profile["allowed"]["filter"]
            .as_array()
            .expect("a list of rules")
            .iter()
            .filter_map(|r| r["syscall"].as_str())
            .collect();
        for call in [
            "unshare",
            "setns",
            "mount",
            "umount2",
            "pivot_root",
            "chroot",
            "move_mount",
            "open_tree",
            "fsopen",
            "fsmount",
            "mount_setattr",
            "ptrace",
            "process_vm_readv",
            "process_vm_writev",
            "bpf",
            "perf_event_open",
            "userfaultfd",
            "keyctl",
            "add_key",
            "request_key",
            "shmget",
            "semget",
            "msgget",
            "mq_open",
            "inotify_init",
            "inotify_init1",
            "fanotify_init",
            "name_to_handle_at",
            "open_by_handle_at",
            "kcmp",
            "io_uring_setup",
            "clone3",
            "setuid",
            "setgid",
            "init_module",
            "kexec_load",
            "reboot",
            "swapon",
        ] {
            assert!(!allowed.contains(&call), "{call} is allowed");
        }
    }
}
