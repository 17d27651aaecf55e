//! A host that gives nothing: no namespace, no mount, no cgroup, to an ordinary user.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// An ordinary user: an id that no account of a usual host has.
pub const ORDINARY_UID: u32 = 64_801;

/// How a host says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As container runtimes do.
    NotPermitted,
    /// As kernels do that were built without; and no process may have a filter of its own.
    NotImplemented,
}

impl Refusal {
    /// What a refused call returns.
    pub fn errno(self) -> Errno {
        match self {
            Self::NotPermitted => Errno::EPERM,
            Self::NotImplemented => Errno::ENOSYS,
        }
    }

    /// Puts `command` behind seccomp filters that refuse every call which makes, joins or changes a
    /// namespace, a mount or a root, and makes it an ordinary user if this process is root.
    ///
    /// # Errors
    ///
    /// The filters cannot be built for this processor.
    pub fn apply(self, command: &mut Command) -> io::Result<()> {
        if let Some(user) = ordinary_user() {
            // The standard library drops supplementary groups too.
            command.uid(user).gid(user);
        }
        let filters = self.filters().map_err(io::Error::other)?;
        let apply = move || {
            for filter in &filters {
                seccompiler::apply_filter(filter).map_err(|_| io::Error::last_os_error())?;
            }
            Ok(())
        };
        #[allow(unsafe_code)]
        // SAFETY: between fork and exec only system calls are made: the filters were built before,
        // and applying one allocates nothing.
        unsafe {
            command.pre_exec(apply);
        }
        Ok(())
    }

    fn filters(self) -> Result<[BpfProgram; 2], seccompiler::Error> {
        // The flags of clone3 lie in memory, where no filter sees them: what forbids namespaces
        // makes it look as if it did not exist, and everybody falls back to clone.
        let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        let mut refused: BTreeMap<i64, Vec<SeccompRule>> = [
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            libc::SYS_fsopen,
            libc::SYS_fsmount,
            libc::SYS_open_tree,
            libc::SYS_move_mount,
            libc::SYS_mount_setattr,
        ]
        .map(|call| (call, Vec::new()))
        .into();
        let flags = [
            libc::CLONE_NEWNS,
            libc::CLONE_NEWCGROUP,
            libc::CLONE_NEWUTS,
            libc::CLONE_NEWIPC,
            libc::CLONE_NEWUSER,
            libc::CLONE_NEWPID,
            libc::CLONE_NEWNET,
        ]
        .map(|flag| flag as u64);
        let with_flag = flags.map(|flag| when(0, SeccompCmpOp::MaskedEq(flag), flag));
        refused.insert(
            libc::SYS_clone,
            with_flag.into_iter().collect::<Result<_, _>>()?,
        );
        if self == Self::NotImplemented {
            refused.insert(libc::SYS_seccomp, Vec::new());
            let set_filter = when(0, SeccompCmpOp::Eq, libc::PR_SET_SECCOMP as u64)?;
            refused.insert(libc::SYS_prctl, vec![set_filter]);
        }
        // The last one may refuse filters.
        Ok([
            refuse(clone3, Errno::ENOSYS)?,
            refuse(refused, self.errno())?,
        ])
    }
}

fn when(index: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::Error> {
    let condition = SeccompCondition::new(index, SeccompCmpArgLen::Qword, op, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

fn refuse(
    calls: BTreeMap<i64, Vec<SeccompRule>>,
    errno: Errno,
) -> Result<BpfProgram, seccompiler::Error> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let errno = SeccompAction::Errno(errno as u32);
    Ok(SeccompFilter::new(calls, SeccompAction::Allow, errno, arch)?.try_into()?)
}

/// Copies an installed wasm interpreter from `folder` to `copy`, which then belongs to `user`
/// (else to the user of this process) alone: what others could write is not trusted.
///
/// # Errors
///
/// It cannot be read or written.
pub fn copy_interpreter(folder: &Path, copy: &Path, user: Option<u32>) -> io::Result<()> {
    fs::create_dir(copy)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let file = copy.join(entry.file_name());
        fs::copy(entry.path(), &file)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        chown(&file, user, user)?;
    }
    fs::set_permissions(copy, fs::Permissions::from_mode(0o700))?;
    chown(copy, user, user)
}

/// The id of the ordinary user, if this process can become one.
pub fn ordinary_user() -> Option<u32> {
    nix::unistd::geteuid().is_root().then_some(ORDINARY_UID)
}

/// What is still permitted of what must not be; to be asked behind the filters.
pub fn privileges() -> Vec<String> {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    let mut found = Vec::new();
    if nix::unistd::geteuid().is_root() {
        found.push("this is root".to_owned());
    }
    for flag in [CloneFlags::CLONE_NEWUSER, CloneFlags::CLONE_NEWNS] {
        if unshare(flag).is_ok() {
            found.push(format!("unshare({flag:?}) works"));
        }
    }
    let none: Option<&str> = None;
    if mount(Some("tmpfs"), "/tmp", Some("tmpfs"), MsFlags::empty(), none).is_ok() {
        found.push("mount works".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_filter_refuses_is_refused_and_nothing_else() {
        for refusal in [Refusal::NotPermitted, Refusal::NotImplemented] {
            for (line, works) in [
                ("unshare --user true", false),
                ("unshare --mount true", false),
                ("true | cat && sleep 0", true),
            ] {
                let mut command = Command::new("sh");
                command
                    .args(["-c", line])
                    .stderr(std::process::Stdio::piped());
                refusal.apply(&mut command).expect("it can be built");
                let output = command.output().expect("it starts");
                assert_eq!(output.status.success(), works, "{refusal:?}: {line}");
                let said = String::from_utf8_lossy(&output.stderr);
                let reason = match refusal {
                    Refusal::NotPermitted => "not permitted",
                    Refusal::NotImplemented => "not implemented",
                };
                assert_eq!(said.contains(reason), !works, "{said}");
            }
        }
    }
}
