//! A server for tests, and a client that shows exactly what came over the wire.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use executor::{Sandbox, SandboxConfig};
use serde_json::Value;
use server::{QueueConfig, Runners, ServeConfig, Server};
use tokio::sync::oneshot;

/// A running server; ends when it is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The sandboxes of all servers of this process: starting one takes longer than most tests.
pub(crate) fn runners() -> Runners {
    static RUNNERS: OnceLock<Runners> = OnceLock::new();
    RUNNERS.get_or_init(new_runners).clone()
}

fn new_runners() -> Runners {
    let sandbox = |more_paths| {
        let config = SandboxConfig {
            more_paths,
            slots: Some(2),
            ..SandboxConfig::default()
        };
        Arc::new(Sandbox::new(config).expect("this host can run the sandbox"))
    };
    Runners {
        python: sandbox(Vec::new()),
        others: Some(sandbox(ServeConfig::default().language_paths())),
        slots: 2,
    }
}

/// The server with default settings that most tests share.
pub(crate) fn shared() -> &'static Running {
    static SHARED: OnceLock<Running> = OnceLock::new();
    SHARED.get_or_init(|| {
        // Many tests share two slots, on a machine that may be busy: here nobody is sent away.
        start(ServeConfig {
            queue: QueueConfig {
                wait_s: 600.0,
                ..QueueConfig::default()
            },
            ..ServeConfig::default()
        })
    })
}

/// A server of one's own, on a port of its own.
pub(crate) fn start(config: ServeConfig) -> Running {
    start_with(config, runners())
}

/// The same with sandboxes of its own, for a test that waits for one run while it holds up another:
/// two of these would wait for each other.
pub(crate) fn start_alone(config: ServeConfig) -> Running {
    start_with(config, new_runners())
}

fn start_with(mut config: ServeConfig, runners: Runners) -> Running {
    config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let (ready, started) = std::sync::mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let server = Server::bind(config, runners).await.unwrap();
            ready.send(server.address()).unwrap();
            server
                .run(async {
                    let _ = stopped.await;
                })
                .await;
        });
        runtime.shutdown_background();
    });
    Running {
        address: started.recv().unwrap(),
        stop: Some(stop),
        thread: Some(thread),
    }
}

impl Running {
    /// Asks it to end, as SIGTERM does; returns at once.
    pub(crate) fn begin_to_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(120)))
            .unwrap();
        stream
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        self.post_bytes(path, body.to_string().as_bytes())
    }

    pub(crate) fn post_bytes(&self, path: &str, body: &[u8]) -> Reply {
        self.send("POST", path, &[("Content-Type", "application/json")], body)
    }

    /// One request on a connection of its own, as `requests.post` makes it.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let mut stream = self.connect();
        // A server may answer before it has read everything, and close.
        let _ = stream.write_all(head(method, path, headers, body.len()).as_bytes());
        let _ = stream.write_all(body);
        Reply::read(stream)
    }

    /// The answer to a fine request of `/run_code`.
    pub(crate) fn run_code(&self, body: Value) -> Value {
        let reply = self.post("/run_code", &body);
        assert_eq!(reply.status, 200, "{body}: {}", reply.text);
        reply.json()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.begin_to_stop();
        self.wait();
    }
}

pub(crate) fn head(method: &str, path: &str, headers: &[(&str, &str)], length: usize) -> String {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n"
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head + "\r\n"
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A connection that is reset after the answer still holds the answer.
        let _ = stream.read_to_end(&mut bytes);
        Self::parse(&bytes).unwrap_or_else(|| {
            panic!("no answer: {:?}", String::from_utf8_lossy(&bytes));
        })
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let headers = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let status = headers.split_whitespace().nth(1)?.parse().ok()?;
        let mut body = bytes[end + 4..].to_vec();
        if headers.contains("transfer-encoding: chunked") {
            body = dechunk(&body);
        }
        Some(Self {
            status,
            headers,
            text: String::from_utf8(body).ok()?,
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        // Blank lines are signs of life.
        self.text
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn dechunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let chunk = &rest[end + 2..];
        if size == 0 || chunk.len() < size {
            break;
        }
        body.extend_from_slice(&chunk[..size]);
        rest = &chunk[size + 2..];
    }
    body
}

/// Waits until something holds, looking often.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..600 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("never came true: {what}");
}

/// A gauge or counter of `/metrics`, by the beginning of its line.
pub(crate) fn metric(server: &Running, name: &str) -> f64 {
    let text = server.get("/metrics").text;
    text.lines()
        .filter(|line| line.starts_with(name))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}
