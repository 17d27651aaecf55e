//! kill -9 of wasm workers, and of the command itself, in the middle of judging: no verdict is wrong,
//! nothing stays behind, and the work goes on.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::process::Child;
use std::time::Duration;

use judge::Verdict;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use support::interpreter::real;
use support::{Folder, end_of, wait_until};

const SUBMISSIONS: u32 = 60;
const LINE: &str = "judge --backend wasm --workers 2 --no-cache --wasm-fuel-per-second 1000000000 \
                    --dataset problems.jsonl --completions completions.jsonl --out out";

/// Programs of every end, each with enough work that a kill finds some in the middle.
fn folder() -> Folder {
    let folder = Folder::new();
    let (mut problems, mut completions) = (String::new(), String::new());
    for n in 0..SUBMISSIONS {
        let id = format!("k/{n:03}");
        let tests: Vec<_> = (0..3)
            .map(|test| json!({ "stdin": format!("{test}\n"), "expected": format!("{}\n", n + test) }))
            .collect();
        let limits = json!({ "wall_time_ms": 1000, "cpu_time_ms": 400, "memory_bytes": 128 << 20 });
        let row = json!({ "problem_id": id, "dataset": "k", "kind": "stdio", "tests": tests, "limits": limits });
        let work = "total = sum(i * i for i in range(60000))\n";
        let end = match n % 6 {
            0 => "raise ValueError".to_owned(),
            1 => "while True: pass".to_owned(),
            2 => "x = []\nwhile True: x.append(bytes(1 << 20))".to_owned(),
            3 => format!("print(int(input()) + {n} + 1)"),
            _ => format!("print(int(input()) + {n})"),
        };
        let work = if n % 6 == 1 { "" } else { work };
        problems += &format!("{row}\n");
        let source = format!("{work}{end}\n");
        completions += &format!(
            "{}\n",
            json!({ "problem_id": id, "sample": 0, "source": source })
        );
    }
    folder.file("problems.jsonl", problems);
    folder.file("completions.jsonl", completions);
    folder
}

fn expected(n: u32) -> &'static str {
    match n % 6 {
        0 => "runtime_error/ValueError",
        1 => "timeout/cpu",
        2 => "runtime_error/memory_limit",
        3 => "wrong_answer/wrong_output",
        _ => "success",
    }
}

/// Verdicts that are written, whole lines only.
fn verdicts(folder: &Folder) -> Vec<Verdict> {
    let path = folder.join("out/verdicts/k.jsonl");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str(line).expect("a verdict"))
        .collect()
}

fn all_are_right(folder: &Folder) {
    let found: BTreeMap<String, String> = verdicts(folder)
        .iter()
        .map(|verdict| {
            assert_eq!(verdict.backend, "wasm");
            let subtype = verdict.error_subtype.as_deref();
            let kind = verdict.error_type.as_str();
            let end = subtype.map_or_else(|| kind.to_owned(), |s| format!("{kind}/{s}"));
            (verdict.problem_id.to_string(), end)
        })
        .collect();
    for n in 0..SUBMISSIONS {
        let id = format!("k/{n:03}");
        assert_eq!(
            found.get(&id).map(String::as_str),
            Some(expected(n)),
            "{id}"
        );
    }
}

/// The wasm workers of a process, or of one that has ended and left them to others.
fn workers_of(parent: Option<u32>, folder: &Folder) -> Vec<i32> {
    let pids = fs::read_dir("/proc").expect("procfs").flatten();
    pids.filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let command = fs::read(entry.path().join("cmdline")).ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let mut fields = stat.rsplit_once(") ")?.1.split_whitespace();
        let (state, its_parent) = (fields.next()?, fields.next()?.parse::<u32>().ok()?);
        let command = String::from_utf8_lossy(&command);
        // No other test's: its interpreter lies in this folder.
        let ours = command.contains("wasm-worker")
            && command.contains(&*folder.join("interpreter").to_string_lossy());
        let is_child = parent.is_none_or(|parent| parent == its_parent);
        (ours && is_child && state != "Z").then_some(pid)
    })
    .collect()
}

fn start(folder: &Folder) -> Child {
    let mut command = folder.command(LINE.split_whitespace());
    command.env("CODEJURY_WASM_DIR", folder.join("interpreter"));
    command.spawn().expect("the command starts")
}

fn with_interpreter() -> Option<Folder> {
    let folder = folder();
    let installed = real()?;
    workspace_tests::unprivileged::copy_interpreter(
        installed.folder(),
        &folder.join("interpreter"),
        None,
    )
    .expect("a copy");
    Some(folder)
}

#[test]
fn killed_workers_cost_no_verdict() {
    let Some(folder) = with_interpreter() else {
        return;
    };
    let mut judge = start(&folder);
    let (mut kills, mut done) = (0, 0);
    loop {
        let ended = judge.try_wait().expect("it is ours").is_some();
        if ended {
            break;
        }
        let now = verdicts(&folder).len();
        let workers = workers_of(Some(judge.id()), &folder);
        // Far enough apart that no run is hit at each of its attempts.
        if now >= done + 4
            && let Some(&worker) = workers.get(kills % workers.len().max(1))
        {
            // It may have ended by itself meanwhile.
            kills += usize::from(kill(Pid::from_raw(worker), Signal::SIGKILL).is_ok());
            done = now;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    let ended = end_of(judge);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(kills >= 5, "only {kills} kills");
    all_are_right(&folder);
    assert!(workers_of(None, &folder).is_empty());
}

#[test]
fn a_killed_command_leaves_no_worker_and_the_next_one_goes_on() {
    let Some(folder) = with_interpreter() else {
        return;
    };
    let mut kept = 0;
    let mut kills = 0;
    for round in 1..=3 {
        let mut judge = start(&folder);
        wait_until("some verdicts are there", || {
            judge.try_wait().expect("it is ours").is_some() || verdicts(&folder).len() >= kept + 12
        });
        // On a busy machine it may have been done before this was seen.
        kills += u32::from(judge.try_wait().expect("it is ours").is_none());
        judge.kill().expect("it is ours");
        judge.wait().expect("it is ours");
        let now = verdicts(&folder).len();
        assert!(now >= kept, "round {round} lost verdicts");
        kept = now;
        wait_until("its workers are gone", || {
            workers_of(None, &folder).is_empty()
        });
    }
    assert!(kills > 0, "it was always done before");
    let ended = end_of(start(&folder));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    all_are_right(&folder);
    assert!(workers_of(None, &folder).is_empty());
}
