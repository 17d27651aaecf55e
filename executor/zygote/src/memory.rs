//! What this process maps, so that a run's address-space limit leaves a program as much as on the
//! cold path.

use crate::sys::Errno;

/// Names of mappings that a cold interpreter does not have.
const OURS: [&str; 2] = ["memfd:codejury-zygote", "libgcc_s"];

/// Mapped bytes at some point.
pub(crate) struct Mapped {
    all: u64,
    ours: u64,
}

impl Mapped {
    /// Looks now.
    pub(crate) fn now() -> Result<Self, Errno> {
        let text = std::fs::read_to_string("/proc/self/maps")
            .map_err(|e| e.raw_os_error().unwrap_or(libc::EIO))?;
        let mut found = Self { all: 0, ours: 0 };
        for line in text.lines() {
            let Some((start, end, _, name)) = parts(line) else {
                continue;
            };
            // Not an address space of the process's own: the kernel does not count it.
            if name.starts_with("[vsyscall") {
                continue;
            }
            found.all += end - start;
            if OURS.iter().any(|own| name.contains(own)) {
                found.ours += end - start;
            }
        }
        Ok(found)
    }

    /// What is mapped now that was not at the earlier look.
    pub(crate) fn more_by_now(&self) -> Result<u64, Errno> {
        Ok(Self::now()?.all.saturating_sub(self.all))
    }

    /// What is mapped now on top of what a cold interpreter had mapped at the earlier look.
    pub(crate) fn grown_since(&self) -> Result<u64, Errno> {
        let now = Self::now()?;
        Ok(now.all.saturating_sub(self.all - self.ours))
    }
}

/// A line of /proc/self/maps: start, end, permissions, name.
pub(crate) fn parts(line: &str) -> Option<(u64, u64, &str, &str)> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    let name = fields.nth(3).unwrap_or_default().trim_start();
    Some((
        u64::from_str_radix(start, 16).ok()?,
        u64::from_str_radix(end, 16).ok()?,
        permissions,
        name,
    ))
}
