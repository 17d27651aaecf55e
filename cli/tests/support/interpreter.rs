//! An interpreter of a few lines with the exports of the real one.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use wasm::setup::Parts;
use wasm::{Cache, SetupError};

use super::{Ended, Folder, end_of};

/// Starts by writing 7 into its memory and a global, and returns their sum from a run.
pub(crate) const REACTOR: &str = r#"
  (memory (export "memory") 1)
  (global $g (mut i32) (i32.const 0))
  (func (export "_initialize") (i32.store (i32.const 16) (i32.const 7)))
  (func (export "wizer-initialize") (global.set $g (i32.load (i32.const 16))))
  (func (export "run_quick") (result i32) (i32.add (global.get $g) (i32.load (i32.const 16))))
"#;

/// What the build script would have left, with this module.
pub(crate) fn build(folder: &Folder, module: &[u8]) -> PathBuf {
    let made = folder.join("made");
    fs::create_dir_all(&made).expect("a folder");
    let record = r#"{"python_version": "3.11.2", "build_python_version": "3.11.2", "build_sha256": "0", "inputs": {}}"#;
    for (name, bytes) in [
        ("reactor.wasm", module),
        ("stdlib.zip", b"PK"),
        ("LICENCES.txt", b"none"),
        ("build.json", record.as_bytes()),
    ] {
        fs::write(made.join(name), bytes).expect("a file");
    }
    made
}

pub(crate) fn parts_of(folder: &Folder, body: &str) -> Parts {
    let module = wat::parse_str(format!("(module {body})")).expect("a well-formed module");
    Parts::from_build(&build(folder, &module)).expect("it starts")
}

/// A folder with a release file `python` and nothing installed in `home`.
pub(crate) fn release() -> Folder {
    let folder = Folder::new();
    let parts = parts_of(&folder, REACTOR);
    parts.write(&folder.join("python")).expect("a release file");
    folder
}

pub(crate) fn installed() -> Folder {
    let folder = release();
    assert_eq!(wasm(&folder, "setup --python python").code, 0);
    folder
}

pub(crate) fn wasm(folder: &Folder, line: &str) -> Ended {
    let mut command = folder.command(["wasm"].into_iter().chain(line.split_whitespace()));
    command.env("CODEJURY_WASM_DIR", folder.join("home"));
    end_of(command.spawn().expect("the command starts"))
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the mode can be set");
}

/// One error, with its code and these words in it.
#[track_caller]
pub(crate) fn assert_fails(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, code, "{}{}", ended.stdout, ended.stderr);
    for word in words {
        assert!(
            ended.stderr.contains(word),
            "no `{word}` in: {}",
            ended.stderr
        );
    }
    assert_eq!(
        ended.stderr.matches("error:").count(),
        1,
        "{}",
        ended.stderr
    );
}

/// Where the real one is installed; `None`, loudly, where it is not. CI has it.
pub(crate) fn real() -> Option<Cache> {
    match Cache::of_user().and_then(|cache| cache.manifest().map(|_| cache)) {
        Ok(cache) => Some(cache),
        Err(error @ SetupError::NotInstalled(_)) if std::env::var_os("CI").is_none() => {
            eprintln!("skipped: {error}; {}", error.hint());
            None
        }
        Err(error) => panic!("{error}"),
    }
}
