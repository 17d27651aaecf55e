//! The proof that a cell is what it was before its run.
//!
//! A run can change three things that outlive its processes: files in the scratch space, sockets
//! that keep each other alive in flight (with a loopback also connections that linger), and what it
//! left unread in the payload socket. The first
//! shows in the tmpfs's free counts and in the change times of its folders (both: a file created
//! and removed moves only the time, a file held by nobody's folder only the count). `O_TMPFILE`
//! would move neither in time; the filter refuses it. A loopback that moved a packet is never handed
//! on: what a connection leaves in the kernel's caches has no count of its own.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use crate::protocol::{MAIN_FILE, SCRATCH};
use crate::sys::{self, Errno};

/// Handles on everything the proof looks at, and how it looked at the start.
pub(crate) struct Proof {
    main_file: OwnedFd,
    folders: Vec<OwnedFd>,
    sockstat: Option<OwnedFd>,
    /// What the interfaces have moved; only looked at where the run has a loopback.
    interfaces: Option<OwnedFd>,
    payload: RawFd,
    /// What one socket can hold: its send buffer, which no run can enlarge, and one message over.
    socket_bytes: u64,
    baseline: State,
}

#[derive(Default, PartialEq, Eq)]
struct State {
    free_blocks: u64,
    free_inodes: u64,
    changed: [(i64, i64); SCRATCH.len()],
    main_file: (u32, u32, u32, i64),
    sockets: Sockets,
    /// Every counter of the interfaces.
    moved: u64,
    payload_waits: bool,
}

impl Proof {
    /// Creates the empty `main.py` and takes the baseline.
    pub(crate) fn new(payload: RawFd, loopback: bool) -> Result<Self, Errno> {
        let main_file = sys::open(Path::new(MAIN_FILE), libc::O_RDWR | libc::O_CREAT, 0o644)?;
        let folders = SCRATCH
            .iter()
            .map(|(_, at)| sys::open(Path::new(at), libc::O_RDONLY | libc::O_DIRECTORY, 0))
            .collect::<Result<Vec<_>, _>>()?;
        let sockstat = sys::open(Path::new("/proc/self/net/sockstat"), libc::O_RDONLY, 0).ok();
        let interfaces = match loopback {
            true => Some(sys::open(
                Path::new("/proc/self/net/dev"),
                libc::O_RDONLY,
                0,
            )?),
            false => None,
        };
        // Before Linux 6.13 change times move in clock ticks: let the one of our own writes pass.
        std::thread::sleep(std::time::Duration::from_millis(11));
        let mut proof = Self {
            main_file,
            folders,
            sockstat,
            interfaces,
            payload,
            socket_bytes: sys::send_buffer_bytes(payload)?.saturating_mul(3) / 2,
            baseline: State::default(),
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
        let now = self.sockets().unwrap_or_default();
        now.used.saturating_sub(self.baseline.sockets.used) * self.socket_bytes
    }

    fn sockets(&self) -> Result<Sockets, Errno> {
        let Some(sockstat) = &self.sockstat else {
            return Ok(Sockets::default());
        };
        let mut text = [0; 512];
        let n = sys::pread(sockstat.as_raw_fd(), &mut text)?;
        Ok(Sockets::read(&text[..n]))
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
        let mut moved = 0;
        if let Some(interfaces) = &self.interfaces {
            let mut text = [0; 1024];
            let n = sys::pread(interfaces.as_raw_fd(), &mut text)?;
            moved = sum_of_counters(&text[..n]);
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
            sockets: self.sockets()?,
            moved,
            payload_waits: waiting[0].revents & libc::POLLIN != 0,
        })
    }
}

/// Sockets of this network namespace. The rest of sockstat counts those of the whole host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sockets {
    /// Of all families.
    used: u64,
    /// Of each internet protocol, connections that wait for their end, and fragments.
    internet: [u64; 8],
}

impl Sockets {
    fn read(sockstat: &[u8]) -> Self {
        let text = String::from_utf8_lossy(sockstat);
        let mut words = text.split_ascii_whitespace();
        let mut found = Self::default();
        let mut places = found.internet.iter_mut();
        while let Some(word) = words.next() {
            let place = match word {
                "used" => Some(&mut found.used),
                "inuse" | "tw" => places.next(),
                _ => None,
            };
            if let Some(place) = place {
                *place = words.next().and_then(|n| n.parse().ok()).unwrap_or(0);
            }
        }
        found
    }
}

/// The sum of every number of /proc/net/dev.
fn sum_of_counters(text: &[u8]) -> u64 {
    String::from_utf8_lossy(text)
        .split_ascii_whitespace()
        .filter_map(|word| word.parse::<u64>().ok())
        .fold(0, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::FromRawFd;
    use std::os::unix::fs::FileExt;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn sockets_of_this_namespace_are_counted_and_no_others() {
        let text = |orphan, time_wait| {
            format!(
                "sockets: used 17\nTCP: inuse 2 orphan {orphan} tw {time_wait} alloc 5 mem 9\n\
                 UDP: inuse 3 mem 8\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 4 memory 6\n"
            )
        };
        let read = |orphan, time_wait| Sockets::read(text(orphan, time_wait).as_bytes());
        assert_eq!(read(0, 1).used, 17);
        assert_eq!(read(0, 1).internet, [2, 1, 3, 0, 0, 4, 0, 0]);
        assert_eq!(read(0, 1), read(7, 1));
        assert_ne!(read(0, 1), read(0, 2));
        assert_eq!(Sockets::read(b""), Sockets::default());
    }

    /// A socket in flight is cleared up by the kernel some time later, which a test cannot put off: here
    /// the count of sockets is a file's.
    #[test]
    fn a_socket_that_is_left_shows() {
        let file = || {
            // SAFETY: a name that ends, and a descriptor that is nobody else's.
            unsafe { File::from_raw_fd(libc::memfd_create(c"test".as_ptr(), 0)) }
        };
        let (sockstat, (payload, _other)) = (file(), UnixDatagram::pair().expect("sockets"));
        let used = |n| {
            let text = format!("sockets: used {n}\n");
            sockstat.write_all_at(text.as_bytes(), 0).expect("written");
        };
        used(3);
        let mut proof = Proof {
            main_file: file().into(),
            // Nothing is made in this one while the test runs.
            folders: vec![File::open("/proc").expect("procfs").into()],
            sockstat: Some(sockstat.try_clone().expect("a descriptor").into()),
            interfaces: None,
            payload: payload.as_raw_fd(),
            socket_bytes: 0,
            baseline: State::default(),
        };
        proof.baseline = proof.look().expect("a look");
        assert!(proof.clean());
        used(4);
        assert!(!proof.clean());
        used(3);
        assert!(proof.clean());
    }

    #[test]
    fn one_more_packet_shows() {
        let lo = |packets| {
            format!(
                "Inter-|   Receive |\n face |bytes packets|\n    lo:  0 {packets} 0 0 0 0 0 0 0 0\n"
            )
        };
        assert_eq!(sum_of_counters(lo(0).as_bytes()), 0);
        assert_eq!(sum_of_counters(lo(1).as_bytes()), 1);
    }
}
