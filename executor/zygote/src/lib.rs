//! Turns a starting Python into a zygote.
//!
//! # Theory of operation
//!
//! ```text
//!  codejury-cell, pid 1            the same process after exec            a run
//!    | builds the root               |                                      |
//!    | exec python main.py --------->| Python starts, as for any program    |
//!    |   (this library preloaded)    | opens main.py: our fopen             |
//!    |                               | huge pages, lock-down                |
//!    |                               | serve.rs: Run{limits} -> fork ------>| run.rs: lock-down of its own,
//!    |                               |                                      | then what python does with main.py
//! ```
//!
//! The zygote is the very command that a cold run is, `python main.py`, stopped at the instant at
//! which it opens its program. So everything that comes before (`sys.argv`, `sys.path`, flags,
//! `sys.modules`, streams, signal dispositions) is not imitated, it is the same; there is no Python
//! frame below the program, and any CPython works, linked statically or not, without its headers:
//! the few functions that are called are looked up by name (`python.rs`).
//!
//! Stopping it takes nothing but a preloaded `fopen`, which is inert in any process that is not
//! started by a cell. The variables that preload it are gone before Python reads the environment.
//!
//! Pid 1 runs no bytecode after it is ready, and never sees a byte of a submission: the payload
//! lies in a socket that only runs read.

#[path = "../../cell/src/child.rs"]
#[allow(dead_code, reason = "shared with the cell, which execs")]
mod child;
#[path = "../../cell/src/proof.rs"]
mod proof;
#[path = "../../cell/src/protocol.rs"]
#[allow(dead_code, missing_docs, unreachable_pub)]
mod protocol;
#[path = "../../cell/src/serve.rs"]
mod serve;
#[path = "../../cell/src/step.rs"]
mod step;
#[path = "../../cell/src/sys/mod.rs"]
#[allow(dead_code, reason = "shared with the cell, which builds the root")]
mod sys;
#[path = "../../cell/src/watch.rs"]
mod watch;

mod ending;
mod imports;
mod memory;
mod python;
mod run;
mod text;

use std::convert::Infallible;
use std::ffi::{CStr, c_char, c_int};
use std::io::Read;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use protocol::{CONTROL_FD, Hello, LAST_PID_FD, MAIN_FILE, PAYLOAD_FD, SETUP_FD, Setup, Wire};
use step::{Step, step};
use sys::Errno;

/// What the cell sets for the loader, and nobody else may see.
const OURS: [&CStr; 2] = [c"LD_PRELOAD=", c"LD_BIND_NOW="];

/// Set in a process that a cell has just started, until it opens its program.
static ARMED: AtomicBool = AtomicBool::new(false);

/// What the forked runs need, set once before the first of them.
pub(crate) struct Ready {
    pub(crate) python: python::Python,
    pub(crate) hidden: imports::Hidden,
    /// What this process maps more than a cold interpreter at the same point, in bytes.
    pub(crate) extra_bytes: u64,
}

pub(crate) static READY: OnceLock<Ready> = OnceLock::new();

/// The loader calls this before the interpreter's `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) = at_load;

extern "C" fn at_load(_: c_int, _: *mut *mut c_char, environment: *mut *mut c_char) {
    // SAFETY: the loader passes the process's own environment, an array of C strings that ends in a
    // null pointer, before any other code can hold a reference into it. The strings lie in the
    // initial block on the stack, which is writable; entries only move towards the front.
    unsafe {
        let (mut from, mut to) = (environment, environment);
        while !(*from).is_null() {
            let ours = OURS.iter().any(|name| {
                let length = name.count_bytes();
                libc::strncmp(*from, name.as_ptr(), length) == 0
            });
            if ours {
                // Forks inherit this block, and /proc/self/environ shows it.
                libc::memset((*from).cast(), 0, libc::strlen(*from));
            } else {
                *to = *from;
                to = to.add(1);
            }
            from = from.add(1);
        }
        *to = std::ptr::null_mut();
    }
    ARMED.store(sys::getpid() == 1, Ordering::Relaxed);
}

type Open = unsafe extern "C" fn(*const c_char, *const c_char) -> *mut libc::FILE;

/// The C library's own functions behind ours: names, and addresses once they are looked up.
static REAL: [(&CStr, AtomicUsize); 2] = [
    (c"fopen", AtomicUsize::new(0)),
    (c"fopen64", AtomicUsize::new(0)),
];

fn real((name, known): &(&CStr, AtomicUsize)) -> Open {
    let mut address = known.load(Ordering::Relaxed);
    if address == 0 {
        // SAFETY: dlsym reads the name; every C library that can load this one has the function.
        address = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) } as usize;
        assert!(address != 0, "the C library has no fopen");
        known.store(address, Ordering::Relaxed);
    }
    // SAFETY: the address is that of a function of exactly this type.
    unsafe { std::mem::transmute::<usize, Open>(address) }
}

/// The C library's `fopen`, but for the one call that opens the program.
///
/// # Safety
///
/// As for `fopen`: two C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fopen(path: *const c_char, mode: *const c_char) -> *mut libc::FILE {
    // SAFETY: the caller passes C strings, as fopen demands.
    unsafe {
        if ARMED.load(Ordering::Relaxed) {
            stop_at_program(path);
        }
        real(&REAL[0])(path, mode)
    }
}

/// The C library's `fopen64`, but for the one call that opens the program.
///
/// # Safety
///
/// As for `fopen`: two C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fopen64(path: *const c_char, mode: *const c_char) -> *mut libc::FILE {
    // SAFETY: the caller passes C strings, as fopen demands.
    unsafe {
        if ARMED.load(Ordering::Relaxed) {
            stop_at_program(path);
        }
        real(&REAL[1])(path, mode)
    }
}

/// Becomes the zygote if `path` is the program: then it does not come back.
unsafe fn stop_at_program(path: *const c_char) {
    if path.is_null() {
        return;
    }
    // SAFETY: not null, and a C string by the caller's word.
    let path = unsafe { CStr::from_ptr(path) };
    let name = path.to_bytes().rsplit(|byte| *byte == b'/').next();
    if name != Some(MAIN_FILE.as_bytes()) {
        return;
    }
    ARMED.store(false, Ordering::Relaxed);
    let control = sys::own(CONTROL_FD);
    let Err(failure) = live(&control, path);
    // The supervisor may be gone; then nobody is left to tell.
    let _ = sys::send(control.as_raw_fd(), &Hello::Failed(failure).encode(), None);
    sys::exit_now(1);
}

fn live(control: &std::os::fd::OwnedFd, path: &CStr) -> Step<Infallible> {
    step(
        "keeping descriptors to this process",
        sys::cloexec_from(CONTROL_FD),
    )?;
    let before = step("reading own memory", memory::Mapped::now())?;
    for function in &REAL {
        real(function); // looked up once, not in every run
    }
    let setup = step("reading the setup", read_setup())?;
    let python = python::Python::find(path)?;
    python.prepare()?;
    let imports = setup.zygote.as_ref().map(|zygote| &zygote.imports);
    let (standard, packages) = imports.map_or((&[][..], &[][..]), |imports| {
        (&imports.standard[..], &imports.packages[..])
    });
    warm_quietly(&python, standard)?;
    text::use_huge_pages();
    step("setting limits", child::set_cell_limits(&setup))?;
    step("setting limits", set_stack())?;
    // Packages come after: a run's limit holds what they map already, on both paths.
    let mut extra_bytes = step("reading own memory", before.grown_since())?;
    warm_quietly(&python, packages)?;
    if let Some(code) = setup
        .zygote
        .as_ref()
        .and_then(|zygote| zygote.resident.as_deref())
    {
        python.load_resident(code)?;
    }
    let before_settling = step("reading own memory", memory::Mapped::now())?;
    let hidden = python.settle()?;
    extra_bytes += step("reading own memory", before_settling.more_by_now())?;
    let threads = sys::thread_count();
    if threads != 1 {
        return step(
            format!("keeping the interpreter to one thread (it has {threads})"),
            Err(libc::EBUSY),
        );
    }
    // Whatever fork needs of the interpreter is held from here on, for all runs.
    python.before_fork();
    let _ = READY.set(Ready {
        python,
        hidden,
        extra_bytes,
    });
    let last_pid = sys::is_open(LAST_PID_FD).then(|| sys::own(LAST_PID_FD));
    serve::serve::<run::Forked>(control, sys::own(PAYLOAD_FD), last_pid, setup)
}

/// Imports beforehand; whatever that writes on standard output or error is a failure: a program that
/// imports the same shows it, and a fork of this process would not.
fn warm_quietly(python: &python::Python, names: &[String]) -> Step<()> {
    if names.is_empty() {
        return Ok(());
    }
    let streams = [1, 2];
    let file = step("making a file", sys::memory_file(c"codejury-said"))?;
    let mut kept = Vec::new();
    for stream in streams {
        kept.push(step("keeping a stream", sys::dup_above(stream, 16))?);
        step("turning a stream", sys::dup2(file.as_raw_fd(), stream))?;
    }
    let done = python.warm(names);
    python.flush();
    for (stream, kept) in streams.into_iter().zip(kept) {
        step("turning a stream back", sys::dup2(kept, stream))?;
        sys::close(kept);
    }
    done?;
    let mut said = [0; 200];
    match step(
        "reading what was said",
        sys::pread(file.as_raw_fd(), &mut said),
    )? {
        0 => Ok(()),
        n => step(
            format!(
                "importing beforehand in silence (it says: {})",
                String::from_utf8_lossy(&said[..n]).trim()
            ),
            Err(libc::ENOEXEC),
        ),
    }
}

fn read_setup() -> Result<Setup, Errno> {
    let mut bytes = Vec::new();
    let mut file = std::fs::File::from(sys::own(SETUP_FD));
    file.read_to_end(&mut bytes)
        .map_err(|e| e.raw_os_error().unwrap_or(libc::EIO))?;
    sys::close(file.into_raw_fd());
    let (version, mut rest) = bytes.split_at_checked(4).ok_or(libc::EPROTO)?;
    if version != protocol::VERSION.to_le_bytes() {
        return Err(libc::EPROTO);
    }
    Setup::take(&mut rest).map_err(|_| libc::EPROTO)
}

/// Libraries have sized thread stacks by now; programs get what a cold run's main thread gets.
fn set_stack() -> Result<(), Errno> {
    let hard = sys::get_rlimit(libc::RLIMIT_STACK)?.rlim_max;
    sys::set_rlimit(libc::RLIMIT_STACK, serve::STACK_BYTES, hard)
}
