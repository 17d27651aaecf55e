//! Model servers and their failures: nothing is lost, and nothing that was not the model's fault is
//! charged to it. The server is `support/fake_vllm.py`, which fails as real ones were seen to.

mod managed;
mod resume;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use support::{Ended, Folder, end_of, wait_until};

const FAKE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/fake_vllm.py");
const TRANSCRIPTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../shared/vllm-transcripts/0.32.0"
);

/// Problem p/i asks to print i; the model is right about all of them.
fn problems(count: usize) -> String {
    (0..count)
        .map(|i| {
            let row = json!({
                "problem_id": format!("p/{i}"), "dataset": "d", "kind": "stdio",
                "prompt": format!("Print number <{i}>."),
                "tests": [{"stdin": "", "expected": format!("{i}\n")}],
            });
            format!("{row}\n")
        })
        .collect()
}

fn answers(count: usize) -> Value {
    let answer = |i| {
        (
            format!("<{i}>"),
            json!(format!("```python\nprint({i})\n```")),
        )
    };
    Value::Object((0..count).map(answer).collect())
}

/// A folder with so many problems and settings for them.
fn setup(count: usize, style: &str) -> Folder {
    let folder = Folder::new();
    folder.file("d.jsonl", problems(count)).file(
        "eval.toml",
        format!(
            "[generator]\nconcurrency = 4\nsilence_timeout_s = 1.0\nretry_delay_ms = 20\n\
             [tiers.1]\ndatasets = [\"d\"]\n[tiers.2]\ndatasets = []\n[tiers.3]\ndatasets = []\n\
             [datasets.d]\nfiles = [\"d.jsonl\"]\nstyle = \"{style}\"\nextract = \"chat\"\n\
             stop = [\"\\nclass\", \"\\ndef\", \"\\n#\", \"\\nif\", \"\\nprint(x\"]\n"
        ),
    );
    folder
}

fn plan(folder: &Folder, count: usize, faults: Value) -> Value {
    json!({
        "answers": answers(count),
        "faults": faults,
        "requests": folder.join("requests.jsonl"),
        "transcripts": TRANSCRIPTS,
    })
}

/// A server that runs beside the test, ended with it.
struct Fake {
    child: Child,
    port: u16,
}

impl Fake {
    fn start(folder: &Folder, plan: &Value) -> Self {
        let port = free_port();
        Self::start_on(folder, plan, port)
    }

    fn start_on(folder: &Folder, plan: &Value, port: u16) -> Self {
        folder.file("plan.json", plan.to_string());
        let child = Command::new("python3")
            .args([FAKE, "serve", "m", "--port", &port.to_string(), "--plan"])
            .arg(folder.join("plan.json"))
            .stdout(Stdio::null())
            .spawn()
            .expect("python3 starts");
        if plan.get("start_delay_s").is_none() {
            wait_until("the server listens", || {
                std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
        }
        Self { child, port }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("bound").port()
}

fn rows(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a row"))
        .collect()
}

fn completions(folder: &Folder) -> Vec<Value> {
    rows(&folder.join("outputs/eval_step_500/completions/d.jsonl"))
}

fn summary(folder: &Folder) -> Value {
    let text = folder.read("outputs/eval_step_500/summary.json");
    let summary: Value = serde_json::from_str(&text).expect("JSON");
    summary["datasets"]["d"].clone()
}

fn eval(folder: &Folder, url: &str) -> Ended {
    folder.run(&format!(
        "eval --config eval.toml --step 500 --base-url {url}"
    ))
}

fn has_transcripts() -> bool {
    Path::new(TRANSCRIPTS).is_dir()
}

#[test]
fn every_failure_that_passes_is_tried_again_and_costs_nothing() {
    let mut kinds = vec![
        "silent",
        "silent_in_stream",
        "busy",
        "engine",
        "cut",
        "done_without_finish",
        "reset",
        "garbage",
        "two_choices",
        "ended_twice",
        "no_choice",
        "plain_without_finish",
        "plain",
    ];
    if has_transcripts() {
        // The bytes that a real server sent.
        kinds.extend(["error_event", "abort"]);
    } else {
        eprintln!("skipped: error_event and abort need {TRANSCRIPTS}");
    }
    for style in ["chat", "completion"] {
        let count = kinds.len() + 1;
        let folder = setup(count, style);
        let faults: Vec<Value> = (0..)
            .zip(&kinds)
            .map(|(i, kind)| json!({"match": format!("<{i}>"), "times": 2, "do": kind}))
            .collect();
        let mut plan = plan(&folder, count, json!(faults));
        if style == "completion" {
            // The fifth stop string is not sent, and holds all the same.
            for i in 0..count {
                let text = format!("```python\nprint({i})\n```\nprint(x)\n");
                plan["answers"][format!("<{i}>")] = json!(text);
            }
        }
        let fake = Fake::start(&folder, &plan);
        let ended = eval(&folder, &fake.url());
        assert_eq!(ended.code, 0, "{style}: {}", ended.stderr);
        let summary = summary(&folder);
        assert_eq!(summary["accepted_at_1"], 1.0, "{style}: {summary}");
        assert_eq!(summary["api_error_rate"], 0.0);
        for (i, row) in completions(&folder).iter().enumerate() {
            assert_eq!(row["problem_id"], format!("p/{i}"));
            assert_eq!(
                row["completion"],
                format!("```python\nprint({i})\n```"),
                "{row}"
            );
        }
        let requests = rows(&folder.join("requests.jsonl"));
        for (i, kind) in kinds.iter().enumerate() {
            let asked = requests
                .iter()
                .filter(|row| row.to_string().contains(&format!("<{i}>")))
                .count();
            let expected = if *kind == "plain" { 1 } else { 3 };
            assert_eq!(asked, expected, "{style}, {kind}");
        }
        // Every field is sent every time, and never five stops.
        for request in &requests {
            let body = &request["body"];
            for field in [
                "temperature",
                "top_p",
                "top_k",
                "min_p",
                "repetition_penalty",
                "presence_penalty",
                "frequency_penalty",
                "max_tokens",
                "n",
            ] {
                assert!(body[field].is_number(), "{field}: {body}");
            }
            let stops = body["stop"].as_array().map_or(0, Vec::len);
            assert_eq!(stops, if style == "chat" { 0 } else { 4 });
            assert!(body.get("seed").is_none(), "greedy needs none: {body}");
        }
    }
}

#[test]
fn a_busy_server_is_asked_more_often_than_a_broken_one() {
    let folder = setup(2, "chat");
    let settings = folder
        .read("eval.toml")
        .replace("retry_delay_ms = 20", "retries = 1\nretry_delay_ms = 5");
    folder.file("eval.toml", settings);
    // No server says after which time it may be asked again.
    let faults = json!([
        {"match": "<0>", "times": 6, "do": "busy"},
        {"match": "<1>", "times": 2, "do": "engine"},
    ]);
    let fake = Fake::start(&folder, &plan(&folder, 2, faults));
    let ended = eval(&folder, &fake.url());
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    let rows = completions(&folder);
    assert!(rows[0]["completion"].is_string(), "{}", rows[0]);
    assert_eq!(rows[1]["error"], "server_failed");
    assert_eq!(
        rows[1]["error_detail"].as_str().map(|text| &text[..5]),
        Some("500: ")
    );
    // What the server did not do is not charged to the model, and done next time.
    let verdicts = self::rows(&folder.join("outputs/eval_step_500/verdicts/d.jsonl"));
    assert_eq!(verdicts[1]["error_type"], "api_error");
    assert_eq!(eval(&folder, &fake.url()).code, 0);
    assert_eq!(summary(&folder)["accepted_at_1"], 1.0);
    assert_eq!(self::rows(&folder.join("requests.jsonl")).len(), 7 + 2 + 1);
}

#[test]
fn what_one_request_is_refused_for_is_not_sent_again_nor_counted_as_wrong() {
    let folder = setup(60, "chat");
    let faults = json!([{"match": "<7>", "times": 1, "do": "refuse"}]);
    let fake = Fake::start(&folder, &plan(&folder, 60, faults));
    let ended = eval(&folder, &fake.url());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(completions(&folder)[7]["error"], "request_refused");
    assert_eq!(summary(&folder)["n_judged"], 59);
    assert_eq!(summary(&folder)["accepted_at_1_judged"], 1.0);
    assert_eq!(rows(&folder.join("requests.jsonl")).len(), 60);
    // It is ours to mend, so the next run tries again.
    assert_eq!(eval(&folder, &fake.url()).code, 0);
    assert_eq!(summary(&folder)["n_judged"], 60);
    assert_eq!(rows(&folder.join("requests.jsonl")).len(), 61);
}

#[test]
fn as_many_requests_are_in_flight_as_settings_say_and_each_sample_is_one() {
    let folder = setup(8, "completion");
    let mut plan = plan(&folder, 8, json!([]));
    plan["delay_s"] = json!(0.1);
    let fake = Fake::start(&folder, &plan);
    let line = format!(
        "eval --config eval.toml --step 500 --base-url {} --set sampling.samples=3 \
         --set sampling.temperature=0.8 --set sampling.seed=40",
        fake.url()
    );
    let ended = folder.run(&line);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let requests = rows(&folder.join("requests.jsonl"));
    let most = requests.iter().filter_map(|row| row["in_flight"].as_u64());
    assert_eq!(most.max(), Some(4));
    // Each under a name of its own, by which the server's log knows it, and with its own seed.
    let mut asked: Vec<(String, u64)> = requests
        .iter()
        .map(|row| {
            assert_eq!(row["body"]["n"], 1);
            let id = row["id"].as_str().expect("an id").to_owned();
            (id, row["body"]["seed"].as_u64().expect("a seed"))
        })
        .collect();
    asked.sort();
    let expected: Vec<(String, u64)> = (0..8)
        .flat_map(|i| (0..3).map(move |n| (format!("codejury-p-{i}-{n}"), 40 + n)))
        .collect();
    assert_eq!(asked, expected);
    for row in completions(&folder) {
        assert_eq!(row["seed"].as_u64(), row["sample"].as_u64().map(|n| 40 + n));
    }
}

#[test]
fn an_idle_connection_that_the_server_closed_costs_nothing() {
    let folder = setup(12, "chat");
    let mut plan = plan(&folder, 12, json!([]));
    plan["keep_alive_s"] = json!(0.05);
    plan["delay_s"] = json!(0.1);
    let fake = Fake::start(&folder, &plan);
    let ended = eval(&folder, &fake.url());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(summary(&folder)["accepted_at_1"], 1.0);
}

#[test]
fn a_server_that_starts_late_is_waited_for() {
    let folder = setup(2, "chat");
    folder.file(
        "eval.toml",
        folder
            .read("eval.toml")
            .replace("retry_delay_ms = 20", "retry_delay_ms = 300"),
    );
    let mut plan = plan(&folder, 2, json!([]));
    plan["start_delay_s"] = json!(2);
    let fake = Fake::start(&folder, &plan);
    let ended = eval(&folder, &fake.url());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(summary(&folder)["accepted_at_1"], 1.0);
}

#[test]
fn a_prompt_that_is_too_long_is_its_own_and_never_wrong() {
    // Counted before it is sent, or refused by a server that does not count.
    for counts in [true, false] {
        let folder = setup(60, "chat");
        let mut plan = plan(
            &folder,
            60,
            json!([{"match": "<7>", "times": 99, "do": "too_long"}]),
        );
        plan["tokenize"] = json!(counts);
        // Problem 8 fits, but not with all the tokens that it may use; no server says so.
        plan["tokens"] = json!({"<7>": 6144, "<8>": 6000});
        let cut = "```python\nprint(8)\n```\n…";
        plan["answers"]["<8>"] = json!(cut);
        plan["lowered"] = json!({cut: 144});
        let fake = Fake::start(&folder, &plan);
        let ended = eval(&folder, &fake.url());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let summary = summary(&folder);
        assert_eq!(summary["n"], 60);
        assert_eq!(summary["n_judged"], 59);
        assert_eq!(summary["accepted_at_1_judged"], 1.0);
        let row = &completions(&folder)[7];
        assert_eq!(row["error"], "context_length", "{row}");
        let row = &completions(&folder)[8];
        assert_eq!(
            (&row["max_tokens"], &row["gen_tokens"]),
            (&json!(144), &json!(144))
        );
        assert_eq!(row["truncated"], true);
        let requests = rows(&folder.join("requests.jsonl"));
        let sent = requests.iter().find(|row| row.to_string().contains("<8>"));
        let limit = if counts { 144 } else { 2048 };
        assert_eq!(sent.expect("asked")["body"]["max_tokens"], limit);
        assert_eq!(
            summary["truncation_rate"]
                .as_f64()
                .map(|rate| (rate * 59.0).round()),
            Some(1.0)
        );
        let asked = || {
            let requests = rows(&folder.join("requests.jsonl"));
            let of = |row: &&Value| row.to_string().contains("<7>");
            requests.iter().filter(of).count()
        };
        assert_eq!(asked(), usize::from(!counts));
        // Not tried again either.
        assert_eq!(eval(&folder, &fake.url()).code, 0);
        assert_eq!(asked(), usize::from(!counts));
    }
}

#[test]
fn a_server_that_refuses_everything_ends_the_run_and_counts_nothing() {
    let folder = setup(20, "chat");
    let fake = Fake::start(
        &folder,
        &plan(
            &folder,
            20,
            json!([{"match": "", "times": 999, "do": "refuse"}]),
        ),
    );
    let ended = eval(&folder, &fake.url());
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    assert!(
        ended
            .stderr
            .contains("the server refuses every request: 400: As of transformers"),
        "{}",
        ended.stderr
    );
    assert!(!folder.join("outputs/best_checkpoint.json").exists());
    assert!(!folder.join("outputs/eval_step_500/summary.json").exists());
}

#[test]
fn what_a_running_server_does_not_offer_is_said_at_once() {
    let folder = setup(2, "chat");
    let fake = Fake::start(&folder, &plan(&folder, 2, json!([])));
    let eval = |more: &str| {
        let url = fake.url();
        folder.run(&format!(
            "eval --config eval.toml --step 500 --base-url {url} {more}"
        ))
    };
    let cases = [
        ("--model-name other", "does not offer \"other\""),
        (
            "--set sampling.max_new_tokens=6144",
            "leaves none for a prompt",
        ),
    ];
    for (more, said) in cases {
        let ended = eval(more);
        assert_eq!(ended.code, 2, "{more}: {}", ended.stderr);
        assert!(ended.stderr.contains(said), "{more}: {}", ended.stderr);
    }
    assert!(!folder.join("requests.jsonl").exists());
    let ended = folder.run("eval --config eval.toml --step 500 --base-url http://127.0.0.1:9/v1 --set generator.retries=1");
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    assert!(ended.stderr.contains("nobody answers"), "{}", ended.stderr);
}

#[test]
fn a_lost_server_is_exit_4_and_the_next_run_asks_only_for_what_is_missing() {
    let folder = setup(30, "chat");
    let faults = json!([{"match": "<1", "times": 999, "do": "engine"}]);
    let fake = Fake::start(&folder, &plan(&folder, 30, faults));
    let url = fake.url();
    let fast = folder
        .read("eval.toml")
        .replace("retry_delay_ms = 20", "retries = 1\nretry_delay_ms = 1");
    folder.file("eval.toml", fast);
    let ended = eval(&folder, &url);
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    // What the model never answered was not judged, least of all wrong.
    let verdicts = rows(&folder.join("outputs/eval_step_500/verdicts/d.jsonl"));
    for verdict in &verdicts {
        let kind = verdict["error_type"].as_str().expect("a word");
        assert!(matches!(kind, "success" | "api_error"), "{verdict}");
    }
    assert!(!folder.join("outputs/best_checkpoint.json").exists());
    let done: Vec<String> = completions(&folder)
        .iter()
        .filter(|row| row.get("completion").is_some())
        .map(|row| row["problem_id"].to_string())
        .collect();
    assert!(!done.is_empty() && done.len() < 30, "{}", done.len());
    drop(fake);
    fs::remove_file(folder.join("requests.jsonl")).expect("there");
    let fake = Fake::start(&folder, &plan(&folder, 30, json!([])));
    let ended = eval(&folder, &fake.url());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(summary(&folder)["accepted_at_1"], 1.0);
    let asked = rows(&folder.join("requests.jsonl")).len();
    assert_eq!(asked, 30 - done.len());
    assert!(folder.join("outputs/metrics.jsonl").exists());
}

#[test]
fn a_server_that_is_restarted_meanwhile_costs_nothing() {
    let folder = setup(30, "chat");
    let settings = folder
        .read("eval.toml")
        .replace("retry_delay_ms = 20", "retry_delay_ms = 300");
    folder.file("eval.toml", settings);
    let mut plan = plan(&folder, 30, json!([]));
    plan["delay_s"] = json!(0.1);
    let fake = Fake::start(&folder, &plan);
    let (url, port) = (fake.url(), fake.port);
    let line = format!("eval --config eval.toml --step 500 --base-url {url}");
    let child = folder.command(line.split_whitespace()).spawn();
    let child = child.expect("starts");
    wait_until("it generates", || {
        rows(&folder.join("requests.jsonl")).len() > 5
    });
    // What was in flight ends without an answer; then nobody listens.
    drop(fake);
    std::thread::sleep(std::time::Duration::from_secs(1));
    let _fake = Fake::start_on(&folder, &plan, port);
    let ended = end_of(child);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(summary(&folder)["accepted_at_1"], 1.0);
    let asked = rows(&folder.join("requests.jsonl")).len();
    assert!(
        (30..=34).contains(&asked),
        "{asked} requests for 30 samples"
    );
}

#[test]
fn a_server_that_wants_a_key_gets_it() {
    let folder = setup(2, "chat");
    let mut plan = plan(&folder, 2, json!([]));
    plan["key"] = json!("s3cret");
    let fake = Fake::start(&folder, &plan);
    let ended = eval(&folder, &fake.url());
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("401: Unauthorized"),
        "{}",
        ended.stderr
    );
    let line = format!(
        "eval --config eval.toml --step 500 --base-url {} --set generator.api_key_env=FAKE_KEY",
        fake.url()
    );
    let mut command = folder.command(line.split_whitespace());
    let child = command.env("FAKE_KEY", "s3cret").spawn().expect("starts");
    let ended = end_of(child);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    // The key is in no file.
    let found = Command::new("grep")
        .args(["-r", "s3cret", "outputs"])
        .current_dir(folder.path())
        .output()
        .expect("grep");
    assert!(found.stdout.is_empty());
}
