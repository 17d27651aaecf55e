//! The interpreter's machine code on huge pages: fewer faults in every run.
//!
//! The 2 MiB-aligned part of code and constants is copied to anonymous huge pages, which then replace
//! the mapping of the file. Where the layout or the host does not allow it, nothing happens.

use std::ptr;

use crate::memory::parts;

const HUGE: u64 = 2 << 20;

/// Moves the interpreter's code, if it can be had on huge pages.
pub(crate) fn use_huge_pages() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else {
        return;
    };
    for (start, end) in images(&maps) {
        let first = start.next_multiple_of(HUGE);
        let last = end / HUGE * HUGE;
        if first < last {
            replace(first, last - first);
        }
    }
}

/// Where the interpreter's executable and library lie, code and constants together: a segment of
/// code alone rarely holds an aligned 2 MiB.
fn images(maps: &str) -> Vec<(u64, u64)> {
    let mut found: Vec<(u64, u64, &str)> = Vec::new();
    for line in maps.lines() {
        let Some((start, end, "r-xp" | "r--p", name)) = parts(line) else {
            continue;
        };
        let file = name.rsplit('/').next().unwrap_or_default();
        if !(file.starts_with("python") || file.starts_with("libpython")) {
            continue;
        }
        match found.last_mut() {
            Some((_, to, same)) if *to == start && *same == name => *to = end,
            _ => found.push((start, end, name)),
        }
    }
    found
        .into_iter()
        .map(|(start, end, _)| (start, end))
        .collect()
}

fn huge_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    text.lines()
        .find_map(|line| {
            line.strip_prefix("AnonHugePages:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<u64>()
                .ok()
        })
        .unwrap_or(0)
        * 1024
}

fn replace(at: u64, size: u64) {
    let before = huge_bytes();
    let wanted = (size + HUGE) as usize;
    // SAFETY: a fresh private mapping, of which the unaligned ends are given back; nothing else
    // knows it. `at` and `size` describe whole pages of the interpreter that nobody writes, which the copy
    // equals byte for byte, so replacing the one by the other changes nothing that code can see;
    // this process has one thread, and that is here, in another library.
    unsafe {
        let area = libc::mmap(
            ptr::null_mut(),
            wanted,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if area == libc::MAP_FAILED {
            return;
        }
        let begin = (area as u64).next_multiple_of(HUGE);
        let (head, tail) = (
            begin - area as u64,
            area as u64 + wanted as u64 - begin - size,
        );
        if head > 0 {
            libc::munmap(area, head as usize);
        }
        if tail > 0 {
            libc::munmap((begin + size) as *mut _, tail as usize);
        }
        let copy = begin as *mut libc::c_void;
        libc::madvise(copy, size as usize, libc::MADV_HUGEPAGE);
        ptr::copy_nonoverlapping(at as *const u8, copy.cast::<u8>(), size as usize);
        let moved = huge_bytes() >= before + size
            && libc::mprotect(copy, size as usize, libc::PROT_READ | libc::PROT_EXEC) == 0
            && libc::mremap(
                copy,
                size as usize,
                size as usize,
                libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
                at as *mut libc::c_void,
            ) != libc::MAP_FAILED;
        if !moved {
            libc::munmap(copy, size as usize);
        }
    }
}
