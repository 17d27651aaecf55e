//! `codejury doctor`: what this host gives, layer by layer, with the remedy for what is missing,
//! and a few escapes tried for real.

use std::path::Path;

use serde::Serialize;

use crate::cgroup::Cgroups;
use crate::{
    Interpreter, IsolationRequest, Outcome, RunRequest, Sandbox, SandboxConfig, SandboxError, host,
};

/// How one layer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Enforced.
    Pass,
    /// Works, with less than the whole: the detail says what.
    Caution,
    /// Missing; runs stop with an error unless weaker isolation is accepted.
    Fail,
}

/// One line of the doctor's report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Layer or property.
    pub name: &'static str,
    /// How it stands.
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty for `Pass`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl Check {
    fn new(
        name: &'static str,
        status: Status,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            name,
            status,
            detail: detail.into(),
            remedy: remedy.into(),
        }
    }

    fn pass(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Status::Pass, detail, "")
    }
}

/// Small attacks, each with the only thing it may print.
const ESCAPES: [(&str, &str); 5] = [
    (
        "host files",
        "import os\nseen = [p for p in ('/etc/shadow', '/root/.ssh', '/home', '/var', '/sys/fs', '/boot') if os.path.exists(p)]\nprint('contained' if not seen else seen)",
    ),
    (
        "network",
        "import socket\ntry:\n    socket.socket(socket.AF_INET)\n    print('a socket')\nexcept PermissionError:\n    print('contained')",
    ),
    (
        "new namespaces",
        "import ctypes\nprint('contained' if ctypes.CDLL(None).unshare(0x10000000) else 'unshared')",
    ),
    (
        "other processes",
        "import os\nseen = [p for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()]\nprint('contained' if not seen else seen)",
    ),
    (
        "privileges",
        "s = open('/proc/self/status').read()\nprint('contained' if 'CapEff:\\t0000000000000000' in s and 'NoNewPrivs:\\t1' in s and 'Seccomp:\\t2' in s else s)",
    ),
];

/// Looks at everything a sandbox needs. Takes well under a second; starts a few small programs.
pub fn doctor(python: Option<&Path>) -> Vec<Check> {
    let mut checks = vec![kernel(), landlock(), cgroups(), processors()];
    match Interpreter::resolve(python) {
        Ok(found) => {
            checks.push(Check::pass(
                "python",
                format!("{} at {}", found.version, found.executable.display()),
            ));
        }
        Err(error) => {
            let remedy = "name a CPython 3.8 or newer with --python PATH";
            checks.push(Check::new(
                "python",
                Status::Fail,
                error.to_string(),
                remedy,
            ));
            return checks;
        }
    }
    let config = |isolation| SandboxConfig {
        python: python.map(Into::into),
        isolation,
        ..SandboxConfig::default()
    };
    match Sandbox::new(config(IsolationRequest::Namespaces)) {
        Ok(sandbox) => {
            checks.push(Check::pass(
                "namespaces",
                "user, mount, pid, ipc, uts, cgroup, network",
            ));
            checks.push(Check::pass("seccomp", "allow-list installed"));
            checks.extend(
                ESCAPES
                    .iter()
                    .map(|(name, program)| escape(&sandbox, name, program)),
            );
        }
        Err(SandboxError::IsolationUnavailable { reason, remedy, .. }) => {
            checks.push(Check::new("namespaces", Status::Fail, reason, remedy));
        }
        Err(error) => {
            let detail = chain(&error);
            checks.push(Check::new(
                "namespaces",
                Status::Fail,
                detail,
                "please report this with the kernel's version",
            ));
        }
    }
    checks.push(restricted(Sandbox::new(config(
        IsolationRequest::Restricted,
    ))));
    checks
}

fn escape(sandbox: &Sandbox, name: &'static str, program: &str) -> Check {
    match sandbox.run(&RunRequest::python(program.as_bytes())) {
        Ok(report)
            if report.outcome == (Outcome::Exited { code: 0 })
                && report.stdout.bytes == b"contained\n" =>
        {
            Check::pass(name, "tried to get out, contained")
        }
        Ok(report) => {
            let said = String::from_utf8_lossy(&report.stdout.bytes).into_owned();
            let error = String::from_utf8_lossy(&report.stderr.bytes).into_owned();
            let detail = format!(
                "{:?}: {} {}",
                report.outcome,
                said.trim(),
                error.lines().last().unwrap_or_default()
            );
            Check::new(
                name,
                Status::Fail,
                detail,
                "do not run untrusted code here; please report this",
            )
        }
        Err(error) => Check::new(name, Status::Fail, chain(&error), "please report this"),
    }
}

fn restricted(sandbox: Result<Sandbox, SandboxError>) -> Check {
    match sandbox {
        Ok(sandbox) => match sandbox.run(&RunRequest::python(&b"print('ok')"[..])) {
            Ok(report) if report.stdout.bytes == b"ok\n" => {
                let files = match host::landlock_abi() {
                    0 => "seccomp, rlimits; no Landlock, so programs can read what this user can",
                    _ => "seccomp, Landlock, rlimits",
                };
                Check::pass(
                    "restricted",
                    format!("available with --isolation restricted: {files}"),
                )
            }
            Ok(report) => {
                let error = String::from_utf8_lossy(&report.stderr.bytes).into_owned();
                let detail = format!(
                    "a program ended with {:?} {}",
                    report.outcome,
                    error.lines().last().unwrap_or_default()
                );
                Check::new(
                    "restricted",
                    Status::Caution,
                    detail,
                    "use an interpreter that an ordinary user can read",
                )
            }
            Err(error) => {
                let remedy =
                    "use an interpreter that an ordinary user can read, outside of private folders";
                Check::new("restricted", Status::Caution, chain(&error), remedy)
            }
        },
        Err(error) => Check::new(
            "restricted",
            Status::Caution,
            chain(&error),
            "only the other levels can be used here",
        ),
    }
}

fn kernel() -> Check {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (5, 4) {
        Check::pass(
            "kernel",
            format!("Linux {release} {}", std::env::consts::ARCH),
        )
    } else {
        Check::new(
            "kernel",
            Status::Fail,
            format!("Linux {release}"),
            "Linux 5.4 or newer is needed (pidfd)",
        )
    }
}

fn landlock() -> Check {
    match host::landlock_abi() {
        0 => Check::new(
            "landlock",
            Status::Caution,
            "this kernel has none",
            "namespaces do without; --isolation restricted is weaker. Linux 5.13+ with lsm=landlock has it",
        ),
        abi @ 1..6 => Check::new(
            "landlock",
            Status::Caution,
            format!("ABI {abi}: no scoping of signals and abstract sockets"),
            "namespaces do without; Linux 6.12 or newer has it",
        ),
        abi => Check::pass(
            "landlock",
            format!("ABI {abi}: files, TCP, signals, abstract sockets"),
        ),
    }
}

fn cgroups() -> Check {
    let found = Cgroups::detect();
    if found.memory() {
        Check::pass("cgroups", found.describe())
    } else {
        Check::new(
            "cgroups",
            Status::Caution,
            format!(
                "{}; memory is limited for each process, and a watcher adds processes up",
                found.describe()
            ),
            "run under `systemd-run --user --scope -p Delegate=yes`, or as root, to have the kernel count whole runs",
        )
    }
}

fn processors() -> Check {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    Check::pass("processors", format!("{count}: as many runs at once"))
}

/// An error with its causes, on one line.
fn chain(error: &SandboxError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
