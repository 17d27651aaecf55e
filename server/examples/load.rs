//! Load on a real `codejury serve`: closed loops of several widths on `/run_code` and `/submit`, then ten
//! thousand connections at once, of which none may end in anything but an answer: 200, or 504 for load.
//!
//! ```text
//! cargo build --release
//! cargo run --release -p server --example load -- [--binary target/release/codejury] [--seconds 5]
//!     [--in-flight 1,2,8,32,256] [--connections 10000] [--repeats 3] [-- --python PYTHON-WITH-NUMPY ...]
//! ```
//!
//! Each row is a closed loop: so many clients, each sending its next request when the last one is
//! answered, on a connection that is kept. Requests a second and latencies are as the clients see
//! them; CPU is that of the server's whole process tree, cells and programs included, by /proc. With
//! repeats, the median row by requests a second is shown, and the spread beside it. Client and server
//! share the machine: on few cores the client takes a part of it, and a submission's verdict is checked as
//! well as its status. Ends with 1 if anything failed.

use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

struct Options {
    binary: String,
    seconds: f64,
    in_flight: Vec<usize>,
    connections: usize,
    repeats: usize,
    serve: Vec<String>,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        binary: "target/release/codejury".into(),
        seconds: 5.0,
        in_flight: vec![1, 2, 8, 32, 256],
        connections: 10_000,
        repeats: 3,
        serve: Vec::new(),
    };
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        if flag == "--" {
            options.serve = args.collect();
            break;
        }
        let value = args.next().ok_or(format!("{flag} needs a value"))?;
        let number = || value.parse().map_err(|_| format!("{value:?} is no number"));
        match flag.as_str() {
            "--binary" => options.binary = value,
            "--seconds" => options.seconds = value.parse().map_err(|_| "no number of seconds")?,
            "--in-flight" => {
                options.in_flight = value
                    .split(',')
                    .map(|n| n.parse().map_err(|_| format!("{n:?} is no number")))
                    .collect::<Result<_, _>>()?;
            }
            "--connections" => options.connections = number()?,
            "--repeats" => options.repeats = number()?.max(1),
            _ => return Err(format!("unknown flag {flag}")),
        }
    }
    Ok(options)
}

/// A server of our own, ended with the benchmark.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(options: &Options) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("the loopback has a free port");
        let process = Command::new(&options.binary)
            .args(["serve", "--log", "warn", "--listen", &port.to_string()])
            .args(&options.serve)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", options.binary));
        let server = Self {
            process,
            address: port.to_string(),
        };
        for _ in 0..300 {
            if std::net::TcpStream::connect(&server.address).is_ok() {
                return server;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the server does not listen");
    }

    /// CPU time of the server and everything below it, the dead included, in seconds.
    fn cpu(&self) -> f64 {
        let mut parents: HashMap<u32, (u32, u64)> = HashMap::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let Some((_, fields)) = stat.rsplit_once(") ") else {
                continue;
            };
            let fields: Vec<u64> = fields
                .split_whitespace()
                .skip(1)
                .map(|field| field.parse().unwrap_or(0))
                .collect();
            if fields.len() > 14 {
                // utime, stime, cutime, cstime
                parents.insert(pid, (fields[0] as u32, fields[10..14].iter().sum()));
            }
        }
        let below = |mut pid: u32| {
            for _ in 0..64 {
                if pid == self.process.id() {
                    return true;
                }
                match parents.get(&pid) {
                    Some((parent, _)) => pid = *parent,
                    None => return false,
                }
            }
            false
        };
        let ticks: u64 = parents
            .iter()
            .filter(|(pid, _)| below(**pid))
            .map(|(_, (_, ticks))| ticks)
            .sum();
        ticks as f64 / 100.0 // USER_HZ, which Linux keeps at 100
    }

    /// The most memory the server process itself has held, in MiB.
    fn peak_mib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).unwrap_or_default();
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
            .map_or(0, |kib| kib / 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What verl's scorer sends, and one test case of a contest problem.
const PATHS: [&str; 2] = ["/run_code", "/submit"];

fn request(address: &str, path: &str, code: &str, close: bool) -> Vec<u8> {
    let body = match path {
        "/run_code" => serde_json::json!({
            "code": code, "language": "python", "stdin": "hello\n", "compile_timeout": 10,
            "run_timeout": 10, "memory_limit_MB": 1024, "files": {}, "fetch_files": [],
        }),
        _ => serde_json::json!({
            "dataset": "code_contests", "id": 1, "completion": format!("```python\n{code}\n```"),
            "config": { "language": "python", "provided_data": {
                "id": 1, "content": "", "labels": {},
                "test": [{ "input": { "stdin": "hello\n" }, "output": { "stdout": "hello\n" } }],
            } },
        }),
    }
    .to_string();
    let connection = if close { "close" } else { "keep-alive" };
    format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nConnection: {connection}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Sends one request and reads its answer: the status code, and whether the program did what it should.
async fn ask(stream: &mut TcpStream, request: &[u8]) -> std::io::Result<(u16, bool)> {
    stream.write_all(request).await?;
    let mut answer = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
            .unwrap_or(0);
        if answer.len() < end + 4 + length {
            continue;
        }
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = &answer[end + 4..end + 4 + length];
        let success = body.starts_with(b"{\"status\":\"Success\"")
            || body.starts_with(b"{\"id\":1,\"accepted\":true");
        return Ok((code.unwrap_or(0), success));
    }
}

struct Row {
    rate: f64,
    p50: f64,
    p95: f64,
    p99: f64,
    cpu_ms: f64,
    failed: usize,
}

async fn closed_loop(
    server: &Server,
    (path, code): (&str, &str),
    in_flight: usize,
    seconds: f64,
) -> Row {
    let request = Arc::new(request(&server.address, path, code, false));
    let ending = Arc::new(AtomicBool::new(false));
    let failed = Arc::new(AtomicUsize::new(0));
    let before = server.cpu();
    let begun = Instant::now();
    let clients: Vec<_> = (0..in_flight)
        .map(|_| {
            let (request, ending, failed) = (request.clone(), ending.clone(), failed.clone());
            let address = server.address.clone();
            tokio::spawn(async move {
                let mut times = Vec::new();
                let mut stream = None;
                while !ending.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    let result = async {
                        if stream.is_none() {
                            stream = Some(TcpStream::connect(&address).await?);
                        }
                        ask(stream.as_mut().expect("just connected"), &request).await
                    }
                    .await;
                    match result {
                        Ok((200, true)) => times.push(begun.elapsed().as_secs_f64() * 1000.0),
                        other => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            if other.is_err() {
                                stream = None;
                            }
                        }
                    }
                }
                times
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    ending.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for client in clients {
        times.extend(client.await.expect("clients do not panic"));
    }
    let wall = begun.elapsed().as_secs_f64();
    let cpu = server.cpu() - before;
    times.sort_by(f64::total_cmp);
    let at = |q: f64| {
        times
            .get(((times.len() as f64 - 1.0) * q) as usize)
            .copied()
            .unwrap_or(f64::NAN)
    };
    Row {
        rate: times.len() as f64 / wall,
        p50: at(0.50),
        p95: at(0.95),
        p99: at(0.99),
        cpu_ms: cpu * 1000.0 / times.len().max(1) as f64,
        failed: failed.load(Ordering::Relaxed),
    }
}

/// Whether every connection got an answer.
async fn many_connections(server: &Server, count: usize) -> bool {
    let request = Arc::new(request(&server.address, PATHS[0], "print(input())", true));
    let begun = Instant::now();
    let clients: Vec<_> = (0..count)
        .map(|_| {
            let (request, address) = (request.clone(), server.address.clone());
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(&address).await?;
                ask(&mut stream, &request).await
            })
        })
        .collect();
    let mut found: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for client in clients {
        let word = match client.await.expect("clients do not panic") {
            Ok((200, true)) => "200, Success".to_owned(),
            Ok((200, false)) => "200, not Success".to_owned(),
            Ok((code, _)) => code.to_string(),
            Err(error) => format!("connection failed: {error}"),
        };
        *found.entry(word).or_default() += 1;
    }
    println!(
        "\n{count} connections at once, one request each: {:.1} s, {found:?}; the server process held at most {} MiB",
        begun.elapsed().as_secs_f64(),
        server.peak_mib()
    );
    found
        .keys()
        .all(|word| matches!(word.as_str(), "200, Success" | "504"))
}

fn main() {
    let options = options().unwrap_or_else(|error| {
        eprintln!("error: {error}");
        std::process::exit(2);
    });
    if let Ok((_, hard)) =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
    {
        let _ =
            nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, hard, hard);
    }
    let server = Server::start(&options);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads can be started");
    let mut fine = true;
    runtime.block_on(async {
        println!("| path | program | in flight | requests/s | spread | p50 ms | p95 ms | p99 ms | CPU ms/request | failed |");
        println!("|---|---|---|---|---|---|---|---|---|---|");
        let programs = [
            ("`print(input())`", "print(input())"),
            ("same + `import numpy`", "import numpy\nprint(input())"),
        ];
        let all = PATHS
            .into_iter()
            .flat_map(|path| programs.map(|(name, code)| (path, name, code)));
        for (path, name, code) in all {
            let warm_up = closed_loop(&server, (path, code), 2, 1.0).await;
            if warm_up.rate == 0.0 {
                println!("| {path} | {name} | the interpreter cannot run it | | | | | | | |");
                continue;
            }
            for &in_flight in &options.in_flight {
                let mut rows = Vec::new();
                for _ in 0..options.repeats {
                    rows.push(closed_loop(&server, (path, code), in_flight, options.seconds).await);
                }
                rows.sort_by(|a, b| a.rate.total_cmp(&b.rate));
                let spread = format!("{:.0}–{:.0}", rows[0].rate, rows[rows.len() - 1].rate);
                let failed: usize = rows.iter().map(|row| row.failed).sum();
                fine &= failed == 0;
                let row = &rows[rows.len() / 2];
                println!(
                    "| {path} | {name} | {in_flight} | {:.0} | {spread} | {:.2} | {:.2} | {:.2} | {:.2} | {failed} |",
                    row.rate, row.p50, row.p95, row.p99, row.cpu_ms
                );
            }
        }
        if options.connections > 0 {
            fine &= many_connections(&server, options.connections).await;
        }
    });
    drop(server);
    std::process::exit(i32::from(!fine));
}
