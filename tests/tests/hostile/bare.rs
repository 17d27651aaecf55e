//! The control: a case's program without a sandbox.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use workspace_tests::case::{Case, When, replace};
use workspace_tests::host::{SECRET_VARIABLE, Traps};
use workspace_tests::unprivileged;

use crate::shared_folder;

/// How often two programs are started that must meet.
const TRIES: u32 = 3;

/// The bare interpreter as an ordinary user: what a program does without a sandbox.
pub(crate) struct Bare {
    pub(crate) python: PathBuf,
    uid: Option<u32>,
    home: TempDir,
    /// Traps of its own: here they are meant to be touched.
    traps: Traps,
}

impl Bare {
    pub(crate) fn new(python: PathBuf) -> Result<Self, String> {
        let uid = unprivileged::ordinary_user();
        let home = shared_folder()?;
        let work = home.path().join("work");
        fs::create_dir(&work).map_err(|error| error.to_string())?;
        std::os::unix::fs::chown(&work, uid, uid).map_err(|error| error.to_string())?;
        Ok(Self {
            python,
            uid,
            home,
            traps: Traps::set().map_err(|error| error.to_string())?,
        })
    }

    pub(crate) fn must_escape(&self, case: &Case) -> Result<(), Failed> {
        let last = match &case.second {
            None => self.start(case, &case.source, "first", "")?.output()?,
            Some((When::Then, look)) => {
                let before = self.start(case, &case.source, "first", "")?.output()?;
                self.start(case, look, "second", before.trim())?.output()?
            }
            Some((When::Beside, beside)) => {
                let mut last = String::new();
                for _ in 0..TRIES {
                    let mut first = self.start(case, &case.source, "first", "")?;
                    // On a busy machine it takes its time to be at it, and may be over too soon.
                    while !last.contains("ESCAPED") && first.0.try_wait()?.is_none() {
                        last = self.start(case, beside, "second", "")?.output()?;
                    }
                }
                last
            }
        };
        if last.contains("ESCAPED") {
            return Ok(());
        }
        Err(format!(
            "without a sandbox it must escape, else it proves nothing; it printed {last:?}"
        )
        .into())
    }

    fn start(
        &self,
        case: &Case,
        source: &[u8],
        name: &str,
        before: &str,
    ) -> Result<BareRun, Failed> {
        let file = self
            .home
            .path()
            .join(format!("{}-{name}.py", case.name.replace('/', "-")));
        fs::write(&file, source)?;
        // A program that hangs or eats memory must not take the host with it.
        let mut command = Command::new("timeout");
        command.args([
            "--signal=KILL",
            "20",
            "prlimit",
            "--as=4294967296",
            "--cpu=10",
            "--fsize=67108864",
        ]);
        command.arg(&self.python).arg(&file);
        for arg in &case.args {
            let arg = replace(arg, b"{host}", self.traps.facts().as_bytes());
            command.arg(
                String::from_utf8_lossy(&replace(&arg, b"{before}", before.as_bytes())).as_ref(),
            );
        }
        command
            .current_dir(self.home.path().join("work"))
            .env(SECRET_VARIABLE, self.traps.environment());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        Ok(BareRun(command.process_group(0).spawn()?))
    }
}

/// Killed with everything of its process group when dropped.
struct BareRun(Child);

impl BareRun {
    fn output(mut self) -> Result<String, Failed> {
        let stdout = self.0.stdout.take().ok_or("no pipe")?;
        let mut text = Vec::new();
        // Not to the end of the pipe: a daemon may hold it. A case says what it says on one line.
        BufReader::new(stdout).read_until(b'\n', &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl Drop for BareRun {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(-(self.0.id() as i32)), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}
