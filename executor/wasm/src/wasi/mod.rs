//! WASI preview1 for untrusted guests: everything in memory, everything counted.
//!
//! # Theory of operation
//!
//! A guest sees one file tree (`tree.rs`), descriptors into it (`files.rs`, `paths.rs`), a clock
//! (`clock.rs`), seeded random bytes, and nothing of the host: no call here makes a system call,
//! but that sleeping in plain mode really sleeps. Standard input is a regular file, standard output
//! and standard error are captured, and descriptor 3 leads two lives: path calls relative to it
//! start at the root, as wasi-libc expects of a preopened folder; reading, writing and closing it
//! meet the harness's report pipe, or nothing.
//!
//! Every call has a price in fuel, for itself and for the bytes it moves, so that what the host
//! does for a guest is bounded by the guest's limit on CPU time too. The price is far above the
//! cost: what fuel buys is bounded even on a slow host.
//!
//! A guest's pointers are checked in `memory.rs`. A guest that hands us a bad one gets an errno.

mod abi;
mod clock;
mod files;
mod memory;
mod paths;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use executor::Limits;
use executor::backend::Capture;
use wasmtime::{Caller, Linker, ResourceLimiter};

use self::abi::{Errno, clocks};
pub(crate) use self::clock::{Clock, FuelClock, RealClock};
use self::files::Descriptors;
use self::memory::Memory;
use self::tree::{Content, Device, Kind, Quota, Tree};

/// The module name of these calls.
const MODULE: &str = "wasi_snapshot_preview1";

/// The price of any call.
const CALL_FUEL: u64 = 1500;
/// The price of a byte moved.
const BYTE_FUEL: u64 = 1;
/// The price of one step of a look-up, or of one entry of a folder.
const STEP_FUEL: u64 = 500;
/// The price of eight random bytes.
const RANDOM_FUEL: u64 = 16;

/// What comes through the report pipe beyond this is dropped, as in the native backend.
const REPORT_BYTES: u64 = 16 << 20;

/// Why a guest does not go on. Travels through wasmtime as an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// It ended itself.
    #[error("exit status {0}")]
    Exit(u8),
    /// It sent itself a signal; the number is Linux's.
    #[error("signal {0}")]
    Signal(i32),
    /// Its fuel is used up (plain mode: its CPU time).
    #[error("out of time")]
    Time,
    /// It slept beyond its limit on wall time.
    #[error("slept too long")]
    Sleep,
    /// Standard output went over its cap.
    #[error("too much output")]
    Output,
}

/// Why a call does not return 0.
enum Fail {
    Errno(Errno),
    Stop(Stop),
}

impl From<Errno> for Fail {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<Stop> for Fail {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

type Done = Result<(), Fail>;

/// Denies memory beyond the limit, and remembers that it did.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// Allowed on top of what the module starts with.
    more_bytes: u64,
    /// What the module started with; the first memory grows from nothing to it.
    start_bytes: Option<u64>,
    pub(crate) denied: bool,
    pub(crate) peak_bytes: u64,
}

impl Limiter {
    fn new(more_bytes: u64) -> Self {
        Self {
            more_bytes,
            start_bytes: None,
            denied: false,
            peak_bytes: 0,
        }
    }
}

/// Ten times the functions of an interpreter. None of ours makes its table grow.
const MOST_TABLE_ELEMENTS: usize = 65_536;

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let desired = desired as u64;
        let start = *self.start_bytes.get_or_insert(desired);
        let within = desired <= start.saturating_add(self.more_bytes)
            && maximum.is_none_or(|most| desired <= most as u64);
        if within {
            self.peak_bytes = self.peak_bytes.max(desired);
        } else {
            self.denied = true;
        }
        Ok(within)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        // Beyond what 32 bits can address: the program wants more than there can be.
        self.denied = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= MOST_TABLE_ELEMENTS && maximum.is_none_or(|most| desired <= most))
    }
}

/// Everything the host holds for one guest.
#[derive(Debug)]
pub struct State {
    memory: Option<wasmtime::Memory>,
    pub(crate) limiter: Limiter,
    pub(crate) clock: Clock,
    args: Vec<Vec<u8>>,
    environ: Vec<Vec<u8>>,
    tree: Tree,
    descriptors: Descriptors,
    stdin: tree::Inode,
    stdout: Capture,
    stdout_cap: u64,
    stderr: Capture,
    report: Option<Capture>,
    random: Random,
    /// Fuel to be charged for the call at hand.
    price: u64,
}

/// A file for a guest to start with.
#[derive(Clone, Debug)]
pub struct GivenFile {
    /// Absolute, or relative to the working directory.
    pub path: PathBuf,
    /// Its bytes.
    pub content: Arc<[u8]>,
}

/// What a guest starts with.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) args: Vec<Vec<u8>>,
    pub(crate) environ: Vec<Vec<u8>>,
    pub(crate) stdin: Arc<[u8]>,
    pub(crate) files: Vec<GivenFile>,
    pub(crate) report: bool,
    pub(crate) limits: &'a Limits,
    pub(crate) clock: Clock,
    pub(crate) seed: u64,
}

/// The working directory of a run.
pub(crate) const WORK: &str = "/work";
/// Folders that a run may write to.
const WRITABLE: [&str; 4] = [WORK, "/tmp", "/mnt", "/dev/shm"];
const DEVICES: [(&str, Device); 7] = [
    ("/dev/null", Device::Null),
    ("/dev/zero", Device::Zero),
    ("/dev/random", Device::Random),
    ("/dev/urandom", Device::Random),
    ("/dev/stdin", Device::Stdin),
    ("/dev/stdout", Device::Stdout),
    ("/dev/stderr", Device::Stderr),
];

impl State {
    /// A guest that is started in order to be frozen: its clock stands still, its random bytes are
    /// always the same, and it has nothing on standard input. `files` are read-only.
    ///
    /// # Errors
    ///
    /// A path cannot be placed.
    pub fn for_snapshot(files: Vec<GivenFile>) -> Result<Self, String> {
        Self::new(Start {
            args: vec![b"main.py".to_vec()],
            environ: Vec::new(),
            stdin: Arc::from(&b""[..]),
            files,
            report: false,
            limits: &Limits::default(),
            clock: Clock::Still,
            seed: 0,
        })
    }

    pub(crate) fn new(start: Start<'_>) -> Result<Self, String> {
        let limits = start.limits;
        let quota = Quota {
            bytes: limits.scratch_bytes,
            inodes: limits.scratch_inodes,
            file_bytes: limits.file_size_bytes,
        };
        let now = start.clock.realtime_ns();
        let mut tree = Tree::new(quota, now);
        let cannot = |path: &Path| format!("{} cannot be placed", path.display());
        for path in WRITABLE {
            tree.place_folder(path.as_bytes(), true)
                .map_err(|_| cannot(Path::new(path)))?;
        }
        for (path, device) in DEVICES {
            tree.place(path.as_bytes(), Kind::Device(device), now)
                .map_err(|_| cannot(Path::new(path)))?;
        }
        for GivenFile { path, content } in start.files {
            let absolute = Path::new(WORK).join(&path);
            let bytes = absolute.as_os_str().as_encoded_bytes();
            tree.place(bytes, Kind::File(Content::Given(content)), now)
                .map_err(|_| cannot(&path))?;
        }
        let stdin = tree.place_nameless(Content::Given(start.stdin), now);
        let descriptors = Descriptors::new(&mut tree, stdin, start.report, limits.open_files);
        Ok(Self {
            memory: None,
            limiter: Limiter::new(limits.memory_bytes),
            clock: start.clock,
            args: start.args,
            environ: start.environ,
            tree,
            descriptors,
            stdin,
            stdout: Capture::head(limits.stdout_bytes),
            stdout_cap: limits.stdout_bytes,
            stderr: Capture::head_and_tail(limits.stderr_bytes),
            report: start.report.then(|| Capture::head(REPORT_BYTES)),
            random: Random(start.seed),
            price: 0,
        })
    }

    /// Names the guest's memory; to be done once it is instantiated, before any call.
    pub fn set_memory(&mut self, memory: wasmtime::Memory) {
        self.memory = Some(memory);
    }

    /// Standard error so far.
    pub fn stderr(self) -> Vec<u8> {
        self.stderr.finish().bytes
    }

    /// What the run has written, and the regular files among `collect` as they are now.
    pub(crate) fn finish(&mut self, collect: &[PathBuf], most_bytes: usize) -> Written {
        let take = |capture: &mut Capture| std::mem::replace(capture, Capture::head(0)).finish();
        let output_limit = self.stdout.total() > self.stdout_cap;
        let mut collected = Vec::new();
        for path in collect {
            let absolute = Path::new(WORK).join(path);
            let bytes = absolute.as_os_str().as_encoded_bytes();
            // Links are not followed, as natively.
            let Ok(found) = self.tree.find(tree::ROOT, bytes, false) else {
                continue;
            };
            let Some(inode) = found.node else { continue };
            if let Kind::File(content) = &self.tree.get(inode).kind {
                let bytes = content.bytes();
                collected.push((path.clone(), bytes[..bytes.len().min(most_bytes)].to_vec()));
            }
        }
        Written {
            stdout: take(&mut self.stdout),
            stderr: take(&mut self.stderr),
            report: self
                .report
                .as_mut()
                .map(|report| take(report).bytes)
                .unwrap_or_default(),
            collected,
            output_limit,
        }
    }
}

/// What a run leaves behind.
pub(crate) struct Written {
    pub(crate) stdout: executor::Captured,
    pub(crate) stderr: executor::Captured,
    pub(crate) report: Vec<u8>,
    pub(crate) collected: Vec<(PathBuf, Vec<u8>)>,
    pub(crate) output_limit: bool,
}

/// SplitMix64: for programs that want to be surprised, not for secrets.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// One call: the guest's memory and the host's state, borrowed apart.
struct Call<'a> {
    memory: Memory<'a>,
    state: &'a mut State,
}

/// Makes one call, and settles its price.
fn call(
    caller: &mut Caller<'_, State>,
    work: impl FnOnce(&mut Call<'_>) -> Done,
) -> wasmtime::Result<i32> {
    let Some(memory) = caller.data().memory else {
        return Err(wasmtime::Error::msg("a call before the memory was named"));
    };
    let metered = matches!(caller.data().clock, Clock::Fuel(_));
    if metered {
        let left = caller.get_fuel()?;
        if let Clock::Fuel(clock) = &mut caller.data_mut().clock {
            clock.sync(left);
        }
    }
    let (bytes, state) = memory.data_and_store_mut(&mut *caller);
    state.price = CALL_FUEL;
    let mut at = Call {
        memory: Memory(bytes),
        state,
    };
    let done = work(&mut at);
    let mut stop = None;
    let errno = match done {
        Ok(()) => 0,
        Err(Fail::Errno(errno)) => i32::from(errno.0),
        Err(Fail::Stop(reason)) => {
            stop = Some(reason);
            0
        }
    };
    state.price += std::mem::take(&mut state.tree.work) * STEP_FUEL;
    if let Clock::Fuel(clock) = &mut state.clock {
        // A call that ends the run is paid for as far as there is fuel.
        let paid = clock.charge(state.price);
        if stop.is_none() {
            stop = paid.err();
        }
        let left = clock.left();
        caller.set_fuel(left)?;
    }
    match stop {
        Some(reason) => Err(wasmtime::Error::new(reason)),
        None => Ok(errno),
    }
}

impl Call<'_> {
    fn pay_for_bytes(&mut self, bytes: usize) {
        self.state.price += bytes as u64 * BYTE_FUEL;
    }

    fn now(&self) -> u64 {
        self.state.clock.realtime_ns()
    }

    fn strings(&mut self, args: bool, pointers: u32, text: u32) -> Done {
        let list = std::mem::take(match args {
            true => &mut self.state.args,
            false => &mut self.state.environ,
        });
        let mut at = text;
        let mut done = Ok(());
        for (i, string) in (0u32..).zip(&list) {
            let pointer = i.checked_mul(4).and_then(|i| pointers.checked_add(i));
            done = pointer
                .ok_or(Errno::FAULT)
                .and_then(|pointer| self.memory.write_u32(pointer, at))
                .and_then(|()| self.memory.write(at, string))
                .and_then(|()| {
                    at = at.checked_add(string.len() as u32).ok_or(Errno::FAULT)?;
                    self.memory.write(at, &[0])?;
                    at = at.checked_add(1).ok_or(Errno::FAULT)?;
                    Ok(())
                });
            if done.is_err() {
                break;
            }
            self.state.price += string.len() as u64 + STEP_FUEL;
        }
        match args {
            true => self.state.args = list,
            false => self.state.environ = list,
        }
        Ok(done?)
    }

    fn string_sizes(&mut self, args: bool, count: u32, bytes: u32) -> Done {
        let list = if args {
            &self.state.args
        } else {
            &self.state.environ
        };
        let size: usize = list.iter().map(|string| string.len() + 1).sum();
        self.memory.write_u32(count, list.len() as u32)?;
        Ok(self.memory.write_u32(bytes, size as u32)?)
    }

    fn clock_time(&mut self, id: u32, out: u32) -> Done {
        let clock = &self.state.clock;
        let now = match id {
            clocks::REALTIME => clock.realtime_ns(),
            clocks::MONOTONIC => clock.monotonic_ns(),
            clocks::PROCESS_CPU | clocks::THREAD_CPU => {
                u64::try_from(clock.cpu_time().as_nanos()).unwrap_or(u64::MAX)
            }
            _ => return Err(Errno::INVAL.into()),
        };
        Ok(self.memory.write_u64(out, now)?)
    }

    fn clock_resolution(&mut self, id: u32, out: u32) -> Done {
        if id > clocks::THREAD_CPU {
            return Err(Errno::INVAL.into());
        }
        Ok(self.memory.write_u64(out, 1)?)
    }

    fn random_get(&mut self, at: u32, len: u32) -> Done {
        let buffer = self.memory.buffer(at, len)?;
        self.state.price += u64::from(len).div_ceil(8) * RANDOM_FUEL;
        self.state.random.fill(self.memory.get_mut(buffer));
        Ok(())
    }

    /// `poll_oneoff`: descriptors are always ready; clocks pass when nothing else is waited for.
    fn poll(&mut self, subscriptions: u32, events: u32, count: u32, out: u32) -> Done {
        const MOST: u32 = 4096;
        if count == 0 || count > MOST {
            return Err(Errno::INVAL.into());
        }
        self.memory.buffer(events, count * 32)?;
        self.memory.buffer(out, 4)?;
        self.state.price += u64::from(count) * STEP_FUEL;
        let mut ready: Vec<[u8; 32]> = Vec::new();
        let mut soonest: Option<Duration> = None;
        let mut waits: Vec<(Duration, [u8; 32])> = Vec::new();
        for i in 0..count {
            let at = subscriptions.checked_add(i * 48).ok_or(Errno::FAULT)?;
            let subscription: [u8; 48] = self.memory.array(at)?;
            let word = |i: usize| {
                u32::from_le_bytes(subscription[i..i + 4].try_into().expect("four bytes"))
            };
            let long = |i: usize| {
                u64::from_le_bytes(subscription[i..i + 8].try_into().expect("eight bytes"))
            };
            let mut event = [0; 32];
            event[..8].copy_from_slice(&subscription[..8]);
            event[10] = subscription[8];
            match subscription[8] {
                0 => {
                    let now = match word(16) {
                        clocks::REALTIME => self.state.clock.realtime_ns(),
                        clocks::MONOTONIC => self.state.clock.monotonic_ns(),
                        _ => return Err(Errno::INVAL.into()),
                    };
                    let absolute = subscription[40] & 1 != 0;
                    let timeout = match absolute {
                        true => long(24).saturating_sub(now),
                        false => long(24),
                    };
                    let timeout = Duration::from_nanos(timeout);
                    soonest = Some(soonest.map_or(timeout, |s| s.min(timeout)));
                    waits.push((timeout, event));
                }
                1 | 2 => {
                    match self.state.readiness(word(16)) {
                        Ok(bytes) => event[16..24].copy_from_slice(&bytes.to_le_bytes()),
                        Err(errno) => event[8..10].copy_from_slice(&errno.0.to_le_bytes()),
                    }
                    ready.push(event);
                }
                _ => return Err(Errno::INVAL.into()),
            }
        }
        if ready.is_empty()
            && let Some(time) = soonest
        {
            self.state.clock.sleep(time)?;
            ready.extend(waits.iter().filter(|(t, _)| *t <= time).map(|(_, e)| *e));
        }
        for (i, event) in (0u32..).zip(&ready) {
            self.memory.write(events + i * 32, event)?;
        }
        Ok(self.memory.write_u32(out, ready.len() as u32)?)
    }

    fn raise(&mut self, signal: u32) -> Done {
        // WASI's numbers are Linux's on x86-64, up to SIGSYS.
        match signal {
            0 => Ok(()),
            1..=30 => Err(Stop::Signal(signal as i32).into()),
            _ => Err(Errno::INVAL.into()),
        }
    }
}

/// Lets `linker` answer every call of WASI preview1.
///
/// # Errors
///
/// The linker has one of them already.
pub fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    // `name(argument: type as the guest passes it, …) => the call's work`.
    macro_rules! calls {
        ($($name:ident($($argument:ident: $type:ty),*) => |$at:ident| $work:expr;)*) => {$(
            linker.func_wrap(
                MODULE,
                stringify!($name),
                |mut caller: Caller<'_, State> $(, $argument: $type)*| -> wasmtime::Result<i32> {
                    $(let _ = $argument;)*
                    call(&mut caller, |$at: &mut Call<'_>| $work)
                },
            )?;
        )*};
    }
    calls! {
        args_get(pointers: u32, text: u32) => |at| at.strings(true, pointers, text);
        args_sizes_get(count: u32, bytes: u32) => |at| at.string_sizes(true, count, bytes);
        environ_get(pointers: u32, text: u32) => |at| at.strings(false, pointers, text);
        environ_sizes_get(count: u32, bytes: u32) => |at| at.string_sizes(false, count, bytes);
        clock_res_get(id: u32, out: u32) => |at| at.clock_resolution(id, out);
        clock_time_get(id: u32, _precision: u64, out: u32) => |at| at.clock_time(id, out);
        fd_advise(fd: u32, _offset: u64, _len: u64, _advice: u32) => |at| at.fd_exists(fd);
        fd_allocate(fd: u32, offset: u64, len: u64) => |at| at.fd_allocate(fd, offset, len);
        fd_close(fd: u32) => |at| at.fd_close(fd);
        fd_datasync(fd: u32) => |at| at.fd_exists(fd);
        fd_fdstat_get(fd: u32, out: u32) => |at| at.fd_fdstat_get(fd, out);
        fd_fdstat_set_flags(fd: u32, flags: u32) => |at| at.fd_fdstat_set_flags(fd, flags);
        fd_fdstat_set_rights(fd: u32, _base: u64, _inheriting: u64) => |at| at.fd_exists(fd);
        fd_filestat_get(fd: u32, out: u32) => |at| at.fd_filestat_get(fd, out);
        fd_filestat_set_size(fd: u32, len: u64) => |at| at.fd_filestat_set_size(fd, len);
        fd_filestat_set_times(fd: u32, accessed: u64, modified: u64, flags: u32)
            => |at| at.fd_filestat_set_times(fd, accessed, modified, flags);
        fd_pread(fd: u32, buffers: u32, count: u32, offset: u64, out: u32)
            => |at| at.fd_read(fd, buffers, count, Some(offset), out);
        fd_prestat_get(fd: u32, out: u32) => |at| at.fd_prestat_get(fd, out);
        fd_prestat_dir_name(fd: u32, text: u32, len: u32)
            => |at| at.fd_prestat_dir_name(fd, text, len);
        fd_pwrite(fd: u32, buffers: u32, count: u32, offset: u64, out: u32)
            => |at| at.fd_write(fd, buffers, count, Some(offset), out);
        fd_read(fd: u32, buffers: u32, count: u32, out: u32)
            => |at| at.fd_read(fd, buffers, count, None, out);
        fd_readdir(fd: u32, text: u32, len: u32, cookie: u64, out: u32)
            => |at| at.fd_readdir(fd, text, len, cookie, out);
        fd_renumber(from: u32, to: u32) => |at| at.fd_renumber(from, to);
        fd_seek(fd: u32, offset: i64, whence: u32, out: u32)
            => |at| at.fd_seek(fd, offset, whence, out);
        fd_sync(fd: u32) => |at| at.fd_exists(fd);
        fd_tell(fd: u32, out: u32) => |at| at.fd_seek(fd, 0, 1, out);
        fd_write(fd: u32, buffers: u32, count: u32, out: u32)
            => |at| at.fd_write(fd, buffers, count, None, out);
        path_create_directory(fd: u32, path: u32, len: u32)
            => |at| at.path_create_directory(fd, path, len);
        path_filestat_get(fd: u32, flags: u32, path: u32, len: u32, out: u32)
            => |at| at.path_filestat_get(fd, flags, path, len, out);
        path_filestat_set_times(
            fd: u32, flags: u32, path: u32, len: u32, accessed: u64, modified: u64, which: u32
        ) => |at| at.path_filestat_set_times(fd, flags, (path, len), accessed, modified, which);
        path_link(fd: u32, flags: u32, path: u32, len: u32, new_fd: u32, new: u32, new_len: u32)
            => |at| at.path_link(fd, flags, (path, len), new_fd, (new, new_len));
        path_open(
            fd: u32, lookup: u32, path: u32, len: u32, how: u32, rights: u64, _inheriting: u64,
            flags: u32, out: u32
        ) => |at| at.path_open(fd, lookup, (path, len), how, rights, flags, out);
        path_readlink(fd: u32, path: u32, len: u32, text: u32, text_len: u32, out: u32)
            => |at| at.path_readlink(fd, (path, len), (text, text_len), out);
        path_remove_directory(fd: u32, path: u32, len: u32)
            => |at| at.path_remove_directory(fd, path, len);
        path_rename(fd: u32, path: u32, len: u32, new_fd: u32, new: u32, new_len: u32)
            => |at| at.path_rename(fd, (path, len), new_fd, (new, new_len));
        path_symlink(target: u32, target_len: u32, fd: u32, path: u32, len: u32)
            => |at| at.path_symlink((target, target_len), fd, (path, len));
        path_unlink_file(fd: u32, path: u32, len: u32) => |at| at.path_unlink_file(fd, path, len);
        poll_oneoff(subscriptions: u32, events: u32, count: u32, out: u32)
            => |at| at.poll(subscriptions, events, count, out);
        proc_raise(signal: u32) => |at| at.raise(signal);
        random_get(text: u32, len: u32) => |at| at.random_get(text, len);
        sched_yield() => |_at| Ok(());
        sock_accept(fd: u32, _flags: u32, _out: u32) => |at| at.no_socket(fd);
        sock_recv(fd: u32, _data: u32, _count: u32, _flags: u32, _len: u32, _out: u32)
            => |at| at.no_socket(fd);
        sock_send(fd: u32, _data: u32, _count: u32, _flags: u32, _out: u32)
            => |at| at.no_socket(fd);
        sock_shutdown(fd: u32, _how: u32) => |at| at.no_socket(fd);
    }
    linker.func_wrap(
        MODULE,
        "proc_exit",
        |mut caller: Caller<'_, State>, status: u32| -> wasmtime::Result<()> {
            // Linux passes the low eight bits on.
            let stop = Stop::Exit((status & 255) as u8);
            call(&mut caller, |_| Err(stop.into())).map(|_| ())
        },
    )?;
    Ok(())
}
