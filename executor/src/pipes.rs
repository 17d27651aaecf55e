//! The streams of one run: fresh pipes, fed and drained without ever blocking on the program.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::pipe2;

use crate::capture::Capture;
use crate::cells::Cell;
use crate::sandbox::Cancel;
use crate::{MIB, RunRequest};

/// What a harness may say through its report pipe.
const REPORT_BYTES: u64 = 16 * MIB;
/// One read of a pipe.
const CHUNK: usize = 64 * 1024;

/// Our ends of a run's pipes, and what has come through them.
pub(crate) struct Pipes {
    stdin: Option<File>,
    unwritten: Arc<[u8]>,
    written: usize,
    stdout_pipe: Option<File>,
    stderr_pipe: Option<File>,
    report_pipe: Option<File>,
    pub(crate) stdout: Capture,
    pub(crate) stderr: Capture,
    pub(crate) report: Capture,
}

/// What a wait found.
#[derive(Default)]
pub(crate) struct News {
    pub(crate) control: bool,
    pub(crate) cancelled: bool,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    report: bool,
}

impl Pipes {
    /// Fresh pipes for every run: a shared one would carry flags and bytes from run to run.
    pub(crate) fn new(request: &RunRequest, skipped: usize) -> nix::Result<(Self, Vec<OwnedFd>)> {
        let (stdin_read, stdin_write) = pipe2(OFlag::O_CLOEXEC)?;
        let (stdout_read, stdout_write) = pipe2(OFlag::O_CLOEXEC)?;
        let (stderr_read, stderr_write) = pipe2(OFlag::O_CLOEXEC)?;
        let mut inside = vec![stdin_read, stdout_write, stderr_write];
        let mut report_pipe = None;
        if request.report_pipe {
            let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
            inside.push(write);
            report_pipe = Some(File::from(read));
        }
        for fd in &inside {
            // The run has another user id, and may open /dev/stdin by name.
            fchmod(fd, Mode::from_bits_truncate(0o666))?;
        }
        // A page fits into any new pipe; reading happens only when there is something, or nobody left.
        if request.stdin.len().saturating_sub(skipped) > 4096 {
            set_nonblocking(&stdin_write)?;
        }
        let limits = &request.limits;
        let pipes = Self {
            stdin: Some(stdin_write.into()),
            unwritten: Arc::clone(&request.stdin),
            written: skipped.min(request.stdin.len()),
            stdout_pipe: Some(stdout_read.into()),
            stderr_pipe: Some(stderr_read.into()),
            report_pipe,
            stdout: Capture::head(limits.stdout_bytes),
            stderr: Capture::head_and_tail(limits.stderr_bytes),
            report: Capture::head(REPORT_BYTES),
        };
        Ok((pipes, inside))
    }

    /// Writes as much stdin as fits; closes it at its end, or when nobody reads it any more.
    pub(crate) fn feed(&mut self) {
        use std::io::Write;
        let Some(pipe) = &mut self.stdin else { return };
        loop {
            if self.written == self.unwritten.len() {
                self.stdin = None;
                return;
            }
            match pipe.write(&self.unwritten[self.written..]) {
                Ok(n) => self.written += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.stdin = None;
                    return;
                }
            }
        }
    }

    pub(crate) fn wait(
        &self,
        cell: &Cell,
        cancel: Option<&Cancel>,
        give_up: Instant,
    ) -> nix::Result<News> {
        // In the order of `News`; what is closed is left out.
        let wanted = [
            (Some(cell.control.as_fd()), PollFlags::POLLIN),
            (cancel.map(Cancel::as_fd), PollFlags::POLLIN),
            (self.stdin.as_ref().map(AsFd::as_fd), PollFlags::POLLOUT),
            (
                self.stdout_pipe.as_ref().map(AsFd::as_fd),
                PollFlags::POLLIN,
            ),
            (
                self.stderr_pipe.as_ref().map(AsFd::as_fd),
                PollFlags::POLLIN,
            ),
            (
                self.report_pipe.as_ref().map(AsFd::as_fd),
                PollFlags::POLLIN,
            ),
        ];
        let mut fds: Vec<PollFd> = wanted
            .iter()
            .filter_map(|(fd, events)| Some(PollFd::new((*fd)?, *events)))
            .collect();
        let left = give_up.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(News::default()),
            Err(e) => return Err(e),
        }
        let mut polled = fds.iter();
        let [control, cancelled, stdin, stdout, stderr, report] = wanted
            .map(|(fd, _)| fd.is_some() && polled.next().is_some_and(|p| p.any() == Some(true)));
        Ok(News {
            control,
            cancelled,
            stdin,
            stdout,
            stderr,
            report,
        })
    }

    pub(crate) fn move_bytes(&mut self, news: &News) {
        if news.stdin {
            self.feed();
        }
        // One chunk each: a flood on one must not starve the others or the clock.
        if news.stdout {
            read_some(&mut self.stdout_pipe, &mut self.stdout);
        }
        if news.stderr {
            read_some(&mut self.stderr_pipe, &mut self.stderr);
        }
        if news.report {
            read_some(&mut self.report_pipe, &mut self.report);
        }
    }

    /// Takes what is left in the pipes, without waiting for more. A run that was ended before it fetched
    /// its descriptors has left their other ends in the cell's socket, so no end of file may come.
    pub(crate) fn drain(&mut self) {
        let streams = [
            (&mut self.stdout_pipe, &mut self.stdout),
            (&mut self.stderr_pipe, &mut self.stderr),
            (&mut self.report_pipe, &mut self.report),
        ];
        for (pipe, capture) in streams {
            // If that fails, what it holds is lost with the run.
            if pipe
                .as_ref()
                .is_some_and(|pipe| set_nonblocking(pipe).is_err())
            {
                continue;
            }
            while read_some(pipe, capture) {}
        }
    }
}

thread_local! {
    static BUFFER: std::cell::RefCell<Box<[u8]>> = std::cell::RefCell::new(vec![0; CHUNK].into());
}

/// Reads one chunk; closes the pipe at its end. Says whether there may be more right now: what does
/// not fill the buffer was all.
fn read_some(pipe: &mut Option<File>, capture: &mut Capture) -> bool {
    let Some(file) = pipe else { return false };
    let read = BUFFER.with_borrow_mut(|buffer| {
        let n = file.read(buffer)?;
        capture.push(&buffer[..n]);
        Ok::<_, io::Error>(n)
    });
    match read {
        Ok(0) => {
            *pipe = None;
            false
        }
        Ok(n) => n == CHUNK,
        Err(e) => e.kind() == io::ErrorKind::Interrupted,
    }
}

fn set_nonblocking(fd: &impl AsFd) -> nix::Result<()> {
    nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(drop)
}
