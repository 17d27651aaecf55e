//! The host around a run: what is planted on it for a program to find, and what it has.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The variable that the supervisor's environment holds and no run may see.
pub const SECRET_VARIABLE: &str = "CODEJURY_HOSTILE_SECRET";
/// Every file that a program tries to leave on the host has a name that starts so.
pub const MARK: &str = "codejury-hostile-mark";
/// Where programs like to leave files, and where secrets are laid for them.
const PLACES: [&str; 7] = [
    "/tmp", "/var/tmp", "/dev/shm", "/home", "/srv", "/opt", "/run",
];

/// Files, listeners and a secret for hostile programs to find.
///
/// Everything is open to any user of the host; only the sandbox stands between.
#[derive(Debug)]
pub struct Traps {
    facts: Value,
    secret: String,
    environment: String,
    touched: Arc<AtomicU64>,
    _folders: Vec<TempDir>,
}

impl Traps {
    /// Lays secrets and opens listeners. The listeners live as long as this process.
    ///
    /// # Errors
    ///
    /// This host gives no place for a file or no address to listen on.
    pub fn set() -> io::Result<Self> {
        let id = fs::read_to_string("/proc/sys/kernel/random/uuid")?
            .trim()
            .to_owned();
        let secret = format!("codejury-secret-{id}");
        let environment = format!("codejury-environment-{id}");
        let file_name = format!("codejury-hostile-file-{id}");
        let touched = Arc::new(AtomicU64::new(0));

        let mut folders = Vec::new();
        let mut secrets = Vec::new();
        for place in PLACES {
            let folder = tempfile::Builder::new()
                .prefix("codejury-hostile-")
                .tempdir_in(place);
            let Ok(folder) = folder else { continue }; // an ordinary user cannot write everywhere
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
            let file = folder.path().join(&file_name);
            fs::write(&file, &secret)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
            secrets.push(file);
            folders.push(folder);
        }
        let first = folders
            .first()
            .ok_or_else(|| io::Error::other("no place for a secret file"))?;

        let mut tcp = Vec::new();
        for address in ["0.0.0.0:0", "[::]:0"] {
            // A host without IPv6 has one listener less.
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let ip = if address.starts_with('[') {
                "::1"
            } else {
                "127.0.0.1"
            };
            tcp.push(json!([ip, listener.local_addr()?.port()]));
            let touched = Arc::clone(&touched);
            serve(
                move || listener.accept().map(|(stream, _)| greet(stream)),
                touched,
            );
        }
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        let udp_port = udp.local_addr()?.port();
        serve(
            move || udp.recv_from(&mut [0; 16]).map(drop),
            Arc::clone(&touched),
        );

        let unix = first.path().join("socket");
        let listener = UnixListener::bind(&unix)?;
        fs::set_permissions(&unix, fs::Permissions::from_mode(0o666))?;
        serve(
            move || listener.accept().map(|(stream, _)| greet(stream)),
            Arc::clone(&touched),
        );
        let name = format!("codejury-hostile-{id}");
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        serve(
            move || listener.accept().map(|(stream, _)| greet(stream)),
            Arc::clone(&touched),
        );

        let facts = json!({
            "secrets": secrets,
            "file_name": file_name,
            "tcp": tcp,
            "udp": ["127.0.0.1", udp_port],
            "unix": unix,
            "abstract": name,
            // Backwards, so that the program's own arguments are no find.
            "environment_backwards": environment.chars().rev().collect::<String>(),
            "mark": MARK,
        });
        Ok(Self {
            facts,
            secret,
            environment,
            touched,
            _folders: folders,
        })
    }

    /// What a program is told, as the JSON text that replaces `{host}` in its arguments.
    pub fn facts(&self) -> String {
        self.facts.to_string()
    }

    /// Texts that must never come out of a run.
    pub fn secrets(&self) -> [&str; 2] {
        [&self.secret, &self.environment]
    }

    /// The value of [`SECRET_VARIABLE`].
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// How often a listener was reached.
    pub fn touched(&self) -> u64 {
        self.touched.load(Ordering::SeqCst)
    }
}

fn greet(mut stream: impl Read + Write) {
    // Whoever reached this has escaped; whether the greeting arrives does not matter.
    let _ = stream.write_all(b"host\n");
}

fn serve(mut accept: impl FnMut() -> io::Result<()> + Send + 'static, touched: Arc<AtomicU64>) {
    std::thread::spawn(move || {
        while accept().is_ok() {
            touched.fetch_add(1, Ordering::SeqCst);
        }
    });
}

/// Files of programs that reached the host, by their [`MARK`].
pub fn marked_files() -> Vec<PathBuf> {
    let here = std::env::current_dir().unwrap_or_default();
    let folders = PLACES
        .iter()
        .map(PathBuf::from)
        .chain([here, PathBuf::from("/")]);
    let entries = folders.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    entries
        .map(|entry| entry.path())
        .filter(|path| is_marked(path))
        .collect()
}

fn is_marked(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(MARK))
}

/// What the host and the interpreter have, as the bare interpreter tells.
#[derive(Clone, Debug)]
pub struct Features(Value);

impl Features {
    /// Asks `python`.
    ///
    /// # Errors
    ///
    /// It does not run, or says something else.
    pub fn probe(python: &Path) -> Result<Self, String> {
        let output = Command::new(python)
            .args(["-c", include_str!("probe.py")])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{}: {error}", python.display()))?;
        serde_json::from_slice(&output.stdout)
            .map(Self)
            .map_err(|_| {
                format!(
                    "{} cannot probe: {}",
                    python.display(),
                    String::from_utf8_lossy(&output.stderr)
                )
            })
    }

    /// Why `need` (`name`, or `name>=number`) is not met; nothing if it is.
    pub fn lacks(&self, need: &str) -> Option<String> {
        let (name, least) = match need.split_once(">=") {
            Some((name, least)) => (name, least),
            None => (need, "1"),
        };
        // A version like 3.10 is told as 310.
        let least: u64 = match least.split_once('.') {
            Some((major, minor)) => major.parse::<u64>().ok()? * 100 + minor.parse::<u64>().ok()?,
            None => least.parse().ok()?,
        };
        match self.0.get(name).and_then(Value::as_u64) {
            Some(has) if has >= least => None,
            Some(has) => Some(format!("needs {need}, this host has {has}")),
            None => Some(format!("needs {need}, which nothing probes for")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_touched_trap_is_noticed() {
        let traps = Traps::set().unwrap();
        assert_eq!(traps.touched(), 0);
        let facts: Value = serde_json::from_str(&traps.facts()).unwrap();
        let port = facts["tcp"][0][1].as_u64().unwrap();
        let mut greeting = String::new();
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port as u16)).unwrap();
        stream.read_to_string(&mut greeting).unwrap();
        assert_eq!(greeting, "host\n");
        // The greeting is sent before the count: wait for it.
        let begun = std::time::Instant::now();
        while traps.touched() == 0 && begun.elapsed().as_secs() < 5 {
            std::thread::yield_now();
        }
        assert_eq!(traps.touched(), 1);
        for secret in facts["secrets"].as_array().unwrap() {
            let text = fs::read_to_string(secret.as_str().unwrap()).unwrap();
            assert_eq!(text, traps.secrets()[0]);
        }
    }

    #[test]
    fn needs_compare_with_what_the_host_has() {
        let features = Features(json!({"x86_64": 1, "ia32": 0, "python": 311}));
        for (need, met) in [
            ("x86_64", true),
            ("ia32", false),
            ("python>=3.9", true),
            ("python>=3.12", false),
            ("nonsense", false),
        ] {
            assert_eq!(features.lacks(need).is_none(), met, "{need}");
        }
    }
}
