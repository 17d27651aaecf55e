//! Which parts of the host a cell shows: the system's libraries and commands, the interpreter, a
//! minimal `/dev` and `/etc`. Everything else does not exist inside.

use std::path::{Path, PathBuf};

use ::cell::protocol::{Bind, RUN_ID, WORK_DIR};

use crate::Interpreter;

/// Of the system: shared libraries, commands (`os.system`, `subprocess`), time zones, and what
/// tells the loader where libraries lie.
const SYSTEM: [&str; 13] = [
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/bin",
    "/usr/sbin",
    "/lib",
    "/lib64",
    "/bin",
    "/sbin",
    "/usr/share/zoneinfo",
    "/etc/alternatives",
    "/etc/ld.so.cache",
];
const DEVICES: [&str; 5] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];

/// The read-only part of a cell's root.
#[derive(Clone, Debug, Default)]
pub(crate) struct RootPlan {
    pub(crate) binds: Vec<Bind>,
    pub(crate) symlinks: Vec<(PathBuf, PathBuf)>,
    pub(crate) files: Vec<(PathBuf, Vec<u8>)>,
}

impl RootPlan {
    /// What this interpreter needs on this host, and `more`.
    pub(crate) fn new(interpreter: &Interpreter, more: &[PathBuf]) -> Self {
        let mut plan = Self::default();
        // Shorter paths first: what lies below a bind is there already.
        let mut paths: Vec<PathBuf> = SYSTEM
            .iter()
            .map(PathBuf::from)
            .chain(interpreter.tree.clone())
            .chain(more.iter().cloned())
            .collect();
        paths.sort_by_key(|path| path.components().count());
        for path in paths {
            plan.show(&path);
        }
        for device in DEVICES.map(PathBuf::from) {
            plan.binds.push(Bind {
                source: device.clone(),
                target: device,
                device: true,
            });
        }
        let links = [
            ("/dev/fd", "/proc/self/fd"),
            ("/dev/stdin", "/proc/self/fd/0"),
            ("/dev/stdout", "/proc/self/fd/1"),
            ("/dev/stderr", "/proc/self/fd/2"),
        ];
        plan.symlinks
            .extend(links.map(|(at, says)| (at.into(), says.into())));
        plan.files = etc();
        plan
    }

    fn show(&mut self, path: &Path) {
        if self.binds.iter().any(|bind| path.starts_with(&bind.source))
            || self.symlinks.iter().any(|(at, _)| path == at)
        {
            return;
        }
        match std::fs::symlink_metadata(path) {
            // `/lib -> usr/lib` stays a link: a bind of its target would be a second copy.
            Ok(meta) if meta.is_symlink() => {
                if let Ok(says) = std::fs::read_link(path) {
                    self.symlinks.push((path.to_owned(), says));
                }
            }
            Ok(_) => self.binds.push(Bind {
                source: path.to_owned(),
                target: path.to_owned(),
                device: false,
            }),
            Err(_) => {}
        }
    }
}

/// Just enough for `pwd.getpwuid`, `socket.gethostbyname("localhost")` and the local time.
fn etc() -> Vec<(PathBuf, Vec<u8>)> {
    let passwd = format!(
        "run:x:{RUN_ID}:{RUN_ID}:run:{WORK_DIR}:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
    );
    let group = format!("run:x:{RUN_ID}:\nnogroup:x:65534:\n");
    [
        ("/etc/passwd", passwd.as_str()),
        ("/etc/group", &group),
        (
            "/etc/hosts",
            "127.0.0.1 localhost codejury\n::1 localhost\n",
        ),
        (
            "/etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files\n",
        ),
    ]
    .map(|(path, text)| (path.into(), text.into()))
    .into()
}
