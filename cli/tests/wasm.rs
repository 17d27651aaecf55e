//! `codejury wasm`: what gets installed, what is refused, and that nothing half-written stays.
//!
//! The interpreter here is a module of a few lines with the exports of the real one.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use support::interpreter::{
    REACTOR, assert_fails, build, installed, parts_of, release, set_mode, wasm,
};
use support::{Folder, end_of};
use wasm::setup::Parts;
use wasm::{Cache, Mode};

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

fn compiled(folder: &Folder) -> Vec<PathBuf> {
    made(folder, "cwasm")
}

/// What `setup` has made of the parts that it was given.
fn made(folder: &Folder, end: &str) -> Vec<PathBuf> {
    let home = folder.join("home");
    let paths = names(&home).into_iter().map(|name| home.join(name));
    let made: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|is| is == end))
        .collect();
    assert!(!made.is_empty(), "{end}");
    made
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path)
        .expect("it is there")
        .permissions()
        .mode()
        & 0o7777
}

#[test]
fn without_an_interpreter_the_error_has_the_command() {
    let folder = Folder::new();
    let words = [
        "no interpreter for the wasm backend is installed",
        "codejury wasm setup --build",
    ];
    assert_fails(&wasm(&folder, "status"), 3, &words);
    assert_fails(&wasm(&folder, "setup"), 3, &words);
    assert_fails(&wasm(&folder, "pack out"), 3, &words);
    let ended = wasm(&folder, "status --json");
    assert_eq!((ended.code, ended.stderr.as_str()), (3, ""));
    assert!(
        ended.stdout.contains("\"usable\": false"),
        "{}",
        ended.stdout
    );
    assert!(names(folder.path()).is_empty());
    let mut nowhere = folder.command(["wasm", "status"]);
    nowhere
        .env_remove("CODEJURY_WASM_DIR")
        .env_remove("XDG_DATA_HOME")
        .env_remove("HOME");
    let ended = end_of(nowhere.spawn().expect("it starts"));
    assert_fails(&ended, 2, &["CODEJURY_WASM_DIR"]);
}

#[test]
fn an_installed_interpreter_is_private_and_packs_into_the_same_bytes() {
    let folder = installed();
    let ended = wasm(&folder, "status");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("CPython 3.11.2"), "{}", ended.stdout);
    assert_eq!(
        ended.stdout.matches("mode  ").count(),
        2,
        "{}",
        ended.stdout
    );
    let home = folder.join("home");
    assert_eq!(mode(&home), 0o700);
    for name in names(&home) {
        assert_eq!(mode(&home.join(&name)), 0o600, "{name}");
        assert!(!name.starts_with('.'), "{name} was left behind");
    }
    assert_eq!(compiled(&folder).len(), 2);
    assert_eq!(wasm(&folder, "pack again").code, 0);
    assert!(fs::read(folder.join("again")).ok() == fs::read(folder.join("python")).ok());
    assert_eq!(wasm(&folder, "setup --python again").code, 0);
    assert_eq!(compiled(&folder).len(), 2);
}

#[test]
fn the_variables_name_the_folder() {
    let folder = release();
    let mut command = folder.command(["wasm", "setup", "--python", "python"]);
    command
        .env_remove("CODEJURY_WASM_DIR")
        .env("XDG_DATA_HOME", folder.join("data"));
    assert_eq!(end_of(command.spawn().expect("it starts")).code, 0);
    assert!(folder.join("data/codejury/wasm/manifest.json").exists());
}

#[test]
fn the_snapshot_is_the_same_each_time() {
    let folder = Folder::new();
    let [one, other] = [(); 2].map(|()| parts_of(&folder, REACTOR));
    assert_eq!(one.manifest(), other.manifest());
}

#[test]
fn files_that_are_no_interpreter_are_refused_and_leave_nothing() {
    let folder = release();
    let whole = fs::read(folder.join("python")).expect("the release file");
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let other = zstd_of_tar(&[("evil.wasm", b"x")]);
    let escaping = zstd_of_tar(&[("../python.wasm", b"x")]);
    let lying = zstd_of_tar(&[
        ("manifest.json", manifest(&"0".repeat(64)).as_bytes()),
        ("python.wasm", b"x"),
        ("stdlib.zip", b"x"),
        ("LICENCES.txt", b"x"),
    ]);
    let partial = zstd_of_tar(&[("manifest.json", manifest(&"0".repeat(64)).as_bytes())]);
    let unknown = zstd_of_tar(&[("manifest.json", b"{\"schema\": \"codejury.wasm/9\"}")]);
    let cases: [(&str, &[u8], &str); 10] = [
        ("empty", b"", "no release file"),
        ("text", b"hello", "no release file"),
        ("module", b"\0asm\x01\0\0\0", "no release file"),
        ("truncated", &whole[..whole.len() / 2], "no release file"),
        ("flipped", &flipped, "is no interpreter"),
        ("other", &other, "evil.wasm"),
        ("escaping", &escaping, "../python.wasm"),
        ("lying", &lying, "its manifest says"),
        ("partial", &partial, "is missing in it"),
        ("unknown", &unknown, "manifest.json"),
    ];
    for (name, bytes, word) in cases {
        folder.file(name, bytes);
        let ended = wasm(&folder, &format!("setup --python {name}"));
        assert_fails(&ended, 2, &[word, name, "hint:"]);
        assert!(!folder.join("home").exists(), "case {name}");
    }
    assert_fails(
        &wasm(&folder, "setup --python gone"),
        2,
        &["cannot read gone"],
    );
}

#[test]
fn a_foreign_module_is_refused_before_anything_is_written() {
    let start = "(func (export \"_initialize\")) (func (export \"wizer-initialize\"))";
    let memory = "(memory (export \"memory\") 1)";
    let run = "(func (export \"run_quick\") (result i32) (i32.const 0))";
    for (body, word) in [
        (format!("{memory} {start}"), "exports no `run_quick`"),
        (
            format!("{memory} {start} (func (export \"run_quick\"))"),
            "exports no `run_quick`",
        ),
    ] {
        let folder = Folder::new();
        let parts = parts_of(&folder, &body);
        parts.write(&folder.join("foreign")).expect("a file");
        assert_fails(
            &wasm(&folder, "setup --python foreign"),
            2,
            &[word, "hint:"],
        );
        assert!(!folder.join("home").exists());
    }
    let unreachable =
        "(func (export \"_initialize\") unreachable) (func (export \"wizer-initialize\"))";
    let import = "(import \"env\" \"secret\" (func))";
    for (body, word) in [
        (format!("{start} {run}"), "memory"),
        (format!("{memory} {run}"), "_initialize"),
        (format!("{memory} {unreachable} {run}"), "did not start"),
        (format!("{import} {memory} {start} {run}"), "env"),
    ] {
        let folder = Folder::new();
        let module = wat::parse_str(format!("(module {body})")).expect("well-formed");
        let error = Parts::from_build(&build(&folder, &module)).expect_err("it is none of ours");
        assert!(error.to_string().contains(word), "no `{word}` in: {error}");
    }
    for bytes in [&b""[..], b"hello", b"\0asm\x01\0\0\0garbage"] {
        let folder = Folder::new();
        let error = Parts::from_build(&build(&folder, bytes)).expect_err("it is no module");
        assert!(error.to_string().contains("is no interpreter"), "{error}");
    }
}

#[test]
fn compiled_code_that_is_not_ours_alone_or_not_whole_is_refused() {
    type Harm = fn(&Path);
    let cases: [(&str, Harm, &str); 7] = [
        (
            "truncated",
            |path| {
                let bytes = fs::read(path).expect("it is there");
                fs::write(path, &bytes[..bytes.len() / 2]).expect("it is ours");
            },
            "is damaged",
        ),
        (
            "tampered",
            |path| {
                let mut bytes = fs::read(path).expect("it is there");
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(path, bytes).expect("it is ours");
            },
            "is damaged",
        ),
        (
            "empty",
            |path| fs::write(path, "").expect("it is ours"),
            "is damaged",
        ),
        (
            "unsigned",
            |path| {
                fs::remove_file(path.with_added_extension("sha256")).expect("it is there");
            },
            "the hash beside it is gone",
        ),
        (
            "readable",
            |path| set_mode(path, 0o644),
            "cannot be trusted: its mode is 0644",
        ),
        (
            "writable",
            |path| set_mode(path, 0o620),
            "cannot be trusted: its mode is 0620",
        ),
        (
            "link",
            |path| {
                let moved = path.with_extension("moved");
                fs::rename(path, &moved).expect("it is there");
                symlink(moved, path).expect("a link");
            },
            "it is no regular file",
        ),
    ];
    let folder = installed();
    let both = ["cwasm", "image"];
    for ((name, harm, word), end) in cases.iter().flat_map(|case| both.map(|end| (case, end))) {
        for path in made(&folder, end) {
            harm(&path);
        }
        assert_fails(&wasm(&folder, "status"), 2, &[word, end, "hint:"]);
        let cache = Cache::new(folder.join("home"));
        let refused = cache.installed(Mode::Deterministic).expect_err(name);
        assert!(refused.to_string().contains(word), "case {name}: {refused}");
        // And the remedy works.
        let ended = wasm(&folder, "setup");
        assert_eq!(ended.code, 0, "case {name}: {}", ended.stderr);
        assert_eq!(wasm(&folder, "status").code, 0, "case {name}");
    }
}

#[test]
fn a_damaged_part_is_named() {
    let folder = installed();
    let home = folder.join("home");
    for end in ["wasm", "zip", "txt"] {
        let name = names(&home)
            .into_iter()
            .find(|name| name.ends_with(&format!(".{end}")));
        let path = home.join(name.expect("the part is there"));
        let bytes = fs::read(&path).expect("it can be read");
        fs::write(&path, b"x").expect("it is ours");
        assert_fails(
            &wasm(&folder, "status"),
            2,
            &["is damaged", end, "--python FILE"],
        );
        assert_fails(&wasm(&folder, "setup"), 2, &["is damaged"]);
        fs::remove_file(&path).expect("it is ours");
        assert_fails(&wasm(&folder, "status"), 2, &["it is gone"]);
        fs::write(&path, bytes).expect("it is ours");
        set_mode(&path, 0o600);
    }
    fs::write(home.join("manifest.json"), "{}").expect("it is ours");
    assert_fails(&wasm(&folder, "status"), 2, &["manifest.json is damaged"]);
    assert_eq!(wasm(&folder, "setup --python python").code, 0);
    assert_eq!(wasm(&folder, "status").code, 0);
}

#[test]
fn a_folder_that_others_can_use_is_refused() {
    let folder = installed();
    let home = folder.join("home");
    for (bits, said) in [(0o755, "0755"), (0o770, "0770"), (0o1777, "1777")] {
        set_mode(&home, bits);
        for line in ["status", "setup", "setup --python python"] {
            assert_fails(
                &wasm(&folder, line),
                2,
                &["cannot be trusted", said, "chmod"],
            );
        }
    }
    set_mode(&home, 0o700);
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&home, Some(65534), None).expect("root can give it away");
        assert_fails(&wasm(&folder, "status"), 2, &["belongs to user 65534"]);
        assert_fails(
            &wasm(&folder, "setup --python python"),
            2,
            &["belongs to user 65534"],
        );
        std::os::unix::fs::chown(&home, Some(0), None).expect("root can take it back");
        for path in compiled(&folder) {
            std::os::unix::fs::chown(&path, Some(65534), None).expect("root can give it away");
        }
        assert_fails(
            &wasm(&folder, "status"),
            2,
            &["belongs to user 65534", ".cwasm"],
        );
    }
    folder.file("plain", "");
    let mut command = folder.command(["wasm", "status"]);
    command.env("CODEJURY_WASM_DIR", folder.join("plain"));
    let ended = end_of(command.spawn().expect("it starts"));
    assert_fails(&ended, 2, &["it is no folder"]);
}

#[test]
fn what_is_not_compiled_yet_is_compiled_once_however_many_want_it() {
    let folder = installed();
    for path in compiled(&folder) {
        fs::remove_file(path).expect("it is ours");
    }
    let ended = wasm(&folder, "status");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(
        ended.stdout.matches("first used").count(),
        2,
        "{}",
        ended.stdout
    );
    let cache = &Cache::new(folder.join("home"));
    thread::scope(|scope| {
        let wanted = Mode::ALL.into_iter().cycle().take(8);
        let users: Vec<_> = wanted
            .map(|mode| scope.spawn(move || cache.installed(mode)))
            .collect();
        for user in users {
            let bundle = user.join().expect("no panic").expect("it is compiled");
            assert!(bundle.compiled.exists());
            assert_eq!(bundle.python_version, "3.11.2");
        }
    });
    assert_eq!(compiled(&folder).len(), 2);
    // Setups beside each other, and readers beside them, see whole files.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(wasm(&folder, "setup --python python").code, 0));
            scope.spawn(|| assert_eq!(wasm(&folder, "status").code, 0));
        }
    });
    assert!(
        names(&folder.join("home"))
            .iter()
            .all(|name| !name.starts_with('.'))
    );
}

#[test]
fn a_read_only_or_full_disk_is_one_error_and_leaves_nothing_half_written() {
    let folder = release();
    let script = format!(
        "set -u
        mkdir disk && mount -t tmpfs -o size=16k,mode=700 tmpfs disk || exit 99
        export CODEJURY_WASM_DIR=$PWD/disk/home
        setup() {{ {} wasm setup --python python; echo \"code $?\"; }}
        setup 2> full.err
        ls -A disk/home | grep -v '^lock$' > full.left
        mount -o remount,size=4m disk && setup 2> room.err
        mount -o remount,ro disk && setup 2> read-only.err
        umount disk",
        env!("CARGO_BIN_EXE_codejury")
    );
    let ended = folder.run_mounting(&script);
    let said = |name| folder.read(name);
    assert_eq!(
        ended.stdout,
        "code 4\ncode 0\ncode 2\n",
        "{}",
        said("full.err") + &said("room.err")
    );
    let full = said("full.err");
    assert!(
        full.contains("error: cannot write") && full.contains("make room"),
        "{full}"
    );
    assert!(!said("full.left").contains("manifest") && !said("full.left").contains(".part"));
    let read_only = said("read-only.err");
    assert!(read_only.contains("Read-only file system"), "{read_only}");
    assert!(read_only.contains("CODEJURY_WASM_DIR"), "{read_only}");
}

#[test]
fn the_build_script_refuses_what_it_cannot_vouch_for() {
    let folder = Folder::new();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/build-python-wasi");
    let build = |args: &[&str]| {
        let mut command = Command::new(script);
        command
            .args(args)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        end_of(command.spawn().expect("the script starts"))
    };
    fs::create_dir(folder.join("there")).expect("a folder");
    let sources = folder.join("sources");
    fs::create_dir(&sources).expect("a folder");
    fs::write(sources.join("python3.11_3.11.2.orig.tar.gz"), "not it").expect("a file");
    let cases: [(&[&str], &str); 5] = [
        (&[], "OUT is missing"),
        (&["there"], "exists already"),
        (
            &["--version", "2.7.18", "out"],
            "version 2.7.18 has no pins",
        ),
        (&["--colour", "out"], "unknown option --colour"),
        (&["--sources", "sources", "out"], "is pinned: remove it"),
    ];
    for (args, word) in cases {
        assert_fails(&build(args), 1, &[word]);
        assert!(!folder.join("out").exists() && !folder.join("out.part").exists());
    }
}

/// A manifest whose parts all have this hash.
fn manifest(hash: &str) -> String {
    format!(
        "{{\"schema\": \"codejury.wasm/1\", \"python_version\": \"3.11.2\", \"module_sha256\": \"{hash}\", \"stdlib_sha256\": \"{hash}\", \"licences_sha256\": \"{hash}\", \"build\": {{\"python_version\": \"3.11.2\", \"build_python_version\": \"3.11.2\", \"build_sha256\": \"0\", \"inputs\": {{}}}}}}"
    )
}

fn zstd_of_tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_old();
        // `set_path` would refuse a path that leads out.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_cksum();
        archive
            .append(&header, *bytes)
            .expect("it goes into memory");
    }
    let bytes = archive.into_inner().expect("it went into memory");
    zstd::encode_all(bytes.as_slice(), 1).expect("it is compressed")
}

#[test]
fn setup_removes_what_nobody_can_use_any_more() {
    let folder = installed();
    let home = folder.join("home");
    let hash = "0".repeat(64);
    let older = [
        format!("{hash}-1.0.0-0123456789abcdef.cwasm"),
        format!("{hash}.image"),
        format!("{hash}-2.0.0-0123456789abcdef.cwasm"),
    ];
    let older = older.map(|name| home.join(name));
    for path in &older {
        fs::write(path, "old").expect("it is ours");
        fs::write(path.with_added_extension("sha256"), "old").expect("it is ours");
    }
    // A process that was started before the update still has this one.
    let used = fs::File::open(&older[2]).expect("it was written");
    used.lock_shared().expect("nobody else wants it");
    // And a host with another processor has this one.
    let unlike = compiled(&folder)
        .into_iter()
        .find(|path| !older.contains(path))
        .expect("two were compiled");
    let name = unlike
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let (start, _) = name.rsplit_once('-').expect("a hash of the configuration");
    let unlike = home.join(format!("{start}-fedcba9876543210.cwasm"));
    fs::write(&unlike, "theirs").expect("it is ours");
    assert_eq!(wasm(&folder, "setup").code, 0);
    for gone in &older[..2] {
        assert!(!gone.exists() && !gone.with_added_extension("sha256").exists());
    }
    assert!(older[2].exists() && unlike.exists());
    drop(used);
    assert_eq!(wasm(&folder, "setup").code, 0);
    assert!(!older[2].exists() && unlike.exists());
    assert_eq!(compiled(&folder).len(), 3);
}
