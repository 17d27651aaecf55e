//! Paths of `files` and `fetch_files`: relative ones, absolute ones and ones with `..` all resolve
//! inside the run's own root, by their text alone. Nothing exists there yet that they could follow.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use executor::InputFile;

use crate::text::from_base64;

/// The working directory as programs see it.
const WORK_DIR: &str = "/work";
/// Others that they can write.
const WRITABLE: [&str; 3] = ["/tmp", "/mnt", "/dev/shm"];
/// An entry whose path contains this is no file.
const IGNORED: &str = "IGNORE_THIS_FILE";

/// Where a path leads, as the executor wants it: relative to the working directory, or absolute in
/// another folder of the run. The error is what Python would say.
pub(crate) fn resolve(path: &str) -> Result<PathBuf, String> {
    if path.contains('\0') {
        return Err("embedded null byte".to_owned());
    }
    let mut resolved = PathBuf::from("/");
    for part in Path::new(WORK_DIR).join(path).components() {
        match part {
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => {
                resolved.pop();
            }
            Component::Normal(name) => resolved.push(name),
        }
    }
    let is_folder = path.ends_with('/')
        || Path::new(WORK_DIR).starts_with(&resolved)
        || WRITABLE
            .iter()
            .any(|folder| Path::new(folder).starts_with(&resolved));
    if is_folder {
        return Err(format!("[Errno 21] Is a directory: '{path}'"));
    }
    if let Ok(relative) = resolved.strip_prefix(WORK_DIR) {
        return Ok(relative.to_owned());
    }
    if WRITABLE.iter().any(|folder| resolved.starts_with(folder)) {
        return Ok(resolved);
    }
    Err(format!("[Errno 30] Read-only file system: '{path}'"))
}

/// The files of a request, decoded.
pub(crate) fn input_files(files: &[(String, String)]) -> Result<Vec<InputFile>, String> {
    let mut found: Vec<InputFile> = Vec::new();
    for (path, content) in files {
        if path.contains(IGNORED) {
            continue;
        }
        let content: Arc<[u8]> = from_base64(content)?.into();
        let path = resolve(path)?;
        // Two spellings of one path: the later one is written over the earlier.
        found.retain(|file| file.path != path);
        found.push(InputFile { path, content });
    }
    for file in &found {
        let inside =
            |other: &InputFile| other.path != file.path && other.path.starts_with(&file.path);
        if found.iter().any(inside) {
            return Err(format!(
                "[Errno 20] Not a directory: '{}'",
                file.path.display()
            ));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_stays_inside_the_runs_folders() {
        let fine = [
            ("a", "a"),
            ("a/b/../c", "a/c"),
            ("./a", "a"),
            ("/work/a", "a"),
            ("../work/a", "a"),
            ("../../../mnt/b", "/mnt/b"),
            ("/mnt/b", "/mnt/b"),
            ("/tmp/x/y", "/tmp/x/y"),
            ("../tmp/x", "/tmp/x"),
            ("é/ü", "é/ü"),
        ];
        for (path, expected) in fine {
            assert_eq!(resolve(path), Ok(PathBuf::from(expected)), "{path}");
        }
        let refused = [
            ("", "Is a directory"),
            (".", "Is a directory"),
            ("/", "Is a directory"),
            ("..", "Is a directory"),
            ("/tmp", "Is a directory"),
            ("a/", "Is a directory"),
            ("/etc/passwd", "Read-only"),
            ("../etc/passwd", "Read-only"),
            ("/tmpx/a", "Read-only"),
            ("/proc/self/mem", "Read-only"),
            ("/dev/null", "Read-only"),
            ("a\0b", "null byte"),
        ];
        for (path, reason) in refused {
            assert!(resolve(path).unwrap_err().contains(reason), "{path:?}");
        }
    }

    #[test]
    fn files_are_decoded_and_the_last_spelling_wins() {
        let file = |path: &str, content: &str| (path.to_owned(), content.to_owned());
        let found = input_files(&[
            file("a", "YQ=="),
            file("IGNORE_THIS_FILE_1", "?"),
            file("./a", "Yg=="),
        ])
        .unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(&*found[0].content, b"b");
        assert!(input_files(&[file("a", "YQ"), file("b", "")]).is_err());
        assert!(input_files(&[file("a", ""), file("a/b", "")]).is_err());
    }
}
