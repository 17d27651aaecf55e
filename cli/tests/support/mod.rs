//! Runs the built command in a folder of its own, as a user's shell would.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod interpreter;

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// An empty working folder, removed at the end.
pub(crate) struct Folder(TempDir);

/// How a command ended.
pub(crate) struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file into it.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        fs::write(self.join(name), content).expect("a file");
        self
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Runs a shell script that may mount: in a mount namespace of its own, so that what it mounts is
    /// seen by its processes alone and goes away with them. Exit code 99 says that it could not.
    pub(crate) fn run_mounting(&self, script: &str) -> Ended {
        let mut command = Command::new("unshare");
        if !nix::unistd::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        let child = command
            .args(["--mount", "sh", "-c", script])
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let ended = end_of(child.expect("unshare, as every Linux has it"));
        assert_ne!(
            ended.code, 99,
            "cannot mount a small file system: {}",
            ended.stderr
        );
        ended
    }

    /// The command with its arguments, started here, without colours and without a terminal.
    pub(crate) fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_codejury"));
        // Where a cluster has a proxy, servers on loopback are reached past it.
        command.envs(
            ["HTTP_PROXY", "http_proxy", "ALL_PROXY"].map(|name| (name, "http://127.0.0.1:9")),
        );
        command
            .args(args)
            .current_dir(self.path())
            .env("NO_COLOR", "1")
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command line; words are separated by blanks.
    pub(crate) fn run(&self, line: &str) -> Ended {
        end_of(
            self.command(line.split_whitespace())
                .spawn()
                .expect("the command starts"),
        )
    }

    /// Runs a command line with this on standard input.
    pub(crate) fn run_with(&self, line: &str, stdin: &[u8]) -> Ended {
        let mut command = self.command(line.split_whitespace());
        let mut child = command
            .stdin(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let written = child.stdin.take().expect("piped").write_all(stdin);
        written.expect("it reads its input");
        end_of(child)
    }
}

/// Waits for a command's end.
pub(crate) fn end_of(child: std::process::Child) -> Ended {
    let output = child.wait_with_output().expect("it ends");
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

impl Ended {
    /// Everything a user sees, for snapshots.
    pub(crate) fn transcript(&self) -> String {
        let mut text = format!("exit code {}\n", self.code);
        for (name, part) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !part.is_empty() {
                text += &format!("--- {name}\n{part}");
            }
        }
        text
    }
}

/// What differs from run to run and from host to host, for snapshots.
pub(crate) const FILTERS: [(&str, &str); 9] = [
    // Lines that only a slow machine has the time to print.
    (r"(?m)^\S+: \d+ of \d+ \(\d+ %\), .* a second.*\n", ""),
    (r"\.codejury-[A-Za-z0-9]{6}\b", ".codejury-[NAME]"),
    (r"\d+ min \d\d s", "[TIME]"),
    (r"\d+(\.\d+)? (ms|s)\b", "[TIME]"),
    (r"\d+(\.\d+)? [KM]iB \| setup", "[SIZE] | setup"),
    (r"CPython 3\.\d+\.\d+ \([^)]*\)", "CPython [VERSION]"),
    (
        r#""(wall_time_ms|cpu_time_ms|setup_time_ms|judge_time|memory_peak_bytes)":[0-9.e-]+"#,
        r#""$1":"[N]""#,
    ),
    (r"/tmp/\.tmp[A-Za-z0-9]+", "[FOLDER]"),
    (r"process \d+", "process [PID]"),
];

/// Compares with a snapshot, with [`FILTERS`] applied.
#[macro_export]
macro_rules! assert_transcript {
    ($name:expr, $text:expr) => {
        insta::with_settings!({ filters => $crate::support::FILTERS.to_vec() }, {
            insta::assert_snapshot!($name, $text);
        });
    };
}

/// Waits until something holds; a test that would hang fails instead.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(
            begun.elapsed().as_secs() < 60,
            "waited a minute until {what}"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
