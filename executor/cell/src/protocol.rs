//! What supervisor and cell say to each other. Both sides compile this text.
//!
//! Declaration order is protocol order. Messages are datagrams on `SOCK_SEQPACKET` sockets, so a
//! message is whole or absent. Integers are little-endian; strings and lists carry their length
//! as `u32`. The two sides are always built together, so there is no negotiation: [`VERSION`] only
//! guards against a stale executable.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Changes whenever a message changes.
pub const VERSION: u32 = 4;

/// The cell's end of the control socket.
pub const CONTROL_FD: i32 = 3;
/// The cell's end of the payload socket; only runs read it.
pub const PAYLOAD_FD: i32 = 4;
/// The setup, as a file.
pub const SETUP_FD: i32 = 5;
/// Readable (or, for cgroup v2, with priority data) when the kernel killed for memory.
pub const OOM_FD: i32 = 6;
/// The first of the `cgroup.procs` files to join.
pub const CGROUP_FD: i32 = 7;
/// The library that turns an interpreter into a zygote, as a file.
pub const ZYGOTE_FD: i32 = 10;
/// Where a zygote finds the handle on the next pid.
pub const LAST_PID_FD: i32 = 11;

/// The run's working directory.
pub const WORK_DIR: &str = "/work";
/// The program's file in [`WORK_DIR`].
pub const MAIN_FILE: &str = "main.py";
/// The folders a run can write, all in one scratch tmpfs: (name in it, where it appears).
pub const SCRATCH: [(&str, &str); 4] = [
    ("work", WORK_DIR),
    ("tmp", "/tmp"),
    ("shm", "/dev/shm"),
    ("mnt", "/mnt"),
];
/// User and group id of the run, as it sees itself.
pub const RUN_ID: u32 = 1000;
/// Messages up to this size travel in the datagram; larger payloads in a memory file.
pub const INLINE_PAYLOAD_BYTES: usize = 48 * 1024;

/// Everything a cell needs to know for its whole life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// Own namespaces and root, or none (isolation level `restricted`).
    pub namespaces: bool,
    /// Host ids to map: `None` maps the caller's own id alone, as an ordinary user may.
    pub host_ids: Option<HostIds>,
    /// Read-only parts of the host that stay visible.
    pub binds: Vec<Bind>,
    /// Symbolic links of the root: (path, what it says).
    pub symlinks: Vec<(PathBuf, PathBuf)>,
    /// Small files of the root.
    pub files: Vec<(PathBuf, Vec<u8>)>,
    /// Where the scratch folders live when there is no private root.
    pub scratch_dir: Option<PathBuf>,
    /// Size of the scratch space in bytes.
    pub scratch_bytes: u64,
    /// Files and folders in the scratch space.
    pub scratch_inodes: u64,
    /// Bring the private loopback up.
    pub loopback: bool,
    /// How many `cgroup.procs` files lie at [`CGROUP_FD`] and after.
    pub cgroups: u32,
    /// What lies at [`OOM_FD`].
    pub oom_notice: OomNotice,
    /// Whether a memory cgroup bounds the run; without one, pid 1 watches.
    pub memory_cgroup: bool,
    /// Landlock ABI to use, 0 for none.
    pub landlock_abi: u32,
    /// Processes and threads of the run together.
    pub tasks: u32,
    /// Open descriptors per process.
    pub open_files: u32,
    /// Largest file in bytes.
    pub file_size_bytes: u64,
    /// seccomp programs installed once, in pid 1 (raw `sock_filter` arrays, in order).
    pub filters_once: Vec<Vec<u8>>,
    /// seccomp programs installed in each run, last (in order).
    pub filters_run: Vec<Vec<u8>>,
    /// Pid 1 becomes this interpreter and forks runs from it; `None` starts each run by exec.
    pub zygote: Option<Zygote>,
}

/// How pid 1 becomes a warmed interpreter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zygote {
    /// The interpreter.
    pub program: PathBuf,
    /// Its arguments, `argv[0]` first: those of a run.
    pub argv: Vec<OsString>,
    /// Its environment, that of a run.
    pub env: Vec<OsString>,
    /// What it imports beforehand.
    pub imports: Imports,
    /// A marshalled module that it runs beforehand, whose function `run` is a program.
    pub resident: Option<Vec<u8>>,
}

/// Modules that lie ready for programs that import them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imports {
    /// Of the standard library; what they map is the zygote's own affair.
    pub standard: Vec<String>,
    /// Of packages; what they map is part of a run's limit on both paths.
    pub packages: Vec<String>,
}

/// Host ids of a cell whose creator may map more than its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostIds {
    /// What pid 1 (id 0 inside) is on the host. Never 0.
    pub cell: u32,
    /// What the run ([`RUN_ID`] inside) is on the host. Never 0.
    pub run: u32,
}

/// One host path made visible, read-only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// In the cell.
    pub target: PathBuf,
    /// A device node of the minimal `/dev` (stays usable, unlike on other binds).
    pub device: bool,
}

/// How the kernel tells pid 1 about a memory kill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OomNotice {
    /// Not at all.
    #[default]
    None,
    /// cgroup v1: an eventfd.
    Eventfd,
    /// cgroup v2: `memory.events` polls with priority data.
    EventsFile,
}

/// Why pid 1 could not get a cell ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetupFailure {
    /// The step, in words that complete "… failed".
    pub step: String,
    /// The kernel's error number.
    pub errno: i32,
}

/// First words of a cell: what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// Pid 1 exists; its pid (in the supervisor's namespace) follows, its pidfd is attached.
    Spawned(i32),
    /// Ready for runs; how many bytes of memory are its own.
    Ready(u64),
    /// Not to be had.
    Failed(SetupFailure),
}

/// Supervisor to pid 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Start the run whose payload already lies in the payload socket.
    Run(RunHeader),
    /// End the run now.
    Stop,
}

/// Limits of one run. Pid 1 reads these and nothing else of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunHeader {
    /// Counts up; answers carry it.
    pub run: u64,
    /// Wall limit in nanoseconds.
    pub wall_ns: u64,
    /// CPU limit of all processes together, in nanoseconds.
    pub cpu_ns: u64,
    /// `RLIMIT_AS` of each process, in bytes.
    pub address_space_bytes: u64,
    /// Memory of the whole run, in bytes: what pid 1's watcher compares with.
    pub memory_bytes: u64,
    /// Size of the payload's message, so that the run need not guess.
    pub payload_bytes: u32,
    /// The program is Python source in [`MAIN_FILE`].
    pub script: bool,
    /// Files of the working directory to send back.
    pub collect: Vec<PathBuf>,
}

/// What the run itself reads: the program and how to start it. Descriptors travel beside it:
/// stdin, stdout, stderr, then the report pipe if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// The header's number again.
    pub run: u64,
    /// The executable.
    pub program: PathBuf,
    /// Its arguments, `argv[0]` first.
    pub argv: Vec<OsString>,
    /// Its whole environment, `NAME=value`.
    pub env: Vec<OsString>,
    /// Content of [`MAIN_FILE`], for scripts.
    pub source: Option<Vec<u8>>,
    /// The same, compiled and marshalled; only a zygote's runs read it.
    pub code: Option<Vec<u8>>,
    /// The program is the one that lies ready in the zygote.
    pub resident: bool,
    /// Files for the working directory.
    pub files: Vec<(PathBuf, Vec<u8>)>,
    /// A fourth descriptor, 3 in the run, is attached.
    pub report: bool,
}

/// Pid 1 to supervisor: one collected file, its descriptor attached.
///
/// Sent before [`Ended`], once per file that exists and is regular.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collected {
    /// Index into [`RunHeader::collect`].
    pub index: u32,
}

/// Pid 1 to supervisor: the run is over and nobody of it is left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The header's number.
    pub run: u64,
    /// The run never started: the step of its checklist that failed.
    pub failed_step: Option<SetupFailure>,
    /// The main process's wait status.
    pub status: i32,
    /// Pid 1 ended the run at its wall limit.
    pub wall_limit: bool,
    /// Pid 1 ended the run at its CPU limit.
    pub cpu_limit: bool,
    /// Pid 1's memory watcher ended the run, or the kernel gave notice of a memory kill.
    pub memory_limit: bool,
    /// The supervisor's `Stop` ended the run.
    pub stopped: bool,
    /// Wall time from program start to the end of the main process, in nanoseconds.
    pub wall_ns: u64,
    /// From reading the header to program start, in nanoseconds.
    pub setup_ns: u64,
    /// What the main thread waited for a CPU, in nanoseconds (read at a limit, else 0).
    pub run_delay_ns: u64,
    /// User CPU time of all processes, in microseconds.
    pub user_us: u64,
    /// System CPU time of all processes, in microseconds.
    pub system_us: u64,
    /// Largest resident set of any one process, in KiB.
    pub max_rss_kib: u64,
    /// Processes that outlived the main one and were killed.
    pub leftover: u32,
    /// The cell is not what it was: throw it away.
    pub dirty: bool,
}

/// A message that does not parse. The two sides disagree: the cell is thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Types that cross a socket.
pub trait Wire: Sized {
    /// Appends the encoding.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes a value off the front.
    ///
    /// # Errors
    ///
    /// The bytes are no such value.
    fn take(input: &mut &[u8]) -> Result<Self, Malformed>;

    /// The encoding.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.put(&mut out);
        out
    }

    /// Reads a whole message.
    ///
    /// # Errors
    ///
    /// The bytes are no such value, or more than one.
    fn decode(mut input: &[u8]) -> Result<Self, Malformed> {
        let value = Self::take(&mut input)?;
        if input.is_empty() {
            Ok(value)
        } else {
            Err(Malformed)
        }
    }
}

fn split<'a>(input: &mut &'a [u8], n: usize) -> Result<&'a [u8], Malformed> {
    let (head, tail) = input.split_at_checked(n).ok_or(Malformed)?;
    *input = tail;
    Ok(head)
}

macro_rules! wire_integers {
    ($($t:ty),*) => {$(
        impl Wire for $t {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
                let bytes = split(input, size_of::<$t>())?;
                Ok(<$t>::from_le_bytes(bytes.try_into().map_err(|_| Malformed)?))
            }
        }
    )*};
}
wire_integers!(u32, i32, u64);

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
        match split(input, 1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Malformed),
        }
    }
}

// Byte strings are their own case, not a list of integers: payloads are large.
impl Wire for Vec<u8> {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(self, out);
    }
    fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
        let n = u32::take(input)? as usize;
        Ok(split(input, n)?.to_vec())
    }
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    u32::try_from(bytes.len())
        .expect("messages are bounded far below 4 GiB")
        .put(out);
    out.extend_from_slice(bytes);
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(self.as_bytes(), out);
    }
    fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
        Self::from_utf8(Vec::take(input)?).map_err(|_| Malformed)
    }
}

impl Wire for OsString {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(self.as_bytes(), out);
    }
    fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
        Ok(Self::from_vec(Vec::take(input)?))
    }
}

impl Wire for PathBuf {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(Path::as_os_str(self).as_bytes(), out);
    }
    fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
        Ok(OsString::take(input)?.into())
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
        Ok(if bool::take(input)? {
            Some(T::take(input)?)
        } else {
            None
        })
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
        Ok((A::take(input)?, B::take(input)?))
    }
}

macro_rules! wire_lists {
    ($($t:ty),*) => {$(
        impl Wire for Vec<$t> {
            fn put(&self, out: &mut Vec<u8>) {
                u32::try_from(self.len()).expect("lists are short").put(out);
                for item in self {
                    item.put(out);
                }
            }
            fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
                let n = u32::take(input)?;
                (0..n).map(|_| <$t>::take(input)).collect()
            }
        }
    )*};
}
wire_lists!(
    Vec<u8>,
    String,
    OsString,
    PathBuf,
    Bind,
    (PathBuf, PathBuf),
    (PathBuf, Vec<u8>)
);

macro_rules! wire_structs {
    ($($t:ident { $($field:ident),* $(,)? })*) => {$(
        impl Wire for $t {
            fn put(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)*
            }
            fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
                Ok(Self { $($field: Wire::take(input)?),* })
            }
        }
    )*};
}
wire_structs! {
    HostIds { cell, run }
    Bind { source, target, device }
    Setup {
        namespaces, host_ids, binds, symlinks, files, scratch_dir, scratch_bytes, scratch_inodes,
        loopback, cgroups, oom_notice, memory_cgroup, landlock_abi, tasks, open_files,
        file_size_bytes, filters_once, filters_run, zygote,
    }
    Zygote { program, argv, env, imports, resident }
    Imports { standard, packages }
    SetupFailure { step, errno }
    RunHeader {
        run, wall_ns, cpu_ns, address_space_bytes, memory_bytes, payload_bytes, script, collect,
    }
    Payload { run, program, argv, env, source, code, resident, files, report }
    Collected { index }
    Ended {
        run, failed_step, status, wall_limit, cpu_limit, memory_limit, stopped, wall_ns, setup_ns,
        run_delay_ns, user_us, system_us, max_rss_kib, leftover, dirty,
    }
}

impl Wire for OomNotice {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u32).put(out);
    }
    fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
        [Self::None, Self::Eventfd, Self::EventsFile]
            .into_iter()
            .nth(u32::take(input)? as usize)
            .ok_or(Malformed)
    }
}

macro_rules! wire_enum {
    ($t:ident { $($tag:literal => $variant:ident $(($inner:ty))?),* $(,)? }) => {
        impl Wire for $t {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(wire_enum!(@pattern $t $variant inner $(($inner))?) => {
                        u32::put(&$tag, out);
                        $(<$inner as Wire>::put(inner, out);)?
                    })*
                }
            }
            fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
                match u32::take(input)? {
                    $($tag => Ok(wire_enum!(@value $t $variant input $(($inner))?)),)*
                    _ => Err(Malformed),
                }
            }
        }
    };
    (@pattern $t:ident $variant:ident $inner:ident ($ty:ty)) => { $t::$variant($inner) };
    (@pattern $t:ident $variant:ident $inner:ident) => { $t::$variant };
    (@value $t:ident $variant:ident $input:ident ($ty:ty)) => {
        $t::$variant(<$ty as Wire>::take($input)?)
    };
    (@value $t:ident $variant:ident $input:ident) => { $t::$variant };
}
wire_enum!(Hello { 1 => Spawned(i32), 2 => Ready(u64), 3 => Failed(SetupFailure) });
wire_enum!(Command { 4 => Run(RunHeader), 5 => Stop });

/// Pid 1's answers during and after a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A collected file; its descriptor is attached.
    Collected(Collected),
    /// The run is over.
    Ended(Ended),
}
wire_enum!(Answer { 6 => Collected(Collected), 7 => Ended(Ended) });

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Wire + PartialEq + std::fmt::Debug>(value: T) {
        let bytes = value.encode();
        assert_eq!(T::decode(&bytes).as_ref(), Ok(&value));
        for cut in 0..bytes.len() {
            assert_eq!(T::decode(&bytes[..cut]), Err(Malformed), "cut at {cut}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(T::decode(&longer), Err(Malformed), "a byte too many");
    }

    #[test]
    fn every_message_survives_its_own_encoding() {
        round_trip(Setup {
            namespaces: true,
            host_ids: Some(HostIds {
                cell: 70_000,
                run: 71_000,
            }),
            binds: vec![Bind {
                source: "/a".into(),
                target: "/b c".into(),
                device: true,
            }],
            symlinks: vec![("/bin".into(), "usr/bin".into())],
            files: vec![("/etc/passwd".into(), b"\xff\0".to_vec())],
            scratch_dir: Some("/tmp/x".into()),
            oom_notice: OomNotice::EventsFile,
            filters_once: vec![vec![1; 9], vec![]],
            zygote: Some(Zygote {
                program: "/usr/bin/python3".into(),
                argv: vec!["python3".into(), "main.py".into()],
                ..Zygote::default()
            }),
            ..Setup::default()
        });
        round_trip(Hello::Spawned(-1));
        round_trip(Hello::Failed(SetupFailure {
            step: "mounting".into(),
            errno: 1,
        }));
        round_trip(Command::Run(RunHeader {
            run: 7,
            collect: vec!["out".into()],
            ..Default::default()
        }));
        round_trip(Command::Stop);
        round_trip(Payload {
            source: Some(vec![0, 255]),
            argv: vec!["a".into()],
            ..Default::default()
        });
        round_trip(Answer::Collected(Collected { index: 3 }));
        round_trip(Answer::Ended(Ended {
            failed_step: Some(SetupFailure {
                step: "x".into(),
                errno: 13,
            }),
            status: 9,
            ..Default::default()
        }));
    }

    #[test]
    fn unknown_tags_are_refused() {
        assert_eq!(Command::decode(&[9, 0, 0, 0]), Err(Malformed));
        assert_eq!(Hello::decode(&Command::Stop.encode()), Err(Malformed));
        assert_eq!(bool::decode(&[2]), Err(Malformed));
    }
}
