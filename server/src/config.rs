//! What an operator can set. The defaults stand in [`EXAMPLE_CONFIG`], the commented file that
//! `codejury serve --print-config` prints, and a test holds the two together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use executor::{Limits, MIB, Network};
use serde::{Deserialize, Deserializer};

/// A configuration file with every key, its default and what it means.
pub const EXAMPLE_CONFIG: &str = include_str!("example.toml");

/// Everything that can be set, with its defaults.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServeConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// A file with the bearer token that every request but the health checks must carry; first
    /// line, surrounding space ignored.
    pub token_file: Option<PathBuf>,
    /// Accept a program that ends with exit code 0 before its tests have, as SandboxFusion does.
    pub compat_exit0: bool,
    /// The connections.
    pub http: HttpConfig,
    /// The line in front of the sandbox.
    pub queue: QueueConfig,
    /// Runs of the SandboxFusion paths.
    pub run: RunConfig,
    /// `/v1/judge`.
    pub judge: JudgeCallsConfig,
    /// Languages besides Python: over the built-in ones, by name.
    pub languages: BTreeMap<String, LanguageConfig>,
    /// A folder of `*.jsonl` tables for `/submit` and the prompts, by SandboxFusion's names.
    pub datasets_dir: Option<PathBuf>,
}

/// The connections.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Connections at once; more wait in the kernel's backlog.
    pub max_connections: usize,
    /// Largest request body, in MiB.
    pub max_body_mib: u64,
    /// All request bodies held at once, in MiB; a request over it is answered as by a full queue.
    pub max_bodies_mib: u64,
    /// A client has this long, in seconds, to send a request's head.
    pub head_timeout_s: f64,
    /// A client has this long, in seconds, to send a request's body.
    pub body_timeout_s: f64,
    /// Whom a request counts for in the fair queue: the value of this header where it is there,
    /// else the client's address. Only for servers behind a proxy that sets it.
    pub client_header: Option<String>,
    /// On SIGTERM, requests under way get this long, in seconds, to finish.
    pub drain_timeout_s: f64,
}

/// The line in front of the sandbox.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// Runs waiting at once, over all clients.
    pub capacity: usize,
    /// A run waits at most this long, in seconds, for its turn, and for as long again as the
    /// request allows for a compilation that it does not need. Then 504.
    pub wait_s: f64,
}

/// Runs of the SandboxFusion paths.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// What network programs see: `loopback`, a private one with nothing on it but themselves, or
    /// `none`.
    #[serde(deserialize_with = "network")]
    pub network: Network,
    /// Memory where a request states none, in MiB.
    pub memory_mib: u64,
    /// Longest time limit, in seconds; a larger one is lowered to it.
    pub max_timeout_s: f64,
    /// CPU time a run may use, as a multiple of its wall time.
    pub cpus: f64,
    /// Standard output kept, in MiB; a program that writes more is ended.
    pub stdout_mib: u64,
    /// Standard error kept, in KiB, half from its head and half from its tail.
    pub stderr_kib: u64,
    /// Processes and threads.
    pub tasks: u32,
    /// Open files of a process.
    pub open_files: u32,
    /// Largest file, in MiB.
    pub file_mib: u64,
    /// Scratch space, in MiB.
    pub scratch_mib: u64,
    /// Files and folders in the scratch space.
    pub scratch_inodes: u64,
    /// All fetched files of an answer, in MiB.
    pub fetch_mib: u64,
}

/// `/v1/judge`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JudgeCallsConfig {
    /// Calls judged at once; more wait for a place.
    pub max_calls: usize,
    /// A call waits at most this long, in seconds, for a place; then 429. 0: not at all.
    pub wait_s: f64,
    /// When no verdict has been reached for this long, in seconds, a blank line is sent, so that
    /// whatever stands between keeps the connection.
    pub keep_alive_s: f64,
    /// Submissions in one call.
    pub max_submissions: usize,
    /// Keep verdicts in this folder too, for the next start.
    pub cache_dir: Option<PathBuf>,
    /// Keep no verdicts at all.
    pub no_cache: bool,
}

/// How programs of one language are run: always cold, through `/bin/bash -c` in the sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageConfig {
    /// The name of the file with the code.
    pub file: String,
    /// The command that compiles it, if it is compiled.
    #[serde(default)]
    pub compile: Option<String>,
    /// The command that runs it.
    pub run: String,
    /// Files that compiling makes and running needs.
    #[serde(default)]
    pub artifacts: Vec<String>,
    /// Host folders that its tools need besides /usr/bin, /usr/lib and the like; those that are
    /// not there are left out.
    #[serde(default)]
    pub paths: Vec<PathBuf>,
    /// Added to the environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Added to the memory limit, in MiB: runtimes that reserve far more than they use.
    #[serde(default)]
    pub more_memory_mib: u64,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            token_file: None,
            compat_exit0: false,
            http: HttpConfig::default(),
            queue: QueueConfig::default(),
            run: RunConfig::default(),
            judge: JudgeCallsConfig::default(),
            languages: BTreeMap::new(),
            datasets_dir: None,
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            max_connections: 16_384,
            max_body_mib: 64,
            max_bodies_mib: 1024,
            head_timeout_s: 15.0,
            body_timeout_s: 60.0,
            client_header: None,
            drain_timeout_s: 30.0,
        }
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            capacity: 16_384,
            wait_s: 8.0,
        }
    }
}

impl Default for RunConfig {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            network: Network::Loopback,
            memory_mib: 4096,
            max_timeout_s: 1800.0,
            cpus: 2.0,
            stdout_mib: limits.stdout_bytes / MIB,
            stderr_kib: 1024,
            tasks: limits.tasks,
            open_files: limits.open_files,
            file_mib: limits.file_size_bytes / MIB,
            scratch_mib: limits.scratch_bytes / MIB,
            scratch_inodes: limits.scratch_inodes,
            fetch_mib: 64,
        }
    }
}

impl Default for JudgeCallsConfig {
    fn default() -> Self {
        Self {
            max_calls: 16,
            wait_s: 5.0,
            keep_alive_s: 15.0,
            max_submissions: 100_000,
            cache_dir: None,
            no_cache: false,
        }
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The file is no configuration: not TOML, an unknown key, a value of the wrong type.
    #[error("{path:?} is no configuration:\n{reason}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its place.
        reason: String,
    },
    /// A value that cannot be meant.
    #[error("configuration key `{key}`: {reason}")]
    Value {
        /// The key.
        key: String,
        /// What is wrong with its value.
        reason: String,
    },
}

impl ServeConfig {
    /// Reads a file and checks it.
    ///
    /// # Errors
    ///
    /// It cannot be read, is no configuration, or holds a value that cannot be meant.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let config: Self = toml::from_str(&text).map_err(|error| ConfigError::Parse {
            path: path.to_owned(),
            reason: error.to_string().trim_end().to_owned(),
        })?;
        config.check()?;
        Ok(config)
    }

    /// Whether every value can be meant.
    ///
    /// # Errors
    ///
    /// The first one that cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad = |key: &str, reason: &str| {
            Err(ConfigError::Value {
                key: key.to_owned(),
                reason: reason.to_owned(),
            })
        };
        let seconds = [
            ("http.head_timeout_s", self.http.head_timeout_s),
            ("http.body_timeout_s", self.http.body_timeout_s),
            ("http.drain_timeout_s", self.http.drain_timeout_s),
            ("queue.wait_s", self.queue.wait_s),
            ("run.max_timeout_s", self.run.max_timeout_s),
            ("judge.keep_alive_s", self.judge.keep_alive_s),
        ];
        for (key, value) in seconds {
            if !(value > 0.0 && value <= 86_400.0) {
                return bad(key, "must be more than 0 and at most 86400 seconds");
            }
        }
        if !(self.judge.wait_s >= 0.0 && self.judge.wait_s <= 86_400.0) {
            return bad("judge.wait_s", "must be between 0 and 86400 seconds");
        }
        if !(self.run.cpus >= 0.1 && self.run.cpus <= 1024.0) {
            return bad("run.cpus", "must be between 0.1 and 1024");
        }
        let counts = [
            ("http.max_connections", self.http.max_connections),
            ("queue.capacity", self.queue.capacity),
            ("judge.max_calls", self.judge.max_calls),
            ("judge.max_submissions", self.judge.max_submissions),
            ("run.tasks", self.run.tasks as usize),
        ];
        for (key, value) in counts {
            if value == 0 {
                return bad(key, "must be at least 1");
            }
        }
        if self.run.open_files < 8 {
            return bad("run.open_files", "must be at least 8");
        }
        let sizes = [
            ("http.max_body_mib", self.http.max_body_mib),
            ("http.max_bodies_mib", self.http.max_bodies_mib),
            ("run.memory_mib", self.run.memory_mib),
            ("run.stdout_mib", self.run.stdout_mib),
            ("run.stderr_kib", self.run.stderr_kib),
            ("run.file_mib", self.run.file_mib),
            ("run.scratch_mib", self.run.scratch_mib),
            ("run.scratch_inodes", self.run.scratch_inodes),
            ("run.fetch_mib", self.run.fetch_mib),
        ];
        for (key, value) in sizes {
            if value == 0 || value > 1 << 22 {
                return bad(key, "must be between 1 and 4194304");
            }
        }
        if self.http.max_bodies_mib < self.http.max_body_mib {
            return bad(
                "http.max_bodies_mib",
                "must be at least http.max_body_mib, or the largest body never fits",
            );
        }
        if let Some(header) = &self.http.client_header
            && hyper::header::HeaderName::from_bytes(header.as_bytes()).is_err()
        {
            return bad("http.client_header", "is no header name");
        }
        for (name, language) in &self.languages {
            let key = |field: &str| format!("languages.{name}.{field}");
            if name == "python" || name == "pytest" {
                return bad(
                    &format!("languages.{name}"),
                    "runs on the interpreter of --python; it cannot be configured here",
                );
            }
            if !crate::fusion::is_language(name) {
                return bad(
                    &format!("languages.{name}"),
                    "is no language of the contract",
                );
            }
            let plain = |file: &str| {
                !file.is_empty() && !file.contains(['/', '\0']) && file != "." && file != ".."
            };
            if !plain(&language.file) {
                return bad(&key("file"), "must be a plain file name");
            }
            if !language.artifacts.iter().all(|file| plain(file)) {
                return bad(&key("artifacts"), "must be plain file names");
            }
            if !language.artifacts.is_empty() && language.compile.is_none() {
                return bad(&key("artifacts"), "only a compiled language has them");
            }
            if language.paths.iter().any(|path| !path.is_absolute()) {
                return bad(&key("paths"), "must be absolute paths");
            }
        }
        Ok(())
    }

    /// What runs of the SandboxFusion paths may use, but for time and memory.
    pub(crate) fn limits(&self) -> Limits {
        let run = &self.run;
        Limits {
            memory_bytes: run.memory_mib * MIB,
            stdout_bytes: run.stdout_mib * MIB,
            stderr_bytes: run.stderr_kib * 1024,
            tasks: run.tasks,
            open_files: run.open_files,
            file_size_bytes: run.file_mib * MIB,
            scratch_bytes: run.scratch_mib * MIB,
            scratch_inodes: run.scratch_inodes,
            ..Limits::default()
        }
    }

    pub(crate) fn queue_wait(&self) -> Duration {
        Duration::from_secs_f64(self.queue.wait_s)
    }
}

fn network<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Network, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "none" => Ok(Network::None),
        "loopback" => Ok(Network::Loopback),
        other => Err(serde::de::Error::custom(format!(
            "unknown network {other:?}; known: none, loopback"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ServeConfig, String> {
        let config: ServeConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn the_example_is_the_defaults() {
        assert_eq!(read(EXAMPLE_CONFIG), Ok(ServeConfig::default()));
        assert_eq!(read(""), Ok(ServeConfig::default()));
    }

    #[test]
    fn the_example_shows_every_key() {
        let shown = EXAMPLE_CONFIG.replace("#- ", "");
        let config = read(&shown).unwrap();
        assert!(config.token_file.is_some() && config.datasets_dir.is_some());
        assert!(config.http.client_header.is_some() && config.judge.cache_dir.is_some());
        assert_eq!(config.languages["cpp"].artifacts, ["test"]);
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        let cases = [
            ("[queue]\ncapacity = 0", "queue.capacity"),
            ("[queue]\nwait_s = -1.0", "queue.wait_s"),
            ("[queue]\nwait_s = nan", "queue.wait_s"),
            ("[run]\ncpus = 0.0", "run.cpus"),
            ("[run]\nnetwork = \"internet\"", "loopback"),
            ("[http]\nmax_bodies_mib = 1", "http.max_bodies_mib"),
            ("[http]\nclient_header = \"a b\"", "http.client_header"),
            ("nope = 1", "nope"),
            ("listen = \"here\"", "listen"),
            ("[languages.python]\nfile = \"a\"\nrun = \"b\"", "--python"),
            (
                "[languages.cobol]\nfile = \"a\"\nrun = \"b\"",
                "languages.cobol",
            ),
            (
                "[languages.cpp]\nfile = \"a/b\"\nrun = \"b\"",
                "languages.cpp.file",
            ),
            ("[languages.cpp]\nfile = \"a\"", "run"),
            (
                "[languages.cpp]\nfile = \"a\"\nrun = \"b\"\npaths = [\"x\"]",
                "absolute",
            ),
        ];
        for (text, named) in cases {
            let error = read(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
