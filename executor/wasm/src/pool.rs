//! Worker processes from the supervisor's side: started when needed, kept while idle, killed when
//! they are no longer of use.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use executor::{Cancel, SandboxError};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use crate::protocol::{self, Answer, Hello, Job};

/// A worker must be ready, and must send an answer it has begun, within this time.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a running worker's CPU time is looked at.
const WATCH: u16 = 1000;

/// How a worker is started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
}

/// Idle workers.
#[derive(Debug)]
pub(crate) struct Pool {
    launch: Launch,
    idle: Mutex<Vec<Worker>>,
}

/// One worker process. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    socket: UnixStream,
    pub(crate) confined: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// The worker is gone or talks nonsense: worth another try.
    Lost(String),
    /// It is not.
    Failed(SandboxError),
}

impl Pool {
    pub(crate) fn new(launch: Launch) -> Self {
        Self {
            launch,
            idle: Mutex::default(),
        }
    }

    /// An idle worker, or a new one.
    pub(crate) fn take(&self) -> Result<Worker, SandboxError> {
        loop {
            let idle = self.idle().pop();
            match idle {
                // One that somebody has killed meanwhile must not count as an attempt of a run.
                Some(mut worker) => {
                    if matches!(worker.child.try_wait(), Ok(None)) {
                        return Ok(worker);
                    }
                }
                None => return Worker::start(&self.launch),
            }
        }
    }

    /// Keeps a worker that has answered for another run.
    pub(crate) fn give_back(&self, worker: Worker) {
        self.idle().push(worker);
    }

    /// The process ids of idle workers.
    pub(crate) fn idle_pids(&self) -> Vec<u32> {
        self.idle().iter().map(|worker| worker.child.id()).collect()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Worker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    fn start(launch: &Launch) -> Result<Self, SandboxError> {
        let failed = |step: &str, source| SandboxError::CellSetup {
            step: step.to_owned(),
            source,
        };
        let (socket, theirs) =
            UnixStream::pair().map_err(|e| failed("making a worker's socket", e))?;
        let child = Command::new(&launch.program)
            .args(&launch.arguments)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| failed("starting a wasm worker", e))?;
        let mut worker = Self {
            child,
            socket,
            confined: false,
        };
        let told = worker
            .socket
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| protocol::receive::<Hello>(&mut worker.socket, 0));
        match told {
            Ok(Some((hello, _))) => match hello.failed {
                None => {
                    worker.confined = hello.confined;
                    Ok(worker)
                }
                Some(reason) => Err(failed("starting a wasm worker", io::Error::other(reason))),
            },
            Ok(None) => {
                let end = worker.end();
                Err(failed("starting a wasm worker", io::Error::other(end)))
            }
            Err(error) => Err(failed("starting a wasm worker", error)),
        }
    }

    /// Makes one run. After an error the worker is of no more use.
    pub(crate) fn run(
        &mut self,
        job: Job,
        blobs: &[&[u8]],
        most_bytes: u64,
        cpu_limit: Duration,
        cancel: Option<&Cancel>,
    ) -> Result<(Answer, Vec<Vec<u8>>), NoAnswer> {
        let begun_cpu = self.cpu_time();
        if let Err(error) = protocol::send(&mut self.socket, job, blobs) {
            return Err(self.lost(&error.to_string()));
        }
        loop {
            let mut fds = vec![PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            fds.extend(cancel.map(|c| PollFd::new(c.as_fd(), PollFlags::POLLIN)));
            let ready = poll(&mut fds, PollTimeout::from(WATCH));
            let thrown = |i: usize| {
                fds.get(i)
                    .and_then(PollFd::any)
                    .is_some_and(|something| something)
            };
            let (answered, cancelled) = (thrown(0), thrown(1));
            match ready {
                Err(nix::errno::Errno::EINTR) => continue,
                Err(errno) => return Err(self.lost(&format!("waiting for it failed: {errno}"))),
                Ok(_) if answered => break,
                Ok(_) if cancelled => return Err(NoAnswer::Failed(SandboxError::Cancelled)),
                Ok(_) => {}
            }
            let used = self.cpu_time().saturating_sub(begun_cpu);
            if used > cpu_limit {
                // Its own limits should have ended it long before.
                return Err(NoAnswer::Lost(format!(
                    "a run was still going on after {} s of its worker's CPU time",
                    used.as_secs()
                )));
            }
        }
        match protocol::receive::<Answer>(&mut self.socket, most_bytes) {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(self.lost("it ended")),
            Err(error) => Err(self.lost(&error.to_string())),
        }
    }

    /// CPU time of the process; zero if it is gone.
    fn cpu_time(&self) -> Duration {
        let Ok(pid) = i32::try_from(self.child.id()) else {
            return Duration::ZERO;
        };
        clock_getcpuclockid(Pid::from_raw(pid))
            .and_then(|clock: ClockId| clock_gettime(clock))
            .map_or(Duration::ZERO, Duration::from)
    }

    fn lost(&mut self, what: &str) -> NoAnswer {
        NoAnswer::Lost(format!("{what}; {}", self.end()))
    }

    /// Ends the process, and says how it ended if it had done so itself.
    fn end(&mut self) -> String {
        // One that has closed its socket is about to be gone.
        for _ in 0..100 {
            match self.child.try_wait() {
                Ok(Some(status)) => return format!("the worker process had ended: {status}"),
                _ => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        let _ = self.child.kill();
        "the worker process was killed".to_owned()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Both fail only if it has been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
