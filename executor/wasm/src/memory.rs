//! The memory of guests: one place in a worker's address space, which one guest after the other has.
//!
//! # Theory of operation
//!
//!   guard | zeros, the snapshot's image mapped copy-on-write, zeros | what a guest may grow into | guard
//!
//! A page that a guest writes to becomes its own, at the price of a fault and a copy. CPython writes to some 150
//! pages in a hundred places for a program of one line (numbers of references, above all), and the next
//! program to nearly the same. So after a run the kernel is asked which pages are the guest's own, and what
//! the snapshot has there is copied over them: they stay, and cost the next guest nothing. Long stretches, which
//! are data rather than habit, are given back to the kernel; so is everything once too many pages have come
//! together, and always where the kernel cannot be asked (before Linux 6.7, without procfs).
//!
//! Either way a guest finds the snapshot and zeros, byte for byte, and nothing of the guest before.
//!
//! wasmtime's own pool does the same for the first 32 stretches and gives everything behind these back.

// Mappings, and memory that wasmtime wants to have by its address.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use nix::unistd::{SysconfVar, sysconf};
use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

use crate::image::{HEADER_BYTES, Image};

/// All that 32 bits can address; compiled code relies on it.
pub(crate) const RESERVED_BYTES: usize = 4 << 30;
/// On both sides; compiled code relies on it.
pub(crate) const GUARD_BYTES: usize = 32 << 20;
/// A stretch of written pages that is longer is given back rather than copied over.
const LONG_PAGES: usize = 32;
/// With more written pages than these, everything is given back.
const MOST_PAGES: usize = 512;
/// How many stretches the kernel is asked for at once.
const STRETCHES: usize = 256;

/// Where the guests of a process have their memory. Makes one memory at a time.
pub(crate) struct Place {
    /// The first byte of guests' memory.
    base: *mut u8,
    image: Option<Mapped>,
    pages: Option<Pages>,
    /// How many bytes can be used, once there was a first guest: all are of one module.
    furnished: OnceLock<usize>,
    taken: AtomicBool,
}

/// An image, mapped twice: for guests, and to copy from.
struct Mapped {
    file: File,
    start: usize,
    bytes: &'static [u8],
}

// SAFETY: `base` is an address range of its own that the process keeps, and only whoever has
// taken it writes there.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

impl Place {
    /// Reserves it. With the file of an [`Image`], memories begin with that.
    ///
    /// # Errors
    ///
    /// The process may not have so much address space, or the file is no image.
    pub(crate) fn new(image: Option<&Path>) -> io::Result<Arc<Self>> {
        let bytes = GUARD_BYTES + RESERVED_BYTES + GUARD_BYTES;
        // SAFETY: a new mapping, which nothing else knows; it is never unmapped.
        let start = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            let start = libc::mmap(ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0);
            if start == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            // A huge page would be a long stretch whatever is written to it. Kernels without them refuse.
            let _ = libc::madvise(start, bytes, libc::MADV_NOHUGEPAGE);
            start
        };
        Ok(Arc::new(Self {
            base: start.cast::<u8>().wrapping_add(GUARD_BYTES),
            image: image.map(Mapped::open).transpose()?.flatten(),
            pages: Pages::open(),
            furnished: OnceLock::new(),
            taken: AtomicBool::new(false),
        }))
    }

    /// Makes the first `bytes` usable: zeros, and the image over them. For the first guest; later ones find it so.
    fn furnish(&self, bytes: usize) -> io::Result<()> {
        match self.furnished.get() {
            Some(&before) if before == bytes => return Ok(()),
            Some(_) => return Err(io::Error::other("it is another module's")),
            None => {}
        }
        self.protect(0, bytes, libc::PROT_READ | libc::PROT_WRITE)?;
        let Some(image) = &self.image else {
            let _ = self.furnished.set(bytes);
            return Ok(());
        };
        if image.start.saturating_add(image.bytes.len()) > bytes {
            return Err(io::Error::other("the image is larger than the memory"));
        }
        // SAFETY: a part of the reserved range, which is within `bytes`.
        let mapped = unsafe {
            libc::mmap(
                self.base.add(image.start).cast(),
                image.bytes.len(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_FIXED,
                image.file.as_raw_fd(),
                HEADER_BYTES as libc::off_t,
            )
        };
        match mapped {
            libc::MAP_FAILED => Err(io::Error::last_os_error()),
            _ => {
                let _ = self.furnished.set(bytes);
                Ok(())
            }
        }
    }

    fn protect(&self, from: usize, to: usize, protection: libc::c_int) -> io::Result<()> {
        assert!(from <= to && to <= RESERVED_BYTES);
        // SAFETY: a part of the reserved range, of which no reference exists while it changes.
        match unsafe { libc::mprotect(self.base.add(from).cast(), to - from, protection) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Makes the first `bytes` what they were when they were furnished.
    fn reset(&self, bytes: usize) -> io::Result<()> {
        match &self.pages {
            Some(pages) if self.copy_over(pages, bytes)? => Ok(()),
            _ => self.give_back(0, bytes),
        }
    }

    /// Copies the snapshot over short stretches and gives back long ones. False: too much, or the kernel does
    /// not say.
    fn copy_over(&self, pages: &Pages, bytes: usize) -> io::Result<bool> {
        let (mut from, mut copied) = (0, 0);
        while from < bytes {
            let base = self.base as usize;
            let Ok((stretches, walked)) = pages.own(base + from, base + bytes) else {
                return Ok(false);
            };
            for stretch in stretches {
                let (from, to) = (stretch.start as usize - base, stretch.end as usize - base);
                let count = (to - from) / pages.page_bytes;
                if count > LONG_PAGES {
                    self.give_back(from, to)?;
                    continue;
                }
                copied += count;
                if copied > MOST_PAGES {
                    return Ok(false);
                }
                self.restore(from, to);
            }
            from = walked - base;
        }
        Ok(true)
    }

    /// Gives pages back: they are read from the image again, or are zeros.
    fn give_back(&self, from: usize, to: usize) -> io::Result<()> {
        // SAFETY: a part of the reserved range that nobody has taken, or whose taker is done.
        match unsafe { libc::madvise(self.base.add(from).cast(), to - from, libc::MADV_DONTNEED) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn restore(&self, from: usize, to: usize) {
        // SAFETY: within what was furnished, and whoever had it is done.
        let memory = unsafe { std::slice::from_raw_parts_mut(self.base.add(from), to - from) };
        let (start, image) = self
            .image
            .as_ref()
            .map_or((0, &[][..]), |i| (i.start, i.bytes));
        let end = start + image.len();
        // Before the image, in it, behind it.
        let (first, second) = (start.clamp(from, to), end.clamp(from, to));
        memory[..first - from].fill(0);
        if second > first {
            memory[first - from..second - from]
                .copy_from_slice(&image[first - start..second - start]);
        }
        memory[second - from..].fill(0);
    }
}

impl Mapped {
    /// `None` if there is nothing in it.
    fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let (start, bytes) = Image::header(&file)?;
        if bytes == 0 {
            return Ok(None);
        }
        // SAFETY: a new mapping, never unmapped, of a file that nobody changes: it is the cache's.
        let bytes = unsafe {
            let (protection, flags) = (libc::PROT_READ, libc::MAP_PRIVATE);
            let (fd, offset) = (file.as_raw_fd(), HEADER_BYTES as libc::off_t);
            let at = libc::mmap(ptr::null_mut(), bytes, protection, flags, fd, offset);
            if at == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            std::slice::from_raw_parts(at.cast(), bytes)
        };
        Ok(Some(Self { file, start, bytes }))
    }
}

/// wasmtime's way to a [`Place`].
pub(crate) struct Memories(pub(crate) Arc<Place>);

// SAFETY: memories are zeros but for the image, which is what their module would put there; nobody else
// writes to the place while one has it; what follows up to `RESERVED_BYTES`, and `GUARD_BYTES` on both sides, is
// never accessible.
unsafe impl MemoryCreator for Memories {
    fn new_memory(
        &self,
        _: MemoryType,
        minimum: usize,
        _: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        if reserved.is_none_or(|bytes| bytes > RESERVED_BYTES) || guard > GUARD_BYTES {
            return Err("the memory's place is too small".to_owned());
        }
        if self.0.taken.swap(true, Ordering::Acquire) {
            return Err("a guest is there already".to_owned());
        }
        let memory = Lent {
            place: self.0.clone(),
            minimum,
            size: minimum,
        };
        // On failure `memory` is dropped, which frees the place.
        memory
            .place
            .furnish(minimum)
            .map_err(|error| error.to_string())?;
        Ok(Box::new(memory))
    }
}

/// The place while a guest has it.
struct Lent {
    place: Arc<Place>,
    minimum: usize,
    size: usize,
}

// SAFETY: see `Memories`.
unsafe impl LinearMemory for Lent {
    fn byte_size(&self) -> usize {
        self.size
    }

    fn byte_capacity(&self) -> usize {
        RESERVED_BYTES
    }

    fn grow_to(&mut self, size: usize) -> wasmtime::Result<()> {
        if size > RESERVED_BYTES {
            return Err(wasmtime::Error::msg("no room"));
        }
        let access = libc::PROT_READ | libc::PROT_WRITE;
        self.place.protect(self.size, size, access)?;
        self.size = size;
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.place.base
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let place = &self.place;
        let given_back = |from, to| {
            place.give_back(from, to)?;
            place.protect(from, to, libc::PROT_NONE)
        };
        let grown = match self.size > self.minimum {
            true => given_back(self.minimum, self.size),
            false => Ok(()),
        };
        // A place that could not be cleaned stays taken: the next guest is refused it.
        if grown.and_then(|()| place.reset(self.minimum)).is_ok() {
            place.taken.store(false, Ordering::Release);
        }
    }
}

/// The kernel's view of this process's pages.
struct Pages {
    pagemap: File,
    page_bytes: usize,
}

/// `struct page_region` of linux/fs.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Stretch {
    start: u64,
    end: u64,
    categories: u64,
}

/// `struct pm_scan_arg` of linux/fs.h.
#[repr(C)]
#[derive(Default)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

const FILE: u64 = 1 << 2;
const PRESENT: u64 = 1 << 3;
const SWAPPED: u64 = 1 << 4;
const ZERO: u64 = 1 << 5;

nix::ioctl_readwrite!(pagemap_scan, b'f', 16, Scan);

impl Pages {
    /// `None` where the process cannot see its own pages.
    fn open() -> Option<Self> {
        Some(Self {
            pagemap: File::open("/proc/self/pagemap").ok()?,
            page_bytes: usize::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()?,
        })
    }

    /// Stretches of pages in a range that are neither a file's nor the shared zeros: those that were written
    /// to, in memory or swapped out. And how far was looked, if there are more.
    fn own(&self, from: usize, to: usize) -> nix::Result<(Vec<Stretch>, usize)> {
        let mut found = vec![Stretch::default(); STRETCHES];
        let mut scan = Scan {
            size: size_of::<Scan>() as u64,
            start: from as u64,
            end: to as u64,
            vec: found.as_mut_ptr() as u64,
            vec_len: found.len() as u64,
            category_inverted: FILE | ZERO,
            category_mask: FILE | ZERO,
            category_anyof_mask: PRESENT | SWAPPED,
            ..Scan::default()
        };
        // SAFETY: `scan` is the structure that this call takes, and `found` has the room that it says.
        let count = unsafe { pagemap_scan(self.pagemap.as_raw_fd(), &raw mut scan) }?;
        found.truncate(usize::try_from(count).unwrap_or(0));
        let walked = scan.walk_end as usize;
        match walked > from && walked <= to {
            true => Ok((found, walked)),
            false => Err(nix::Error::EINVAL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 4096;
    /// Of a memory: zeros, the image from 16 to 48 of these, zeros.
    const MINIMUM: usize = 64 * HEADER_BYTES;
    const START: usize = 16 * HEADER_BYTES;

    fn image() -> Image {
        let bytes = (0..32 * HEADER_BYTES).map(|at| (at % 251) as u8 | 1);
        Image {
            start: START,
            bytes: bytes.collect(),
        }
    }

    fn place(with_image: bool) -> Arc<Place> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), image().file()).expect("written");
        Place::new(with_image.then(|| file.path())).expect("address space")
    }

    fn memory(place: &Arc<Place>) -> Result<Box<dyn LinearMemory>, String> {
        let ty = MemoryType::new(64, None);
        Memories(place.clone()).new_memory(ty, MINIMUM, None, Some(RESERVED_BYTES), GUARD_BYTES)
    }

    fn bytes(memory: &mut Box<dyn LinearMemory>) -> &mut [u8] {
        // SAFETY: so many bytes are accessible, and nobody else has this memory.
        unsafe { std::slice::from_raw_parts_mut(memory.as_ptr(), memory.byte_size()) }
    }

    fn fresh(with_image: bool) -> Vec<u8> {
        let mut fresh = vec![0; MINIMUM];
        if with_image {
            fresh[START..][..image().bytes.len()].copy_from_slice(&image().bytes);
        }
        fresh
    }

    /// What guests write to: single pages here and there, long stretches, and too many.
    fn writes() -> Vec<Vec<usize>> {
        let pages = MINIMUM / PAGE;
        vec![
            vec![],
            vec![
                0,
                pages - 1,
                START / PAGE - 1,
                START / PAGE,
                START / PAGE + 1,
            ],
            (0..300).map(|i| i * 3 + 7).collect(),
            (0..200).chain([500, 502]).collect(),
            (10..10 + LONG_PAGES).chain(300..301 + LONG_PAGES).collect(),
            (0..pages / 2).map(|i| i * 2).collect(),
            (0..pages).collect(),
        ]
    }

    #[test]
    fn a_guest_finds_the_snapshot_whatever_was_written_before() {
        for with_image in [true, false] {
            let (asked, mut silent) = (place(with_image), place(with_image));
            Arc::get_mut(&mut silent).expect("nobody else has it").pages = None;
            let expected = fresh(with_image);
            for place in [asked, silent] {
                for pages in writes().iter().chain(writes().iter().rev()) {
                    let mut memory = memory(&place).expect("the place is free");
                    assert!(
                        bytes(&mut memory) == expected,
                        "{with_image}, before {pages:?}"
                    );
                    memory.grow_to(MINIMUM + 3 * HEADER_BYTES).expect("room");
                    let memory = bytes(&mut memory);
                    assert!(memory[MINIMUM..].iter().all(|byte| *byte == 0));
                    memory[MINIMUM..].fill(9);
                    for page in pages {
                        memory[page * PAGE + page % PAGE] ^= 0xff;
                    }
                }
            }
        }
    }

    fn skipped(why: &str) {
        assert!(std::env::var_os("CI").is_none(), "CI skips nothing: {why}");
        eprintln!("skipped: {why}");
    }

    #[test]
    fn scattered_pages_stay_and_long_stretches_do_not() {
        let place = place(true);
        let Some(pages) = &place.pages else {
            return skipped("no procfs");
        };
        let base = place.base as usize;
        let own = || {
            let (found, _) = pages.own(base, base + MINIMUM).expect("as before");
            let found = found.iter().map(|s| (s.end - s.start) as usize / PAGE);
            found.collect::<Vec<_>>()
        };
        let mut first = memory(&place).expect("the place is free");
        if pages.own(base, base + MINIMUM).is_err() {
            return skipped("before Linux 6.7 the kernel does not say what was written");
        }
        for page in (0..100).map(|i| i * 5).chain(600..700) {
            bytes(&mut first)[page * PAGE] ^= 1;
        }
        assert_eq!(own(), [vec![1; 100], vec![100]].concat());
        drop(first);
        assert_eq!(own(), vec![1; 100]);
    }

    #[test]
    fn one_guest_at_a_time_and_of_one_module() {
        let place = place(false);
        let first = memory(&place).expect("the place is free");
        assert_eq!(
            memory(&place).err().as_deref(),
            Some("a guest is there already")
        );
        drop(first);
        drop(memory(&place).expect("free again"));
        let ask = |minimum, reserved, guard| {
            let ty = MemoryType::new(1, None);
            Memories(place.clone())
                .new_memory(ty, minimum, None, reserved, guard)
                .err()
        };
        let refused = ask(HEADER_BYTES, Some(RESERVED_BYTES), GUARD_BYTES);
        assert_eq!(refused.as_deref(), Some("it is another module's"));
        assert!(ask(MINIMUM, Some(RESERVED_BYTES + PAGE), GUARD_BYTES).is_some());
        assert!(ask(MINIMUM, None, GUARD_BYTES).is_some());
        assert!(ask(MINIMUM, Some(RESERVED_BYTES), GUARD_BYTES + PAGE).is_some());
    }

    #[test]
    fn an_image_must_fit() {
        let place = place(true);
        let ty = MemoryType::new(20, None);
        let refused = Memories(place).new_memory(
            ty,
            20 * HEADER_BYTES,
            None,
            Some(RESERVED_BYTES),
            GUARD_BYTES,
        );
        let reason = refused.err();
        assert_eq!(
            reason.as_deref(),
            Some("the image is larger than the memory")
        );
    }
}
