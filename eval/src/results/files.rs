//! Files that are replaced in one step, and folders that one process works in.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde::Serialize;

use crate::EvalError;

/// Replaces a file by what `write` writes, in one step: a temporary file beside it is written,
/// flushed to disk and renamed. If anything fails, the old file is untouched.
pub(crate) fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()>,
) -> Result<(), EvalError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let attempt = || -> io::Result<()> {
        let temporary = tempfile::Builder::new()
            .prefix(".codejury-")
            // What any program would create; temporary files are private by default.
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(folder)?;
        let mut out = BufWriter::new(temporary);
        write(&mut out)?;
        let temporary = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        temporary.as_file().sync_all()?;
        temporary.persist(path).map_err(|error| error.error)?;
        // The rename itself is only safe once the folder is on disk.
        File::open(folder)?.sync_all()
    };
    attempt().map_err(EvalError::write(path))
}

/// Writes a whole file in one step.
///
/// # Errors
///
/// It cannot be written; the old one is then still there.
pub fn write_file(path: &Path, content: &[u8]) -> Result<(), EvalError> {
    write_atomically(path, |out| out.write_all(content))
}

pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), EvalError> {
    write_atomically(path, |out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        out.write_all(b"\n")
    })
}

/// Takes a folder for this process, until the file is dropped.
pub(crate) fn lock(folder: &Path) -> Result<File, EvalError> {
    let path = folder.join(".lock");
    let mut lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(EvalError::write(&path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let pid = lock
                .read_to_string(&mut pid)
                .ok()
                .and_then(|_| pid.trim().parse().ok());
            return Err(EvalError::FolderInUse {
                path: folder.to_owned(),
                pid,
            });
        }
        Err(TryLockError::Error(source)) => return Err(EvalError::Write { path, source }),
    }
    let write = |lock: &mut File| {
        lock.set_len(0)?;
        writeln!(lock, "{}", std::process::id())
    };
    write(&mut lock).map_err(EvalError::write(&path))?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_replaced_stays_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("summary.json");
        fs::write(&path, "old").expect("written");
        let error = write_atomically(&path, |out| {
            out.write_all(b"half of the new")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(matches!(error, Err(EvalError::Write { .. })), "{error:?}");
        assert_eq!(fs::read_to_string(&path).expect("there"), "old");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }
}
