//! Starting a model server, knowing when it can generate, and ending it with everything it started.
//!
//! ```text
//!   codejury ── stdin ──► guard ── starts ──► server (leads a process group of its own)
//!                           │                    ├─ engine
//!                           └── ends the group   └─ workers
//! ```
//!
//! The guard is codejury itself, as `codejury guard`: it starts the server and waits. When its
//! standard input ends, because codejury closed it or was killed, it sends SIGTERM, waits, and kills
//! the group. So no server outlives us, whatever ends us, and the server's memory is free for the
//! next one. The input is a socket, on which the guard says which group it is: when the guard is
//! killed, codejury ends that.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::net::{Shutdown, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::Pid;

use super::client::{Ask, Client, Served, Trouble};
use crate::config::{EvalConfig, Sampling, ServerConfig, Style};
use crate::error::EvalError;

/// How much of the log's end is read when a server fails. The cause stands above the tracebacks of
/// all the processes that only waited for the one that failed, more than a hundred lines.
const READ_BYTES: u64 = 256 << 10;
/// How much of it is shown, and how much of a line.
const TAIL_LINES: usize = 25;
const LINE_CHARS: usize = 600;
/// Between looks at a server that is starting.
const POLL: Duration = Duration::from_millis(500);

/// A server that runs, until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Server {
    guard: Child,
    /// What was started.
    pub(crate) command: Vec<String>,
    /// Shutting it down ends the server. What comes from it is the server's process group.
    leash: UnixStream,
    log: PathBuf,
    port: u16,
    grace: Duration,
}

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// The command that runs [`guard`].
    pub(crate) guard: Vec<String>,
    pub(crate) model: PathBuf,
    pub(crate) name: String,
    /// Counted from 0.
    pub(crate) replica: u16,
    pub(crate) log: PathBuf,
}

impl Launch {
    /// The server's command line with its place holders filled in.
    fn command(&self, config: &ServerConfig, port: u16) -> Vec<String> {
        let length = config.max_model_len.to_string();
        let values = [
            ("{model}", self.model.to_string_lossy().into_owned()),
            ("{name}", self.name.clone()),
            ("{port}", port.to_string()),
            ("{max_model_len}", length),
        ];
        let fill = |word: &String| {
            values
                .iter()
                .fold(word.clone(), |word, (from, to)| word.replace(from, to))
        };
        config.command.iter().map(fill).collect()
    }

    /// Starts it; it is not ready yet.
    ///
    /// # Errors
    ///
    /// The port is taken, the program is not there, or the log cannot be written.
    pub(crate) fn start(&self, config: &ServerConfig) -> Result<Server, EvalError> {
        let port = match config.port {
            0 => free_port()?,
            first => taken(first + self.replica)?,
        };
        let command = self.command(config, port);
        if let Some(folder) = self.log.parent() {
            fs::create_dir_all(folder).map_err(EvalError::write(folder))?;
        }
        let log = File::create(&self.log).map_err(EvalError::write(&self.log))?;
        let also = log.try_clone().map_err(EvalError::write(&self.log))?;
        let grace = Duration::from_secs_f64(config.stop_grace_s);
        let cannot = |error: io::Error| {
            EvalError::failed(format!("cannot start {}: {error}", self.guard[0]))
        };
        let (leash, end) = UnixStream::pair().map_err(cannot)?;
        let mut guard = Command::new(&self.guard[0]);
        guard
            .args(&self.guard[1..])
            .arg("--grace")
            .arg(format!("{}s", config.stop_grace_s))
            .arg("--")
            .args(&command)
            .envs(&config.env)
            .envs(self.device(config))
            .stdin(OwnedFd::from(end))
            .stdout(log)
            .stderr(also)
            // Ctrl-C is ours to handle: the server must live until its requests are cancelled.
            .process_group(0);
        Ok(Server {
            command,
            leash,
            guard: guard.spawn().map_err(cannot)?,
            log: self.log.clone(),
            port,
            grace,
        })
    }

    fn device(&self, config: &ServerConfig) -> BTreeMap<&'static str, String> {
        let own = config.devices.get(usize::from(self.replica));
        own.map(|devices| ("CUDA_VISIBLE_DEVICES", devices.clone()))
            .into_iter()
            .collect()
    }
}

fn free_port() -> Result<u16, EvalError> {
    let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    free.map(|address| address.port())
        .map_err(|error| EvalError::failed(format!("no free port on 127.0.0.1: {error}")))
}

fn taken(port: u16) -> Result<u16, EvalError> {
    TcpListener::bind(("127.0.0.1", port))
        .map(|_| port)
        .map_err(|error| {
            EvalError::invalid(format!(
                "port {port} cannot be used for the server: {error}"
            ))
            .hint("server.port = 0 takes a free one")
        })
}

impl Server {
    /// The address up to `/v1`.
    pub(crate) fn base(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.guard.try_wait().ok().flatten()?;
        if status.signal().is_some() {
            self.end_orphan();
        }
        Some(status)
    }

    /// Ends the server of a guard that was killed.
    fn end_orphan(&mut self) {
        let mut group = String::new();
        // The guard's end is closed: what it has said is all there is, and is read once.
        if self.leash.read_to_string(&mut group).is_ok()
            && let Ok(group) = group.trim().parse()
        {
            let group = Pid::from_raw(group);
            end_group(group, self.grace, || kill(group, None).is_ok());
        }
    }

    /// Waits until it has generated a token for each endpoint that will be used.
    ///
    /// # Errors
    ///
    /// It ended, or was not ready in time, with the end of its log; or it cannot do what is asked
    /// of it. It is stopped then.
    pub(crate) async fn ready(
        &mut self,
        client: &Client,
        name: &str,
        styles: &[Style],
        config: &EvalConfig,
    ) -> Result<Served, EvalError> {
        let deadline = Instant::now() + Duration::from_secs_f64(config.server.ready_timeout_s);
        let served = loop {
            if let Some(status) = self.ended() {
                return Err(self.failure(&format!("the model server ended ({status})")));
            }
            if Instant::now() >= deadline {
                let seconds = config.server.ready_timeout_s;
                let what = format!("the model server was not ready after {seconds} s");
                let error = self.failure(&what);
                self.stop();
                return Err(error);
            }
            // Not every server has a page for its health; what it can do is tried below.
            if let Ok(Some(true) | None) = client.healthy().await
                && let Ok(models) = client.models().await
            {
                match models.into_iter().find(|model| model.name == name) {
                    Some(model) => break model,
                    None => {
                        self.stop();
                        return Err(EvalError::failed(format!(
                            "the model server does not offer {name:?}"
                        ))
                        .hint("server.command must hold `--served-model-name {name}`"));
                    }
                }
            }
            tokio::time::sleep(POLL).await;
        };
        // /health says 200 before the first token was ever made; some faults only show then.
        for &style in styles {
            match try_out(client, name, style, &config.sampling).await {
                Ok(()) => {}
                Err(trouble) => {
                    // A dying engine takes a moment to end its process.
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    let what = format!("the first generation failed: {}", trouble.detail());
                    let error = match trouble {
                        Trouble::Refused(_) => EvalError::failed(what).hint(
                            "a chat prompt needs a chat template in the checkpoint's tokenizer; \
                             `codejury handoff verify` checks it",
                        ),
                        _ => self.failure(&what),
                    };
                    self.stop();
                    return Err(error);
                }
            }
        }
        Ok(served)
    }

    /// An error with the end of the log, and a hint if the log says why.
    pub(crate) fn failure(&self, what: &str) -> EvalError {
        let text = end_of(&self.log);
        let shown = shown(&text);
        EvalError::Failed {
            what: format!("{what}; its log: {}", self.log.display()),
            hint: diagnosis(&shown).map(str::to_owned),
            log: shown,
        }
    }

    /// Begins to end it, so that several end at the same time.
    pub(crate) fn let_go(&mut self) {
        let _ = self.leash.shutdown(Shutdown::Write);
    }

    /// Ends it in the right order and waits until it is gone. Does not wait longer than its grace
    /// and ten seconds; if its guard hangs and has to be killed, twice that.
    pub(crate) fn stop(&mut self) {
        self.let_go();
        let deadline = Instant::now() + self.grace + Duration::from_secs(10);
        while Instant::now() < deadline {
            if self.ended().is_some() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        // The guard hangs, which takes a kernel that cannot kill; at least it does not wait on us.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        self.end_orphan();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One token, of the kind that the evaluation will ask for.
///
/// # Errors
///
/// There is none.
pub(crate) async fn try_out(
    client: &Client,
    model: &str,
    style: Style,
    sampling: &Sampling,
) -> Result<(), Trouble> {
    let ask = Ask {
        model,
        style,
        prompt: "def add(a, b):",
        sampling,
        max_tokens: 1,
        seed: None,
        stop: &[],
        max_stop_strings: 0,
        request_id: "codejury-ready",
    };
    client.generate(&ask).await.map(drop)
}

/// The end of a log.
fn end_of(log: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(READ_BYTES)))?;
        let mut text = Vec::new();
        file.take(READ_BYTES).read_to_end(&mut text)?;
        Ok(text)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// What is shown of a log: its last lines, and above them the first error if that stands further up.
fn shown(log: &str) -> Vec<String> {
    let lines: Vec<&str> = log.lines().map(str::trim_end).collect();
    let tail = lines.len().saturating_sub(TAIL_LINES);
    let mut shown = Vec::new();
    if let Some(cause) = lines.iter().position(|line| is_error(line))
        && cause < tail
    {
        shown.push(lines[cause]);
        // A message may go on in lines below, which are set in.
        let more = lines[cause + 1..tail].iter().take(3);
        shown.extend(more.take_while(|line| line.starts_with("  ")));
        shown.push("…");
    }
    shown.extend(&lines[tail..]);
    let short = |line: &str| match line.char_indices().nth(LINE_CHARS) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    };
    shown.into_iter().map(short).collect()
}

/// The line of a log's shown part that says most.
pub(crate) fn cause(shown: &[String]) -> Option<&String> {
    shown.iter().find(|line| is_error(line)).or(shown.last())
}

/// Whether a line ends a Python traceback: `torch.OutOfMemoryError: CUDA out of memory`, with
/// nothing before it but what a logger writes there.
fn is_error(line: &str) -> bool {
    if is_talk(line) || line.contains("See root cause above") {
        return false;
    }
    let Some((before, _)) = ["Error: ", "Exception: "]
        .iter()
        .filter_map(|end| line.split_once(end))
        .min_by_key(|(before, _)| before.len())
    else {
        return false;
    };
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
    let prefix = before.trim_end_matches(name).trim_end();
    prefix.is_empty() || prefix.ends_with([']', ')'])
}

/// Whether a logger wrote a line that reports no failure.
fn is_talk(line: &str) -> bool {
    ["INFO ", "WARNING ", "DEBUG "]
        .iter()
        .any(|level| line.contains(level))
}

/// What the shown lines of a log say about the cause.
fn diagnosis(shown: &[String]) -> Option<&'static str> {
    let known = [
        (
            &[
                "out of memory",
                "OutOfMemoryError",
                "No available memory for the cache blocks",
                "larger than the available KV cache memory",
                "can be stored in KV cache",
                "less than requested memory for kv",
            ][..],
            "the accelerator's memory is full: is another server or trainer on it? Lower \
             --gpu-memory-utilization or --max-model-len in server.command, or raise --tensor-parallel-size",
        ),
        (
            &[
                "less than desired GPU memory utilization",
                "less than desired CPU memory utilization",
            ],
            "less memory is free than --gpu-memory-utilization asks for: end what holds it, or lower the share",
        ),
        (
            &["Address already in use", "address already in use"],
            "another program has the port; server.port = 0 takes a free one",
        ),
        (
            // What the guard says.
            &["error: cannot start \""],
            "server.command must name a program that is on PATH, or by its whole path",
        ),
        (
            &["is greater than the derived max_model_len"],
            "the model's context is shorter than server.max_model_len",
        ),
    ];
    // What the server merely mentions, such as its settings, is no cause.
    let lines: Vec<&String> = shown.iter().filter(|line| !is_talk(line)).collect();
    known
        .into_iter()
        .find(|(signs, _)| {
            let said = |sign: &&str| lines.iter().any(|line| line.contains(sign));
            signs.iter().any(said)
        })
        .map(|(_, hint)| hint)
}

/// Ends a process group in the right order: the leader, if it `leads` still, gets SIGTERM and ends the
/// others; what is left after `grace` is killed. Waits until all are gone.
fn end_group(group: Pid, grace: Duration, mut leads: impl FnMut() -> bool) {
    if leads() {
        let _ = kill(group, Signal::SIGTERM);
    }
    let deadline = Instant::now() + grace;
    while leads() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    // Its engine and workers may outlive it.
    let deadline = Instant::now() + Duration::from_secs(5);
    while killpg(group, Signal::SIGKILL) != Err(Errno::ESRCH) && Instant::now() < deadline {
        leads();
        thread::sleep(Duration::from_millis(20));
    }
}

/// The body of `codejury guard`: starts `command`, writes the id of its process group to standard
/// input if that is a socket, and ends the whole group when standard input ends, or `stop` says so
/// because the guard itself was told to end. Returns the exit status of the command, or 128 + the
/// signal's number.
///
/// # Errors
///
/// The command cannot be started.
pub fn guard(
    command: &[String],
    grace: Duration,
    stop: &dyn Fn() -> bool,
) -> Result<i32, EvalError> {
    let [program, args @ ..] = command else {
        return Err(EvalError::invalid("no command"));
    };
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| EvalError::invalid(format!("cannot start {program:?}: {error}")))?;
    let group = Pid::from_raw(child.id() as i32);
    // Whoever cannot be told does without.
    let _ = send(0, format!("{group}\n").as_bytes(), MsgFlags::MSG_NOSIGNAL);
    let (let_go, leash) = mpsc::channel();
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        let mut ignored = [0; 64];
        while !matches!(input.read(&mut ignored), Ok(0) | Err(_)) {}
        let _ = let_go.send(());
    });
    let status = loop {
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => break Some(status),
            Err(_) => break None,
        }
        if leash.recv_timeout(Duration::from_millis(100)).is_ok() || stop() {
            break None;
        }
    };
    end_group(group, grace, || matches!(child.try_wait(), Ok(None)));
    Ok(match status {
        None => 0,
        Some(status) => status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
            .unwrap_or(1),
    })
}
