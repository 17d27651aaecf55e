//! Calls on paths.

use super::abi::{Errno, SYMLINK_FOLLOW, fdflags, oflags, rights};
use super::files::Open;
use super::tree::{Device, Found, Inode, Kind};
use super::{Call, Done};

/// A text in the guest's memory: address and length.
type Text = (u32, u32);

impl Call<'_> {
    fn find(&mut self, fd: u32, (path, len): Text, follow: bool) -> Result<Found, Errno> {
        let start = self.folder(fd)?;
        let path = self.memory.bytes(path, len)?;
        // Longer ones are refused unread.
        self.state.price += path.len().min(8192) as u64;
        self.state.tree.find(start, path, follow)
    }

    pub(super) fn path_create_directory(&mut self, fd: u32, path: u32, len: u32) -> Done {
        let place = self.find(fd, (path, len), false)?;
        let now = self.now();
        self.state.tree.make_folder(&place, now)?;
        Ok(())
    }

    pub(super) fn path_filestat_get(
        &mut self,
        fd: u32,
        flags: u32,
        path: u32,
        len: u32,
        out: u32,
    ) -> Done {
        let found = self.find(fd, (path, len), flags & SYMLINK_FOLLOW != 0)?;
        let stat = self.stat(found.existing()?);
        Ok(self.memory.write(out, &stat.encode())?)
    }

    pub(super) fn path_filestat_set_times(
        &mut self,
        fd: u32,
        flags: u32,
        path: Text,
        accessed: u64,
        modified: u64,
        which: u32,
    ) -> Done {
        let found = self.find(fd, path, flags & SYMLINK_FOLLOW != 0)?;
        let inode = found.existing()?;
        if !self.is_writable(&found) {
            return Err(Errno::ROFS.into());
        }
        self.set_times(inode, accessed, modified, which)
    }

    pub(super) fn path_link(
        &mut self,
        fd: u32,
        flags: u32,
        path: Text,
        new_fd: u32,
        new: Text,
    ) -> Done {
        let from = self.find(fd, path, flags & SYMLINK_FOLLOW != 0)?;
        let to = self.find(new_fd, new, false)?;
        let file = from.existing()?;
        if !self.is_writable(&from) {
            return Err(Errno::PERM.into());
        }
        let now = self.now();
        self.state.tree.link(file, &to, now)?;
        Ok(())
    }

    /// Whether what was found lies in a folder that the run may write to.
    fn is_writable(&self, found: &Found) -> bool {
        matches!(
            self.state.tree.get(found.parent).kind,
            Kind::Folder { writable: true, .. }
        )
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn path_open(
        &mut self,
        fd: u32,
        lookup: u32,
        path: Text,
        how: u32,
        wanted: u64,
        flags: u32,
        out: u32,
    ) -> Done {
        self.memory.buffer(out, 4)?;
        let exclusive = how & oflags::CREAT != 0 && how & oflags::EXCL != 0;
        let follow = lookup & SYMLINK_FOLLOW != 0 && !exclusive;
        let found = self.find(fd, path, follow)?;
        let write = wanted & rights::FD_WRITE != 0;
        let read = wanted & rights::FD_READ != 0;
        let now = self.now();
        let inode = match found.node {
            Some(_) if exclusive => return Err(Errno::EXIST.into()),
            Some(inode) => inode,
            None if how & oflags::CREAT != 0 && how & oflags::DIRECTORY == 0 => {
                self.state.tree.make_file(&found, now)?
            }
            None => return Err(Errno::NOENT.into()),
        };
        let open = self.opened(&found, inode, how, (read, write), flags, now)?;
        let held = open.inode();
        if let Some(held) = held {
            self.state.tree.hold(held);
        }
        match self.state.descriptors.add(open) {
            Ok(new) => Ok(self.memory.write_u32(out, new)?),
            Err(errno) => {
                if let Some(held) = held {
                    self.state.tree.release(held);
                }
                Err(errno.into())
            }
        }
    }

    fn opened(
        &mut self,
        found: &Found,
        inode: Inode,
        how: u32,
        (read, write): (bool, bool),
        flags: u32,
        now: u64,
    ) -> Result<Open, Errno> {
        let writable = self.is_writable(found);
        let tree = &mut self.state.tree;
        match tree.get(inode).kind {
            Kind::Link(_) => Err(Errno::LOOP),
            Kind::Folder { .. } if write || how & oflags::TRUNC != 0 => Err(Errno::ISDIR),
            Kind::Folder { .. } => Ok(Open::Folder {
                inode,
                listing: None,
            }),
            _ if how & oflags::DIRECTORY != 0 => Err(Errno::NOTDIR),
            Kind::Device(Device::Stdin) => {
                // Whatever descriptor 0 is by now. Of standard input, what is left: natively it is a pipe.
                match self.state.descriptors.get(0) {
                    Ok(&mut Open::File {
                        inode,
                        offset,
                        readable: true,
                        ..
                    }) => Ok(Open::File {
                        inode,
                        offset: if inode == self.state.stdin { offset } else { 0 },
                        flags: 0,
                        readable: true,
                        writable: false,
                    }),
                    Ok(Open::Device(device)) => Ok(Open::Device(*device)),
                    _ => Err(Errno::NOENT),
                }
            }
            Kind::Device(device) => Ok(Open::Device(device)),
            Kind::File(_) => {
                if (write || how & oflags::TRUNC != 0) && !writable {
                    return Err(Errno::ROFS);
                }
                if how & oflags::TRUNC != 0 {
                    tree.resize(inode, 0, now)?;
                }
                Ok(Open::File {
                    inode,
                    offset: 0,
                    flags: flags as u16 & fdflags::ALL,
                    readable: read || !write,
                    writable: write,
                })
            }
        }
    }

    pub(super) fn path_readlink(&mut self, fd: u32, path: Text, into: Text, out: u32) -> Done {
        let found = self.find(fd, path, false)?;
        let inode = found.existing()?;
        let buffer = self.memory.buffer(into.0, into.1)?;
        let Call { memory, state } = self;
        let Kind::Link(target) = &state.tree.get(inode).kind else {
            return Err(Errno::INVAL.into());
        };
        let part = target.len().min(buffer.len());
        memory.get_mut(buffer)[..part].copy_from_slice(&target[..part]);
        self.pay_for_bytes(part);
        Ok(self.memory.write_u32(out, part as u32)?)
    }

    pub(super) fn path_remove_directory(&mut self, fd: u32, path: u32, len: u32) -> Done {
        let place = self.find(fd, (path, len), false)?;
        let now = self.now();
        self.state.tree.remove_folder(&place, now)?;
        Ok(())
    }

    pub(super) fn path_unlink_file(&mut self, fd: u32, path: u32, len: u32) -> Done {
        let place = self.find(fd, (path, len), false)?;
        let now = self.now();
        self.state.tree.remove_file(&place, now)?;
        Ok(())
    }

    pub(super) fn path_rename(&mut self, fd: u32, path: Text, new_fd: u32, new: Text) -> Done {
        let from = self.find(fd, path, false)?;
        let to = self.find(new_fd, new, false)?;
        let now = self.now();
        self.state.tree.rename(&from, &to, now)?;
        Ok(())
    }

    pub(super) fn path_symlink(&mut self, (target, len): Text, fd: u32, path: Text) -> Done {
        let target = self.memory.bytes(target, len)?;
        self.state.price += target.len().min(8192) as u64;
        if target.len() > 8192 {
            return Err(Errno::NAMETOOLONG.into());
        }
        let target = target.to_vec();
        let place = self.find(fd, path, false)?;
        let now = self.now();
        self.state.tree.make_link(&place, &target, now)?;
        Ok(())
    }
}
