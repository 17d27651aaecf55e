//! Numbers and layouts of WASI preview1 (`wasi_snapshot_preview1`).

/// An error number of WASI, never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) u16);

macro_rules! errnos {
    ($($name:ident = $number:literal;)*) => {
        impl Errno { $(pub(crate) const $name: Self = Self($number);)* }
    };
}

errnos! {
    BADF = 8;
    EXIST = 20;
    FAULT = 21;
    FBIG = 22;
    INVAL = 28;
    ISDIR = 31;
    LOOP = 32;
    MFILE = 33;
    NAMETOOLONG = 37;
    NOENT = 44;
    NOSPC = 51;
    NOTDIR = 54;
    NOTEMPTY = 55;
    NOTSOCK = 57;
    OVERFLOW = 61;
    PERM = 63;
    ROFS = 69;
    SPIPE = 70;
}

/// What kind of thing a descriptor or a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FileType {
    /// A pipe, for which WASI has no word.
    Unknown = 0,
    CharacterDevice = 2,
    Directory = 3,
    RegularFile = 4,
    SymbolicLink = 7,
}

/// Flags of `path_open`.
pub(crate) mod oflags {
    pub(crate) const CREAT: u32 = 1;
    pub(crate) const DIRECTORY: u32 = 2;
    pub(crate) const EXCL: u32 = 4;
    pub(crate) const TRUNC: u32 = 8;
}

/// Flags of an open descriptor.
pub(crate) mod fdflags {
    pub(crate) const APPEND: u16 = 1;
    pub(crate) const ALL: u16 = 31;
}

/// Rights of a descriptor. Only the ones that tell reading from writing mean anything here.
pub(crate) mod rights {
    pub(crate) const FD_READ: u64 = 1 << 1;
    pub(crate) const FD_SEEK: u64 = 1 << 2;
    pub(crate) const FD_TELL: u64 = 1 << 5;
    pub(crate) const FD_WRITE: u64 = 1 << 6;
    pub(crate) const ALL: u64 = (1 << 30) - 1;
}

/// Which times `…_set_times` changes.
pub(crate) mod fstflags {
    pub(crate) const ATIM: u16 = 1;
    pub(crate) const ATIM_NOW: u16 = 2;
    pub(crate) const MTIM: u16 = 4;
    pub(crate) const MTIM_NOW: u16 = 8;
}

/// The flag of path calls that follows a link in the last place.
pub(crate) const SYMLINK_FOLLOW: u32 = 1;

/// Clocks.
pub(crate) mod clocks {
    pub(crate) const REALTIME: u32 = 0;
    pub(crate) const MONOTONIC: u32 = 1;
    pub(crate) const PROCESS_CPU: u32 = 2;
    pub(crate) const THREAD_CPU: u32 = 3;
}

/// `filestat`, 64 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileStat {
    pub(crate) inode: u64,
    pub(crate) file_type: FileType,
    pub(crate) links: u64,
    pub(crate) size: u64,
    pub(crate) times: Times,
}

/// Access, change and status-change times in nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) accessed: u64,
    pub(crate) modified: u64,
    pub(crate) changed: u64,
}

impl FileStat {
    pub(crate) fn encode(&self) -> [u8; 64] {
        let mut out = [0; 64];
        // The device number: all of it is one file system.
        out[0..8].copy_from_slice(&1u64.to_le_bytes());
        out[8..16].copy_from_slice(&self.inode.to_le_bytes());
        out[16] = self.file_type as u8;
        out[24..32].copy_from_slice(&self.links.to_le_bytes());
        out[32..40].copy_from_slice(&self.size.to_le_bytes());
        out[40..48].copy_from_slice(&self.times.accessed.to_le_bytes());
        out[48..56].copy_from_slice(&self.times.modified.to_le_bytes());
        out[56..64].copy_from_slice(&self.times.changed.to_le_bytes());
        out
    }
}

/// `fdstat`, 24 bytes.
pub(crate) fn fdstat(file_type: FileType, flags: u16, rights: u64) -> [u8; 24] {
    let mut out = [0; 24];
    out[0] = file_type as u8;
    out[2..4].copy_from_slice(&flags.to_le_bytes());
    out[8..16].copy_from_slice(&rights.to_le_bytes());
    out[16..24].copy_from_slice(&self::rights::ALL.to_le_bytes());
    out
}
