//! A worker: a process that runs guests one after the other until its supervisor goes.
//!
//! # Theory of operation
//!
//!   supervisor                   worker process
//!     | -- spawn --------------->|  limits, loads the module, threads, filter
//!     |<------- Hello -----------|
//!     | -- Job ----------------->|  runner thread: one guest, on a stack of its own
//!     |<------- Answer ----------|  then the guest's memory is reset
//!     |                          |  watcher thread: ends the process when the socket closes
//!     |                          |  ticker thread (plain mode): moves the epoch on during runs
//!
//! Processes rather than threads: guests' memories are mapped and unmapped all the time, which in
//! one process is serialised by its address space, and a bug that kills the process costs one run.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::confine;
use crate::engine::{Mode, THREAD_STACK_BYTES};
use crate::guest::{Finished, Guests};
use crate::protocol::{self, Hello, Job};
use crate::sandbox::Bundle;

/// How far apart plain mode looks at its limits.
const TICK: Duration = Duration::from_millis(10);
/// No job of ours comes near this.
const MAX_JOB_BYTES: u64 = 8 << 30;

/// The arguments after the executable (and what makes it a worker) that start one.
pub(crate) fn arguments(bundle: &Bundle, mode: Mode) -> [std::ffi::OsString; 4] {
    let image = bundle.image.clone().unwrap_or_default();
    [
        mode.as_str().into(),
        (&bundle.compiled).into(),
        image.into(),
        (&bundle.stdlib).into(),
    ]
}

/// Serves runs on standard input, a socket, until it closes. Never returns; for an executable that
/// was started by [`WasmSandbox`](crate::WasmSandbox) with the arguments that are passed on here.
pub fn main(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> ! {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let served = serve(&arguments);
    std::process::exit(i32::from(served.is_err()))
}

fn serve(arguments: &[std::ffi::OsString]) -> io::Result<()> {
    confine::limit_resources()?;
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let mut socket = UnixStream::from(socket);
    let guests = match load(arguments) {
        Ok(guests) => Arc::new(guests),
        Err(reason) => {
            let hello = Hello {
                failed: Some(reason),
                confined: false,
            };
            return protocol::send(&mut socket, hello, &[]);
        }
    };
    let watched = socket.try_clone()?;
    // A thread's own start makes calls that the filter refuses, and aborts. Each drops its end of
    // this channel when it is past that.
    let (starting, all_started) = mpsc::channel::<()>();
    let watcher_starting = starting.clone();
    thread::Builder::new()
        .name("watcher".into())
        .spawn(move || {
            drop(watcher_starting);
            exit_when_closed(&watched)
        })?;
    let ticker = match guests.mode() {
        Mode::Deterministic => None,
        Mode::Plain => Some(Ticker::start(&guests, starting.clone())?),
    };
    drop(starting);
    let _ = all_started.recv();
    // Everything with a system call of its own is done: threads, files.
    let runner = thread::Builder::new()
        .name("runner".into())
        .stack_size(THREAD_STACK_BYTES)
        .spawn(move || {
            let confined = confine::filter_calls();
            let hello = Hello {
                failed: None,
                confined,
            };
            protocol::send(&mut socket, hello, &[])?;
            while let Some((job, blobs)) = protocol::receive::<Job>(&mut socket, MAX_JOB_BYTES)? {
                let running = ticker.as_ref().map(Ticker::running);
                let Finished {
                    answer,
                    written,
                    store,
                } = guests.run(job, blobs)?;
                drop(running);
                let paths: Vec<_> = written
                    .collected
                    .iter()
                    .map(|(path, _)| path.as_os_str().as_encoded_bytes())
                    .collect();
                let mut out: Vec<&[u8]> = vec![
                    &written.stdout.bytes,
                    &written.stderr.bytes,
                    &written.report,
                ];
                for (path, (_, content)) in paths.iter().zip(&written.collected) {
                    out.extend([*path, content]);
                }
                protocol::send(&mut socket, answer, &out)?;
                drop(store);
            }
            Ok(())
        })?;
    runner
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the runner panicked")))
}

#[allow(unsafe_code)]
fn load(arguments: &[std::ffi::OsString]) -> Result<Guests, String> {
    let [mode, compiled, image, stdlib] = arguments else {
        return Err("a worker is not started by hand".to_owned());
    };
    let mode = Mode::ALL
        .into_iter()
        .find(|known| mode.to_str() == Some(known.as_str()))
        .ok_or("an unknown mode")?;
    let stdlib = match stdlib.is_empty() {
        true => Vec::new(),
        false => fs::read(stdlib)
            .map_err(|e| format!("cannot read {}: {e}", Path::new(stdlib).display()))?,
    };
    let image = Some(Path::new(image)).filter(|image| !image.as_os_str().is_empty());
    // SAFETY: the supervisor names only files of its cache, which is its user's alone (checked by
    // `cache.rs` before), and replaces files there instead of changing them.
    unsafe { Guests::load(Path::new(compiled), image, stdlib.into(), mode) }
        .map_err(|e| format!("the compiled module cannot be loaded: {e:#}"))
}

fn exit_when_closed(socket: &UnixStream) {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLHUP)];
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(n) if n > 0 => std::process::exit(0),
            _ => {}
        }
    }
}

/// Moves the epoch on while a guest runs, and sleeps else.
struct Ticker {
    running: Arc<(Mutex<bool>, Condvar)>,
}

struct Running<'a>(&'a Ticker);

impl Ticker {
    fn start(guests: &Guests, starting: mpsc::Sender<()>) -> io::Result<Self> {
        let running = Arc::new((Mutex::new(false), Condvar::new()));
        let engine = guests.ticker();
        let shared = running.clone();
        thread::Builder::new()
            .name("ticker".into())
            .spawn(move || {
                drop(starting);
                loop {
                    let (running, changed) = &*shared;
                    let running = running.lock().unwrap_or_else(PoisonError::into_inner);
                    drop(changed.wait_while(running, |running| !*running));
                    thread::sleep(TICK);
                    engine.increment_epoch();
                }
            })?;
        Ok(Self { running })
    }

    fn running(&self) -> Running<'_> {
        self.set(true);
        Running(self)
    }

    fn set(&self, now: bool) {
        let (running, changed) = &*self.running;
        *running.lock().unwrap_or_else(PoisonError::into_inner) = now;
        changed.notify_one();
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
