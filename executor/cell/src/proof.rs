//! The proof that a cell is what it was before its run.
//!
//! A run can change three things that outlive its processes: files in the scratch space, sockets
//! that keep each other alive in flight, and what it left unread in the payload socket. The first
//! shows in the tmpfs's free counts and in the change times of its folders (both: a file created
//! and removed moves only the time, a file held by nobody's folder only the count). `O_TMPFILE`
//! would move neither in time; the filter refuses it.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use crate::protocol::{MAIN_FILE, SCRATCH};
use crate::sys::{self, Errno};

/// Handles on everything the proof looks at, and how it looked at the start.
pub(crate) struct Proof {
    main_file: OwnedFd,
    folders: Vec<OwnedFd>,
    sockstat: Option<OwnedFd>,
    payload: RawFd,
    /// What one socket can hold: its send buffer, which no run can enlarge, and one message over.
    socket_bytes: u64,
    baseline: State,
}

#[derive(PartialEq, Eq)]
struct State {
    free_blocks: u64,
    free_inodes: u64,
    changed: [(i64, i64); SCRATCH.len()],
    main_file: (u32, u32, u32, i64),
    /// The start of sockstat: counts of sockets.
    sockets: [u8; 256],
    payload_waits: bool,
}

impl Proof {
    /// Creates the empty `main.py` and takes the baseline.
    pub(crate) fn new(payload: RawFd) -> Result<Self, Errno> {
        let main_file = sys::open(Path::new(MAIN_FILE), libc::O_RDWR | libc::O_CREAT, 0o644)?;
        let folders = SCRATCH
            .iter()
            .map(|(_, at)| sys::open(Path::new(at), libc::O_RDONLY | libc::O_DIRECTORY, 0))
            .collect::<Result<Vec<_>, _>>()?;
        let sockstat = sys::open(Path::new("/proc/self/net/sockstat"), libc::O_RDONLY, 0).ok();
        // Before Linux 6.13 change times move in clock ticks: let the one of our own writes pass.
        std::thread::sleep(std::time::Duration::from_millis(11));
        let mut proof = Self {
            main_file,
            folders,
            sockstat,
            payload,
            socket_bytes: sys::send_buffer_bytes(payload)?.saturating_mul(3) / 2,
            baseline: State {
                free_blocks: 0,
                free_inodes: 0,
                changed: [(0, 0); SCRATCH.len()],
                main_file: (0, 0, 0, 0),
                sockets: [0; 256],
                payload_waits: false,
            },
        };
        proof.baseline = proof.look()?;
        Ok(proof)
    }

    /// The cell's `main.py`, open for writing.
    pub(crate) fn main_file(&self) -> RawFd {
        self.main_file.as_raw_fd()
    }

    /// Working directory, for collecting files.
    pub(crate) fn work_dir(&self) -> RawFd {
        self.folders[0].as_raw_fd()
    }

    /// Bytes that the scratch space holds now.
    pub(crate) fn scratch_used_bytes(&self) -> u64 {
        sys::fstatfs(self.work_dir()).map_or(0, |s| {
            (self.baseline.free_blocks.saturating_sub(s.f_bfree)) * s.f_bsize as u64
        })
    }

    /// Bytes that the run's sockets may hold now: each counts with all that it could. Where they
    /// cannot be counted, 0.
    pub(crate) fn socket_bytes(&self) -> u64 {
        let mut text = [0; 512];
        let n = self
            .sockstat
            .as_ref()
            .and_then(|fd| sys::pread(fd.as_raw_fd(), &mut text).ok())
            .unwrap_or(0);
        sockets_used(&text[..n]).saturating_sub(sockets_used(&self.baseline.sockets))
            * self.socket_bytes
    }

    /// Empties `main.py` and compares everything with the baseline.
    pub(crate) fn clean(&self) -> bool {
        sys::truncate(self.main_file()).is_ok() && self.look().is_ok_and(|now| now == self.baseline)
    }

    fn look(&self) -> Result<State, Errno> {
        let space = sys::fstatfs(self.work_dir())?;
        let main_file = sys::fstat(self.main_file())?;
        let mut changed = [(0, 0); SCRATCH.len()];
        for (folder, changed) in self.folders.iter().zip(&mut changed) {
            let stat = sys::fstat(folder.as_raw_fd())?;
            *changed = (stat.st_ctime, stat.st_ctime_nsec);
        }
        let mut sockets = [0; 256];
        if let Some(sockstat) = &self.sockstat {
            sys::pread(sockstat.as_raw_fd(), &mut sockets)?;
        }
        let mut waiting = [libc::pollfd {
            fd: self.payload,
            events: libc::POLLIN,
            revents: 0,
        }];
        sys::poll(&mut waiting, Some(0))?;
        Ok(State {
            free_blocks: space.f_bfree,
            free_inodes: space.f_ffree,
            changed,
            main_file: (
                main_file.st_mode,
                main_file.st_uid,
                main_file.st_nlink as u32,
                main_file.st_size,
            ),
            sockets,
            payload_waits: waiting[0].revents & libc::POLLIN != 0,
        })
    }
}

/// The first line of sockstat: `sockets: used 3`.
fn sockets_used(sockstat: &[u8]) -> u64 {
    String::from_utf8_lossy(sockstat)
        .lines()
        .find_map(|line| line.strip_prefix("sockets: used ")?.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_counted() {
        assert_eq!(
            sockets_used(b"sockets: used 17\nTCP: inuse 0 orphan 0\n"),
            17
        );
        assert_eq!(sockets_used(b""), 0);
    }
}
