//! The files of one run, in memory, with quotas. Knows nothing of descriptors or guests.
//!
//! A node lives as long as a name or an open descriptor refers to it. Folders made by the host are
//! read-only unless said otherwise; what is made in a writable folder is writable.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::abi::{Errno, FileType, Times};

/// A node's number. Not reused while anything refers to it.
pub(crate) type Inode = u32;

/// The root folder's number.
pub(crate) const ROOT: Inode = 0;

/// Links followed in one look-up before it is given up, as Linux does.
const MAX_LINKS: u32 = 40;
const MAX_NAME: usize = 255;
const MAX_PATH: usize = 4096;

/// A file, folder, link or device.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) times: Times,
    /// Names in folders.
    links: u32,
    /// Descriptors.
    opens: u32,
}

/// What a node is.
#[derive(Debug)]
pub(crate) enum Kind {
    File(Content),
    Folder {
        entries: BTreeMap<Vec<u8>, Inode>,
        parent: Inode,
        writable: bool,
    },
    Link(Vec<u8>),
    Device(Device),
}

/// What reading and writing a device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    Null,
    Zero,
    Random,
    Stdin,
    Stdout,
    Stderr,
}

/// A file's bytes.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// Given by the host, and shared between runs. Becomes the run's own when it is written to.
    Given(Arc<[u8]>),
    /// The run's own; counts against its quota.
    Own(Vec<u8>),
}

impl Content {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Given(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }
}

/// What a run's files may amount to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
    pub(crate) file_bytes: u64,
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Vec<Option<Node>>,
    unused: Vec<Inode>,
    quota: Quota,
    used_bytes: u64,
    used_inodes: u64,
    /// Steps of look-ups and entries moved, for whoever charges for them.
    pub(crate) work: u64,
}

/// Where a path leads.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) parent: Inode,
    /// The last component; empty if the path has none of its own (`/`, `.`, `..`).
    pub(crate) name: Vec<u8>,
    pub(crate) node: Option<Inode>,
    /// The path ended with a slash: only a folder will do.
    pub(crate) folder: bool,
}

impl Found {
    /// The node.
    pub(crate) fn existing(&self) -> Result<Inode, Errno> {
        self.node.ok_or(Errno::NOENT)
    }

    /// The place for a new name.
    fn vacant(&self) -> Result<(), Errno> {
        if self.node.is_some() {
            Err(Errno::EXIST)
        } else {
            Ok(())
        }
    }

    /// The name, for calls that change one.
    fn named(&self) -> Result<&[u8], Errno> {
        if self.name.is_empty() {
            return Err(Errno::INVAL);
        }
        Ok(&self.name)
    }
}

impl Tree {
    pub(crate) fn new(quota: Quota, now: u64) -> Self {
        let mut tree = Self {
            nodes: Vec::new(),
            unused: Vec::new(),
            quota,
            used_bytes: 0,
            used_inodes: 0,
            work: 0,
        };
        let root = tree.add(folder(ROOT, false), now);
        debug_assert_eq!(root, ROOT);
        tree.get_mut(ROOT).links = 1;
        tree
    }

    pub(crate) fn get(&self, inode: Inode) -> &Node {
        let node = self.nodes.get(inode as usize).and_then(Option::as_ref);
        node.expect("what is referred to is kept")
    }

    pub(crate) fn get_mut(&mut self, inode: Inode) -> &mut Node {
        let node = self.nodes.get_mut(inode as usize).and_then(Option::as_mut);
        node.expect("what is referred to is kept")
    }

    fn add(&mut self, kind: Kind, now: u64) -> Inode {
        let node = Some(Node {
            kind,
            times: Times {
                accessed: now,
                modified: now,
                changed: now,
            },
            links: 0,
            opens: 0,
        });
        match self.unused.pop() {
            Some(inode) => {
                self.nodes[inode as usize] = node;
                inode
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as Inode
            }
        }
    }

    fn entries(&self, inode: Inode) -> Result<&BTreeMap<Vec<u8>, Inode>, Errno> {
        match &self.get(inode).kind {
            Kind::Folder { entries, .. } => Ok(entries),
            _ => Err(Errno::NOTDIR),
        }
    }

    /// The entries of a folder that names may be added to and taken from.
    fn writable(&mut self, inode: Inode, now: u64) -> Result<&mut BTreeMap<Vec<u8>, Inode>, Errno> {
        let node = self.get_mut(inode);
        match &mut node.kind {
            Kind::Folder {
                writable: false, ..
            } => Err(Errno::ROFS),
            Kind::Folder { entries, .. } => {
                node.times.modified = now;
                node.times.changed = now;
                Ok(entries)
            }
            _ => Err(Errno::NOTDIR),
        }
    }

    // The host's side: placing what a run starts with.

    /// Makes a folder and those above it.
    pub(crate) fn place_folder(&mut self, path: &[u8], writable: bool) -> Result<Inode, Errno> {
        let mut at = ROOT;
        for name in components(path) {
            at = match self.entries(at)?.get(name) {
                Some(&inode) => inode,
                None => {
                    let inode = self.add(folder(at, writable), 0);
                    self.enter(at, name, inode)?;
                    inode
                }
            };
        }
        if let Kind::Folder { writable: own, .. } = &mut self.get_mut(at).kind {
            *own |= writable;
        }
        Ok(at)
    }

    /// Places a file or a device; folders above it that are missing are made like the one they are
    /// in.
    pub(crate) fn place(&mut self, path: &[u8], kind: Kind, now: u64) -> Result<Inode, Errno> {
        let end = path.iter().rposition(|&byte| byte == b'/');
        let (above, name) = end.map_or((&b""[..], path), |end| (&path[..end], &path[end + 1..]));
        if name.is_empty() || name == b"." || name == b".." {
            return Err(Errno::INVAL);
        }
        let mut at = ROOT;
        for name in components(above) {
            let Kind::Folder { writable, .. } = self.get(at).kind else {
                return Err(Errno::NOTDIR);
            };
            at = match self.entries(at)?.get(name) {
                Some(&inode) => inode,
                None => {
                    let inode = self.add(folder(at, writable), now);
                    self.enter(at, name, inode)?;
                    inode
                }
            };
        }
        if let Some(&old) = self.entries(at)?.get(name) {
            self.leave(at, name, old)?;
        }
        let inode = self.add(kind, now);
        self.enter(at, name, inode)?;
        Ok(inode)
    }

    /// A file without a name; the caller holds it open.
    pub(crate) fn place_nameless(&mut self, content: Content, now: u64) -> Inode {
        self.add(Kind::File(content), now)
    }

    fn enter(&mut self, parent: Inode, name: &[u8], inode: Inode) -> Result<(), Errno> {
        match &mut self.get_mut(parent).kind {
            Kind::Folder { entries, .. } => entries.insert(name.to_vec(), inode),
            _ => return Err(Errno::NOTDIR),
        };
        self.get_mut(inode).links += 1;
        Ok(())
    }

    fn leave(&mut self, parent: Inode, name: &[u8], inode: Inode) -> Result<(), Errno> {
        match &mut self.get_mut(parent).kind {
            Kind::Folder { entries, .. } => entries.remove(name),
            _ => return Err(Errno::NOTDIR),
        };
        let node = self.get_mut(inode);
        node.links -= 1;
        if let Kind::Folder { parent, .. } = &mut node.kind
            && node.links == 0
        {
            // A descriptor may still hold it, and what was above it may go next.
            *parent = ROOT;
        }
        self.forget_if_unused(inode);
        Ok(())
    }

    // Descriptors.

    /// Notes that a descriptor refers to the node.
    pub(crate) fn hold(&mut self, inode: Inode) {
        self.get_mut(inode).opens += 1;
    }

    /// Notes that one does no longer.
    pub(crate) fn release(&mut self, inode: Inode) {
        self.get_mut(inode).opens -= 1;
        self.forget_if_unused(inode);
    }

    fn forget_if_unused(&mut self, inode: Inode) {
        let node = self.get(inode);
        if node.links > 0 || node.opens > 0 {
            return;
        }
        let bytes = own_bytes(&node.kind);
        self.used_bytes -= bytes;
        self.used_inodes = self.used_inodes.saturating_sub(1);
        self.nodes[inode as usize] = None;
        self.unused.push(inode);
    }

    // Looking up.

    /// Follows `path` from the folder `start`; absolute paths and links start at the root, above
    /// which nothing leads.
    pub(crate) fn find(
        &mut self,
        start: Inode,
        path: &[u8],
        follow_last: bool,
    ) -> Result<Found, Errno> {
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        if path.len() > MAX_PATH {
            return Err(Errno::NAMETOOLONG);
        }
        if path.contains(&0) {
            return Err(Errno::INVAL);
        }
        let mut at = if path[0] == b'/' { ROOT } else { start };
        // What is still to be walked, the next component last.
        let mut ahead: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
        self.work += 1 + ahead.len() as u64;
        let mut folder = path.ends_with(b"/") || path.ends_with(b"/.");
        let mut followed = 0;
        self.entries(at)?;
        while let Some(name) = ahead.pop() {
            let entries = self.entries(at)?;
            if name.len() > MAX_NAME {
                return Err(Errno::NAMETOOLONG);
            }
            let last = ahead.is_empty();
            if name == b".." {
                if let Kind::Folder { parent, .. } = self.get(at).kind {
                    at = parent;
                }
                continue;
            }
            let Some(&inode) = entries.get(&name) else {
                if !last {
                    return Err(Errno::NOENT);
                }
                return Ok(Found {
                    parent: at,
                    name,
                    node: None,
                    folder,
                });
            };
            if let Kind::Link(target) = &self.get(inode).kind
                && (!last || follow_last || folder)
            {
                followed += 1;
                if followed > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = target.clone();
                if target.first() == Some(&b'/') {
                    at = ROOT;
                }
                folder |= last && target.ends_with(b"/");
                let before = ahead.len();
                ahead.extend(components(&target).rev().map(<[u8]>::to_vec));
                self.work += 1 + (ahead.len() - before) as u64;
                continue;
            }
            if !last {
                at = inode;
                continue;
            }
            if folder {
                self.entries(inode)?;
            }
            return Ok(Found {
                parent: at,
                name,
                node: Some(inode),
                folder,
            });
        }
        Ok(Found {
            parent: at,
            name: Vec::new(),
            node: Some(at),
            folder: true,
        })
    }

    // Changing.

    fn may_add(&self) -> Result<(), Errno> {
        if self.used_inodes >= self.quota.inodes {
            return Err(Errno::NOSPC);
        }
        Ok(())
    }

    fn make(&mut self, place: &Found, kind: Kind, now: u64) -> Result<Inode, Errno> {
        place.vacant()?;
        let name = place.named()?.to_vec();
        self.may_add()?;
        let bytes = own_bytes(&kind);
        if self.used_bytes + bytes > self.quota.bytes {
            return Err(Errno::NOSPC);
        }
        // A folder that was removed while it was open takes no new names.
        if self.get(place.parent).links == 0 {
            return Err(Errno::NOENT);
        }
        self.writable(place.parent, now)?;
        let inode = self.add(kind, now);
        self.used_inodes += 1;
        self.used_bytes += bytes;
        self.enter(place.parent, &name, inode)?;
        Ok(inode)
    }

    pub(crate) fn make_file(&mut self, place: &Found, now: u64) -> Result<Inode, Errno> {
        if place.folder {
            return Err(Errno::ISDIR);
        }
        self.make(place, Kind::File(Content::Own(Vec::new())), now)
    }

    pub(crate) fn make_folder(&mut self, place: &Found, now: u64) -> Result<Inode, Errno> {
        self.make(place, folder(place.parent, true), now)
    }

    pub(crate) fn make_link(
        &mut self,
        place: &Found,
        target: &[u8],
        now: u64,
    ) -> Result<Inode, Errno> {
        if target.is_empty() || place.folder {
            return Err(Errno::NOENT);
        }
        if target.len() > MAX_PATH || target.contains(&0) {
            return Err(Errno::NAMETOOLONG);
        }
        self.make(place, Kind::Link(target.to_vec()), now)
    }

    /// Gives a file one more name.
    pub(crate) fn link(&mut self, file: Inode, place: &Found, now: u64) -> Result<(), Errno> {
        place.vacant()?;
        let name = place.named()?.to_vec();
        if matches!(
            self.get(file).kind,
            Kind::Folder { .. } | Kind::Device { .. }
        ) {
            return Err(Errno::PERM);
        }
        if self.get(file).links == 0 || place.folder {
            return Err(Errno::NOENT);
        }
        // Each name takes memory of its own.
        self.may_add()?;
        self.writable(place.parent, now)?;
        self.enter(place.parent, &name, file)?;
        self.get_mut(file).times.changed = now;
        Ok(())
    }

    pub(crate) fn remove_file(&mut self, place: &Found, now: u64) -> Result<(), Errno> {
        let inode = place.existing()?;
        if matches!(self.get(inode).kind, Kind::Folder { .. }) {
            return Err(Errno::ISDIR);
        }
        let name = place.named()?.to_vec();
        self.writable(place.parent, now)?;
        self.get_mut(inode).times.changed = now;
        self.leave(place.parent, &name, inode)
    }

    pub(crate) fn remove_folder(&mut self, place: &Found, now: u64) -> Result<(), Errno> {
        let inode = place.existing()?;
        if !self.entries(inode)?.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        let name = place.named()?.to_vec();
        self.writable(place.parent, now)?;
        self.leave(place.parent, &name, inode)
    }

    /// Renames a file, link or folder; what had the new name goes, as POSIX has it.
    pub(crate) fn rename(&mut self, from: &Found, to: &Found, now: u64) -> Result<(), Errno> {
        let inode = from.existing()?;
        let (old_name, new_name) = (from.named()?.to_vec(), to.named()?.to_vec());
        let is_folder = matches!(self.get(inode).kind, Kind::Folder { .. });
        if !is_folder && (to.folder || from.folder) {
            return Err(Errno::NOTDIR);
        }
        if is_folder && self.is_within(to.parent, inode) {
            return Err(Errno::INVAL);
        }
        if self.get(to.parent).links == 0 {
            return Err(Errno::NOENT);
        }
        self.writable(from.parent, now)?;
        self.writable(to.parent, now)?;
        if let Some(target) = to.node {
            if target == inode {
                return Ok(());
            }
            match (&self.get(target).kind, is_folder) {
                (Kind::Folder { entries, .. }, true) if !entries.is_empty() => {
                    return Err(Errno::NOTEMPTY);
                }
                (Kind::Folder { .. }, false) => return Err(Errno::ISDIR),
                (Kind::Folder { .. }, true) => {}
                (_, true) => return Err(Errno::NOTDIR),
                (_, false) => {}
            }
            self.leave(to.parent, &new_name, target)?;
        }
        self.enter(to.parent, &new_name, inode)?;
        self.leave(from.parent, &old_name, inode)?;
        let node = self.get_mut(inode);
        node.times.changed = now;
        if let Kind::Folder { parent, .. } = &mut node.kind {
            *parent = to.parent;
        }
        Ok(())
    }

    /// Whether `inode` is `folder` or lies below it.
    fn is_within(&mut self, mut inode: Inode, folder: Inode) -> bool {
        loop {
            self.work += 1;
            if inode == folder {
                return true;
            }
            match self.get(inode).kind {
                Kind::Folder { parent, .. } if parent != inode => inode = parent,
                _ => return false,
            }
        }
    }

    // Files' bytes.

    /// Sets a file's length; what is new reads as zeros. Returns how many bytes were moved.
    pub(crate) fn resize(&mut self, inode: Inode, len: u64, now: u64) -> Result<u64, Errno> {
        if len > self.quota.file_bytes {
            return Err(Errno::FBIG);
        }
        let room = self.quota.bytes - self.used_bytes;
        let node = self.get_mut(inode);
        let Kind::File(content) = &mut node.kind else {
            return Err(Errno::INVAL);
        };
        let counted = match content {
            Content::Given(_) => 0,
            Content::Own(bytes) => bytes.len() as u64,
        };
        if len.saturating_sub(counted) > room {
            return Err(Errno::NOSPC);
        }
        let len = usize::try_from(len).map_err(|_| Errno::FBIG)?;
        let mut moved = 0;
        if let Content::Given(bytes) = content {
            let kept = &bytes[..bytes.len().min(len)];
            moved += kept.len() as u64;
            *content = Content::Own(kept.to_vec());
        }
        let Content::Own(bytes) = content else {
            unreachable!("it was made the run's own")
        };
        if len > bytes.len() {
            moved += (len - bytes.len()) as u64;
            bytes
                .try_reserve(len - bytes.len())
                .map_err(|_| Errno::NOSPC)?;
        }
        bytes.resize(len, 0);
        // A file that was cut keeps no memory that its quota no longer counts.
        if bytes.capacity() > 4096 && bytes.capacity() / 4 > bytes.len() {
            bytes.shrink_to(bytes.len() * 2);
        }
        node.times.modified = now;
        node.times.changed = now;
        self.used_bytes = self.used_bytes - counted + len as u64;
        Ok(moved)
    }

    /// Makes room for writing `len` bytes at `offset`. Returns the place, which may be shorter where
    /// a limit cuts it, and how many bytes were moved besides.
    pub(crate) fn writable_range(
        &mut self,
        inode: Inode,
        offset: u64,
        len: u64,
        now: u64,
    ) -> Result<(&mut [u8], u64), Errno> {
        let limit = self.quota.file_bytes;
        if offset >= limit && len > 0 {
            return Err(Errno::FBIG);
        }
        let Kind::File(content) = &self.get(inode).kind else {
            return Err(Errno::INVAL);
        };
        let have = content.bytes().len() as u64;
        let given = match content {
            Content::Given(_) => have,
            Content::Own(_) => 0,
        };
        let room = (self.quota.bytes - self.used_bytes).saturating_sub(given);
        let end = (offset + len).min(limit).min(have.saturating_add(room));
        if end <= offset && len > 0 {
            return Err(Errno::NOSPC);
        }
        let moved = if end > have || given > 0 {
            self.resize(inode, end.max(have), now)?
        } else {
            0
        };
        let node = self.get_mut(inode);
        node.times.modified = now;
        node.times.changed = now;
        match &mut node.kind {
            Kind::File(Content::Own(bytes)) => {
                let (start, end) = (offset as usize, end as usize);
                Ok((&mut bytes[start.min(end)..end], moved))
            }
            _ => Ok((&mut [], moved)),
        }
    }

    /// A folder's names with what they stand for, `.` and `..` first.
    pub(crate) fn list(&mut self, inode: Inode) -> Result<Vec<(Vec<u8>, Inode, FileType)>, Errno> {
        let Kind::Folder { parent, .. } = self.get(inode).kind else {
            return Err(Errno::NOTDIR);
        };
        let mut all = vec![
            (b".".to_vec(), inode, FileType::Directory),
            (b"..".to_vec(), parent, FileType::Directory),
        ];
        for (name, &child) in self.entries(inode)? {
            all.push((name.clone(), child, self.get(child).file_type()));
        }
        self.work += all.len() as u64;
        Ok(all)
    }
}

impl Node {
    pub(crate) fn file_type(&self) -> FileType {
        match &self.kind {
            Kind::File(_) => FileType::RegularFile,
            Kind::Folder { .. } => FileType::Directory,
            Kind::Link(_) => FileType::SymbolicLink,
            Kind::Device(_) => FileType::CharacterDevice,
        }
    }

    pub(crate) fn size(&self) -> u64 {
        match &self.kind {
            Kind::File(content) => content.bytes().len() as u64,
            Kind::Link(target) => target.len() as u64,
            Kind::Folder { .. } | Kind::Device(_) => 0,
        }
    }

    pub(crate) fn links(&self) -> u64 {
        u64::from(self.links)
    }
}

fn folder(parent: Inode, writable: bool) -> Kind {
    Kind::Folder {
        entries: BTreeMap::new(),
        parent,
        writable,
    }
}

fn own_bytes(kind: &Kind) -> u64 {
    match kind {
        Kind::File(Content::Own(bytes)) => bytes.len() as u64,
        Kind::Link(target) => target.len() as u64,
        _ => 0,
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
}
