//! `codejury serve` as a process: signals, a sudden end, and mistakes of whoever starts it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

struct Server {
    process: Child,
    address: String,
}

fn codejury() -> Command {
    Command::new(env!("CARGO_BIN_EXE_codejury"))
}

impl Server {
    fn start(listen: &str) -> Self {
        let mut process = codejury()
            .args(["serve", "--listen", listen])
            .env("MY_POD_NAME", "pod-7")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("it says where it listens").unwrap();
            if let Some((_, address)) = line.split_once("listening on http://") {
                break address.to_owned();
            }
        };
        // Nobody reads on, but the pipe must not fill.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address }
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.process.id() as i32);
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Every process below the server.
    fn descendants(&self) -> Vec<u32> {
        let parent_of = |pid: u32| -> Option<u32> {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            stat.rsplit_once(") ")?
                .1
                .split_whitespace()
                .nth(1)?
                .parse()
                .ok()
        };
        let all = std::fs::read_dir("/proc").unwrap();
        let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            let mut up = parent_of(*pid);
            while let Some(parent) = up.filter(|parent| *parent > 1) {
                if parent == self.process.id() {
                    return true;
                }
                up = parent_of(parent);
            }
            false
        })
        .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The answer's text; `None` if the server went away.
fn run_code(address: &str, code: &str) -> Option<String> {
    let body = serde_json::json!({ "code": code, "run_timeout": 60 }).to_string();
    let mut stream = TcpStream::connect(address).ok()?;
    write!(
        stream,
        "POST /run_code HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(answer)
}

fn ends_within(process: &mut Child, time: Duration) -> std::process::ExitStatus {
    let until = Instant::now() + time;
    loop {
        if let Some(status) = process.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < until, "it does not end");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn sigterm_lets_a_request_finish_and_ends_with_0() {
    let mut server = Server::start("127.0.0.1:0");
    let address = server.address.clone();
    let under_way = std::thread::spawn(move || {
        run_code(
            &address,
            "import time; print('begun', flush=True); time.sleep(2); print('whole')",
        )
    });
    std::thread::sleep(Duration::from_millis(700));
    server.signal(nix::sys::signal::Signal::SIGTERM);
    let answer = under_way.join().unwrap().expect("it is answered");
    assert!(answer.contains("begun\\nwhole\\n"), "{answer}");
    assert!(
        answer.contains("\"executor_pod_name\":\"pod-7\""),
        "{answer}"
    );
    let status = ends_within(&mut server.process, Duration::from_secs(60));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn kill_9_under_load_leaves_nothing_and_a_restart_serves() {
    let mut server = Server::start("127.0.0.1:0");
    let address = server.address.clone();
    let (ending, wrong, right) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    std::thread::scope(|scope| {
        for client in 0..8 {
            let (address, ending, wrong, right) = (&address, &ending, &wrong, &right);
            scope.spawn(move || {
                let mut number = client * 1_000_000;
                while !ending.load(Ordering::Relaxed) {
                    number += 1;
                    let code = format!("print({number} * 3)");
                    if let Some(answer) = run_code(address, &code) {
                        let expected = format!("\"stdout\":\"{}\\n\"", number * 3);
                        let counter = if answer.contains(&expected) {
                            right
                        } else {
                            wrong
                        };
                        counter.fetch_add(1, Ordering::Relaxed);
                    } else {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_secs(2));
        let below = server.descendants();
        assert!(!below.is_empty(), "programs run in processes of their own");
        server.signal(nix::sys::signal::Signal::SIGKILL);
        ends_within(&mut server.process, Duration::from_secs(10));
        let until = Instant::now() + Duration::from_secs(10);
        while below
            .iter()
            .any(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists())
        {
            assert!(Instant::now() < until, "a process outlives the server");
            std::thread::sleep(Duration::from_millis(50));
        }
        let before = right.load(Ordering::Relaxed);
        let _again = Server::start(&address);
        let until = Instant::now() + Duration::from_secs(60);
        while right.load(Ordering::Relaxed) < before + 20 {
            assert!(Instant::now() < until, "the second server does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        ending.store(true, Ordering::Relaxed);
    });
    assert_eq!(wrong.load(Ordering::Relaxed), 0);
}

#[test]
fn mistakes_are_named_and_end_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("serve.toml");
    let run = |args: &[&str]| {
        let output = codejury().arg("serve").args(args).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let path = config.to_str().unwrap();
    std::fs::write(&config, "[queue]\ncapacty = 1\n").unwrap();
    let (code, text) = run(&["--config", path]);
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("capacty") && text.contains("--print-config"),
        "{text}"
    );
    std::fs::write(&config, "[run]\ncpus = 0.0\n").unwrap();
    let (code, text) = run(&["--config", path]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("run.cpus"), "{text}");
    let (code, text) = run(&["--config", "/no/such/file"]);
    assert_eq!(code, Some(2), "{text}");
    let (code, text) = run(&["--token-file", "/no/such/file", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("token file"), "{text}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, text) = run(&["--listen", &taken.local_addr().unwrap().to_string()]);
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("cannot listen") && text.contains("--listen"),
        "{text}"
    );
}

#[test]
fn the_printed_configuration_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("serve.toml");
    let output = codejury()
        .args(["serve", "--print-config"])
        .output()
        .unwrap();
    assert!(output.status.success());
    std::fs::write(&config, &output.stdout).unwrap();
    let mut process = codejury()
        .args(["serve", "--listen", "0.0.0.0:0", "--config"])
        .arg(&config)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let warned = lines
        .by_ref()
        .map(Result::unwrap)
        .take_while(|line| !line.contains("listening on"))
        .any(|line| line.contains("asks for no token"));
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(warned, "an open server without a token is warned of");
}
