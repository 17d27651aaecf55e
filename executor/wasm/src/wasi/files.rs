//! Calls on descriptors.

use super::abi::{Errno, FileStat, FileType, Times, fdflags, fdstat, fstflags, rights};
use super::memory::Buffer;
use super::tree::{Device, Inode, Kind, ROOT, Tree};
use super::{Call, Done, STEP_FUEL, State, Stop};

/// The descriptor whose path calls start at the root.
pub(crate) const ROOT_FD: u32 = 3;

/// The largest descriptor `fd_renumber` makes.
const MAX_FD: u32 = 1 << 16;

/// A folder's names with what they stand for.
type Listing = Vec<(Vec<u8>, Inode, FileType)>;

/// An open descriptor.
#[derive(Debug)]
pub(crate) enum Open {
    File {
        inode: Inode,
        offset: u64,
        flags: u16,
        readable: bool,
        writable: bool,
    },
    Folder {
        inode: Inode,
        /// As it was when reading it began, so that entries removed meanwhile hide no others.
        listing: Option<Listing>,
    },
    Device(Device),
    Report,
}

/// The table of descriptors.
#[derive(Debug)]
pub(crate) struct Descriptors {
    table: Vec<Option<Open>>,
    open: u32,
    most: u32,
}

impl Descriptors {
    pub(crate) fn new(tree: &mut Tree, stdin: Inode, report: bool, most: u32) -> Self {
        tree.hold(stdin);
        let mut all = Self {
            table: vec![
                Some(Open::File {
                    inode: stdin,
                    offset: 0,
                    flags: 0,
                    readable: true,
                    writable: false,
                }),
                Some(Open::Device(Device::Stdout)),
                Some(Open::Device(Device::Stderr)),
                report.then_some(Open::Report),
            ],
            open: 0,
            most: most.min(MAX_FD),
        };
        all.open = all.table.iter().flatten().count() as u32;
        all
    }

    pub(crate) fn get(&mut self, fd: u32) -> Result<&mut Open, Errno> {
        let open = self.table.get_mut(fd as usize).and_then(Option::as_mut);
        open.ok_or(Errno::BADF)
    }

    /// The lowest free number, as POSIX has it. Folders stay clear of the number whose path calls
    /// mean the root.
    pub(crate) fn add(&mut self, open: Open) -> Result<u32, Errno> {
        if self.open >= self.most {
            return Err(Errno::MFILE);
        }
        let folder = matches!(open, Open::Folder { .. });
        let free = (0..self.table.len())
            .find(|&fd| self.table[fd].is_none() && !(folder && fd == ROOT_FD as usize));
        let fd = match free {
            Some(fd) => {
                self.table[fd] = Some(open);
                fd
            }
            None => {
                self.table.push(Some(open));
                self.table.len() - 1
            }
        };
        self.open += 1;
        Ok(fd as u32)
    }

    fn take(&mut self, fd: u32) -> Result<Open, Errno> {
        let open = self.table.get_mut(fd as usize).and_then(Option::take);
        self.open -= u32::from(open.is_some());
        open.ok_or(Errno::BADF)
    }
}

impl Open {
    pub(crate) fn inode(&self) -> Option<Inode> {
        match self {
            Self::File { inode, .. } | Self::Folder { inode, .. } => Some(*inode),
            Self::Device(_) | Self::Report => None,
        }
    }

    fn file_type(&self) -> FileType {
        match self {
            Self::File { .. } => FileType::RegularFile,
            Self::Folder { .. } => FileType::Directory,
            // Pipes, as natively: no terminal, no line buffering.
            Self::Report | Self::Device(Device::Stdin | Device::Stdout | Device::Stderr) => {
                FileType::Unknown
            }
            Self::Device(_) => FileType::CharacterDevice,
        }
    }
}

impl State {
    /// How many bytes a descriptor has to read.
    pub(crate) fn readiness(&mut self, fd: u32) -> Result<u64, Errno> {
        Ok(match self.descriptors.get(fd)? {
            Open::File { inode, offset, .. } => {
                let size = self.tree.get(*inode).size();
                size.saturating_sub(*offset)
            }
            _ => 1,
        })
    }

    fn close(&mut self, open: &Open) {
        if let Some(inode) = open.inode() {
            self.tree.release(inode);
        }
    }
}

impl Call<'_> {
    fn open(&mut self, fd: u32) -> Result<&mut Open, Errno> {
        self.state.descriptors.get(fd)
    }

    pub(super) fn fd_exists(&mut self, fd: u32) -> Done {
        self.open(fd)?;
        Ok(())
    }

    pub(super) fn no_socket(&mut self, fd: u32) -> Done {
        self.open(fd)?;
        Err(Errno::NOTSOCK.into())
    }

    pub(super) fn fd_close(&mut self, fd: u32) -> Done {
        let open = self.state.descriptors.take(fd)?;
        self.state.close(&open);
        Ok(())
    }

    pub(super) fn fd_renumber(&mut self, from: u32, to: u32) -> Done {
        if to > MAX_FD {
            return Err(Errno::BADF.into());
        }
        self.open(from)?;
        if from == to {
            return Ok(());
        }
        let moved = self.state.descriptors.take(from)?;
        if let Ok(old) = self.state.descriptors.take(to) {
            self.state.close(&old);
        }
        let all = &mut self.state.descriptors;
        while all.table.len() <= to as usize {
            all.table.push(None);
        }
        all.table[to as usize] = Some(moved);
        all.open += 1;
        self.pay_for_bytes(to as usize);
        Ok(())
    }

    pub(super) fn fd_fdstat_get(&mut self, fd: u32, out: u32) -> Done {
        // wasi-libc asks this of the root before each of its path calls.
        let stat = match self.state.descriptors.get(fd) {
            Ok(open) if fd != ROOT_FD => {
                let file_type = open.file_type();
                match open {
                    Open::File {
                        flags,
                        readable,
                        writable,
                        ..
                    } => {
                        let mut granted = rights::ALL & !(rights::FD_READ | rights::FD_WRITE);
                        granted |= u64::from(*readable) * rights::FD_READ;
                        granted |= u64::from(*writable) * rights::FD_WRITE;
                        fdstat(file_type, *flags, granted)
                    }
                    // What cannot seek and is no character device is no terminal either.
                    Open::Device(_) | Open::Report => fdstat(
                        file_type,
                        0,
                        rights::ALL & !(rights::FD_SEEK | rights::FD_TELL),
                    ),
                    Open::Folder { .. } => fdstat(file_type, 0, rights::ALL),
                }
            }
            _ if fd == ROOT_FD => fdstat(FileType::Directory, 0, rights::ALL),
            Ok(_) => unreachable!("the arms above take every open descriptor"),
            Err(errno) => return Err(errno.into()),
        };
        Ok(self.memory.write(out, &stat)?)
    }

    pub(super) fn fd_fdstat_set_flags(&mut self, fd: u32, new: u32) -> Done {
        if let Open::File { flags, .. } = self.open(fd)? {
            *flags = new as u16 & fdflags::ALL;
        }
        Ok(())
    }

    pub(super) fn fd_filestat_get(&mut self, fd: u32, out: u32) -> Done {
        let open = self.open(fd)?;
        let (inode, file_type) = (open.inode(), open.file_type());
        let stat = match inode {
            Some(inode) => self.stat(inode),
            None => FileStat {
                inode: u64::from(fd) + (1 << 32),
                file_type,
                links: 1,
                size: 0,
                times: Times::default(),
            },
        };
        Ok(self.memory.write(out, &stat.encode())?)
    }

    pub(super) fn stat(&self, inode: Inode) -> FileStat {
        let node = self.state.tree.get(inode);
        FileStat {
            inode: u64::from(inode) + 1,
            file_type: node.file_type(),
            links: node.links().max(u64::from(inode == self.state.stdin)),
            size: node.size(),
            times: node.times,
        }
    }

    pub(super) fn fd_filestat_set_size(&mut self, fd: u32, len: u64) -> Done {
        let now = self.now();
        let Open::File {
            inode, writable, ..
        } = *self.open(fd)?
        else {
            return Err(Errno::INVAL.into());
        };
        if !writable {
            return Err(Errno::INVAL.into());
        }
        let moved = self.state.tree.resize(inode, len, now)?;
        self.pay_for_bytes(moved as usize);
        Ok(())
    }

    pub(super) fn fd_allocate(&mut self, fd: u32, offset: u64, len: u64) -> Done {
        let now = self.now();
        let Open::File {
            inode, writable, ..
        } = *self.open(fd)?
        else {
            return Err(Errno::SPIPE.into());
        };
        let end = offset.checked_add(len).ok_or(Errno::FBIG)?;
        if !writable || len == 0 {
            return Err(Errno::INVAL.into());
        }
        if end > self.state.tree.get(inode).size() {
            let moved = self.state.tree.resize(inode, end, now)?;
            self.pay_for_bytes(moved as usize);
        }
        Ok(())
    }

    pub(super) fn fd_filestat_set_times(
        &mut self,
        fd: u32,
        accessed: u64,
        modified: u64,
        which: u32,
    ) -> Done {
        match self.open(fd)?.inode() {
            Some(inode) => self.set_times(inode, accessed, modified, which),
            None => Ok(()),
        }
    }

    pub(super) fn set_times(
        &mut self,
        inode: Inode,
        accessed: u64,
        modified: u64,
        which: u32,
    ) -> Done {
        let now = self.now();
        let which = which as u16;
        let both = |set, now| which & set != 0 && which & now != 0;
        if both(fstflags::ATIM, fstflags::ATIM_NOW) || both(fstflags::MTIM, fstflags::MTIM_NOW) {
            return Err(Errno::INVAL.into());
        }
        let times = &mut self.state.tree.get_mut(inode).times;
        if which & fstflags::ATIM != 0 {
            times.accessed = accessed;
        }
        if which & fstflags::ATIM_NOW != 0 {
            times.accessed = now;
        }
        if which & fstflags::MTIM != 0 {
            times.modified = modified;
        }
        if which & fstflags::MTIM_NOW != 0 {
            times.modified = now;
        }
        times.changed = now;
        Ok(())
    }

    pub(super) fn fd_prestat_get(&mut self, fd: u32, out: u32) -> Done {
        if fd != ROOT_FD {
            return Err(Errno::BADF.into());
        }
        // The tag of a folder, and the length of its name.
        self.memory.write_u32(out, 0)?;
        let out = out.checked_add(4).ok_or(Errno::FAULT)?;
        Ok(self.memory.write_u32(out, 1)?)
    }

    pub(super) fn fd_prestat_dir_name(&mut self, fd: u32, text: u32, len: u32) -> Done {
        if fd != ROOT_FD {
            return Err(Errno::BADF.into());
        }
        if len < 1 {
            return Err(Errno::NAMETOOLONG.into());
        }
        Ok(self.memory.write(text, b"/")?)
    }

    pub(super) fn fd_seek(&mut self, fd: u32, offset: i64, whence: u32, out: u32) -> Done {
        let Open::File {
            inode,
            offset: current,
            ..
        } = *self.open(fd)?
        else {
            return Err(Errno::SPIPE.into());
        };
        let base = match whence {
            0 => 0,
            1 => current,
            2 => self.state.tree.get(inode).size(),
            _ => return Err(Errno::INVAL.into()),
        };
        let to = base.checked_add_signed(offset).ok_or(Errno::INVAL)?;
        if to > i64::MAX as u64 {
            return Err(Errno::OVERFLOW.into());
        }
        if let Open::File { offset, .. } = self.open(fd)? {
            *offset = to;
        }
        Ok(self.memory.write_u64(out, to)?)
    }

    pub(super) fn fd_read(
        &mut self,
        fd: u32,
        buffers: u32,
        count: u32,
        from: Option<u64>,
        out: u32,
    ) -> Done {
        self.memory.buffer(out, 4)?;
        let buffers = self.memory.buffers(buffers, count)?;
        let now = self.now();
        let Call { memory, state } = self;
        let read = match state.descriptors.get(fd)? {
            Open::File {
                inode,
                offset,
                readable,
                ..
            } => {
                if !*readable {
                    return Err(Errno::BADF.into());
                }
                let node = state.tree.get_mut(*inode);
                node.times.accessed = now;
                let Kind::File(content) = &node.kind else {
                    return Err(Errno::INVAL.into());
                };
                let start = from.unwrap_or(*offset);
                let bytes = content.bytes();
                let mut rest = &bytes
                    [usize::try_from(start).map_or(bytes.len(), |start| start.min(bytes.len()))..];
                let mut read = 0;
                for buffer in buffers {
                    let into = memory.get_mut(buffer);
                    let (now, later) = rest.split_at(into.len().min(rest.len()));
                    into[..now.len()].copy_from_slice(now);
                    read += now.len();
                    rest = later;
                }
                if from.is_none() {
                    *offset += read as u64;
                }
                read
            }
            Open::Device(_) | Open::Report if from.is_some() => return Err(Errno::SPIPE.into()),
            Open::Device(Device::Null | Device::Stdin) => 0,
            Open::Device(device @ (Device::Zero | Device::Random)) => {
                let mut read = 0;
                for buffer in buffers {
                    let into = memory.get_mut(buffer);
                    match device {
                        Device::Zero => into.fill(0),
                        _ => state.random.fill(into),
                    }
                    read += into.len();
                }
                state.price += read as u64;
                read
            }
            Open::Device(Device::Stdout | Device::Stderr) | Open::Report => {
                return Err(Errno::BADF.into());
            }
            Open::Folder { .. } => return Err(Errno::ISDIR.into()),
        };
        self.pay_for_bytes(read);
        Ok(self.memory.write_u32(out, read as u32)?)
    }

    pub(super) fn fd_write(
        &mut self,
        fd: u32,
        buffers: u32,
        count: u32,
        at: Option<u64>,
        out: u32,
    ) -> Done {
        self.memory.buffer(out, 4)?;
        let buffers = self.memory.buffers(buffers, count)?;
        let total: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        let now = self.now();
        let Call { memory, state } = self;
        let mut moved = 0;
        let (written, stop) = match state.descriptors.get(fd)? {
            Open::File {
                inode,
                offset,
                flags,
                writable,
                ..
            } => {
                if !*writable {
                    return Err(Errno::BADF.into());
                }
                let start = match at {
                    Some(at) => at,
                    None if *flags & fdflags::APPEND != 0 => state.tree.get(*inode).size(),
                    None => *offset,
                };
                if start > i64::MAX as u64 {
                    return Err(Errno::FBIG.into());
                }
                let (mut room, zeroed) =
                    state
                        .tree
                        .writable_range(*inode, start, total as u64, now)?;
                moved = zeroed as usize;
                let mut written = 0;
                for buffer in buffers {
                    let from = memory.get(buffer);
                    let part = from.len().min(room.len());
                    let (into, later) = room.split_at_mut(part);
                    into.copy_from_slice(&from[..part]);
                    written += part;
                    room = later;
                }
                if at.is_none() {
                    *offset = start + written as u64;
                }
                (written, None)
            }
            Open::Device(_) | Open::Report if at.is_some() => return Err(Errno::SPIPE.into()),
            Open::Device(Device::Stdout) => {
                for buffer in buffers {
                    state.stdout.push(memory.get(buffer));
                }
                let over = state.stdout.total() > state.stdout_cap;
                (total, over.then_some(Stop::Output))
            }
            Open::Device(Device::Stderr) => {
                for buffer in buffers {
                    state.stderr.push(memory.get(buffer));
                }
                (total, None)
            }
            Open::Report => {
                if let Some(report) = &mut state.report {
                    for buffer in buffers {
                        report.push(memory.get(buffer));
                    }
                }
                (total, None)
            }
            Open::Device(Device::Null | Device::Zero | Device::Random) => (total, None),
            Open::Device(Device::Stdin) | Open::Folder { .. } => return Err(Errno::BADF.into()),
        };
        self.pay_for_bytes(written + moved);
        if let Some(stop) = stop {
            return Err(stop.into());
        }
        Ok(self.memory.write_u32(out, written as u32)?)
    }

    pub(super) fn fd_readdir(
        &mut self,
        fd: u32,
        text: u32,
        len: u32,
        cookie: u64,
        out: u32,
    ) -> Done {
        let into: Buffer = self.memory.buffer(text, len)?;
        self.memory.buffer(out, 4)?;
        let Call { memory, state } = self;
        let Open::Folder { inode, listing } = state.descriptors.get(fd)? else {
            return Err(Errno::NOTDIR.into());
        };
        if cookie == 0 || listing.is_none() {
            *listing = Some(state.tree.list(*inode)?);
        }
        let all = listing.as_deref().unwrap_or_default();
        let start = usize::try_from(cookie).map_or(all.len(), |start| start.min(all.len()));
        let into = memory.get_mut(into);
        let mut used = 0;
        for (i, (name, inode, file_type)) in all.iter().enumerate().skip(start) {
            let mut entry = Vec::with_capacity(24 + name.len());
            entry.extend_from_slice(&(i as u64 + 1).to_le_bytes());
            entry.extend_from_slice(&(u64::from(*inode) + 1).to_le_bytes());
            entry.extend_from_slice(&(name.len() as u32).to_le_bytes());
            entry.extend_from_slice(&[*file_type as u8, 0, 0, 0]);
            entry.extend_from_slice(name);
            state.price += STEP_FUEL;
            // An entry that is cut says that the buffer was full.
            let part = entry.len().min(into.len() - used);
            into[used..used + part].copy_from_slice(&entry[..part]);
            used += part;
            if used == into.len() {
                break;
            }
        }
        self.pay_for_bytes(used);
        Ok(self.memory.write_u32(out, used as u32)?)
    }
}

/// Descriptors of calls relative to a folder.
impl Call<'_> {
    /// The folder that path calls on `fd` start in.
    pub(super) fn folder(&mut self, fd: u32) -> Result<Inode, Errno> {
        if fd == ROOT_FD {
            return Ok(ROOT);
        }
        match self.open(fd)? {
            Open::Folder { inode, .. } => Ok(*inode),
            _ => Err(Errno::NOTDIR),
        }
    }
}
