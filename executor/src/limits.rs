//! What a run may use, what it used, and the words both share.

use std::time::Duration;

/// Bytes in one MiB; every `MB` a user types means this.
pub const MIB: u64 = 1024 * 1024;

/// What one run may use. Times are wall-clock or CPU durations, sizes are bytes.
///
/// The defaults are the product's documented limits; a request overrides single fields.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Wall time from program start. Time spent queueing, or in setup, is never charged.
    pub wall_time: Duration,
    /// CPU time (user + system) of the whole run, all its processes together.
    pub cpu_time: Duration,
    /// Memory the program may use on top of what its interpreter maps at start.
    pub memory_bytes: u64,
    /// Standard output above this ends the run.
    pub stdout_bytes: u64,
    /// Standard error kept: half from the head, half from the tail. The rest is counted and dropped.
    pub stderr_bytes: u64,
    /// Processes and threads of the run together.
    pub tasks: u32,
    /// Open descriptors per process.
    pub open_files: u32,
    /// Largest file the run may write.
    pub file_size_bytes: u64,
    /// Size of the private scratch space (working directory, `/tmp`, `/dev/shm`, `/mnt` together).
    pub scratch_bytes: u64,
    /// Files and folders in the scratch space.
    pub scratch_inodes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall_time: Duration::from_secs(30),
            cpu_time: Duration::from_secs(30),
            memory_bytes: 1024 * MIB,
            stdout_bytes: 16 * MIB,
            stderr_bytes: 128 * 1024,
            tasks: 64,
            open_files: 256,
            file_size_bytes: 64 * MIB,
            scratch_bytes: 256 * MIB,
            scratch_inodes: 10_000,
        }
    }
}

/// What one run used. Field names line up with [`Limits`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Wall time from program start to the end of the main process.
    pub wall_time: Duration,
    /// CPU time in user mode, all processes of the run.
    pub cpu_user: Duration,
    /// CPU time in the kernel, all processes of the run.
    pub cpu_system: Duration,
    /// What preparing this run took; never charged to the program.
    pub setup_time: Duration,
    /// Peak memory in bytes: of the whole run where a memory cgroup counts it, else of its
    /// largest process.
    pub memory_peak_bytes: u64,
}

impl Usage {
    /// CPU time of the run, user and system together.
    pub fn cpu_time(&self) -> Duration {
        self.cpu_user + self.cpu_system
    }
}
