//! Model servers and their failures: nothing is lost, and nothing that was not the model's fault is
//! charged to it. The server is `support/fake_vllm.py`, which fails as real ones were seen to.

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
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
        let fake = Fake::start(&folder, &plan(&folder, count, json!(faults)));
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
        // Problem 8 fits, but not with all the tokens that it may use.
        plan["tokens"] = json!({"<7>": 6144, "<8>": 6000});
        let fake = Fake::start(&folder, &plan);
        let ended = eval(&folder, &fake.url());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let summary = summary(&folder);
        assert_eq!(summary["n"], 60);
        assert_eq!(summary["n_judged"], 59);
        assert_eq!(summary["accepted_at_1_judged"], 1.0);
        let row = &completions(&folder)[7];
        assert_eq!(row["error"], "context_length", "{row}");
        let limit = if counts { 144 } else { 2048 };
        assert_eq!(completions(&folder)[8]["max_tokens"], limit);
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

// Servers that codejury starts itself.

/// Settings whose server is the fake one, and a model folder that looks like one.
fn managed(folder: &Folder, plan: &Value, more: &str) {
    folder.file("plan.json", plan.to_string());
    let model = folder.join("run/global_step_500/huggingface");
    fs::create_dir_all(&model).expect("made");
    fs::write(model.join("config.json"), "{}").expect("written");
    fs::write(model.join("model.safetensors"), tiny_safetensors()).expect("written");
    let text = folder.read("eval.toml")
        + &format!(
            "[server]\ncommand = [\"python3\", {:?}, \"serve\", \"{{model}}\", \"--served-model-name\", \
             \"{{name}}\", \"--port\", \"{{port}}\", \"--plan\", {:?}]\nstop_grace_s = 2\n{more}\n",
            FAKE,
            folder.join("plan.json")
        );
    folder.file("eval.toml", text);
}

fn tiny_safetensors() -> Vec<u8> {
    let header = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend([0, 0, 128, 63]);
    file
}

const MANAGED: &str = "eval --config eval.toml --checkpoint-dir run --step 500";

/// Processes whose command line names this folder.
fn left(folder: &Folder) -> Vec<i32> {
    let needle = folder.path().to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(&needle) {
            found.push(pid);
        }
    }
    found
}

#[test]
fn a_server_is_started_used_and_ended_with_all_its_processes() {
    let folder = setup(5, "completion");
    let mut plan = plan(&folder, 5, json!([]));
    plan["worker"] = json!(true);
    managed(&folder, &plan, "replicas = 2");
    let ended = folder.run(MANAGED);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(summary(&folder)["accepted_at_1"], 1.0);
    assert_eq!(left(&folder), [0; 0]);
    for replica in 0..2 {
        let log = folder.read(&format!(
            "outputs/eval_step_500/server/server_{replica}.log"
        ));
        assert!(log.contains("listening on"), "{log}");
        let engine = log.split_once("engine ").expect("its engine").1;
        let engine: i32 = engine
            .split_whitespace()
            .next()
            .expect("a pid")
            .parse()
            .expect("a pid");
        assert!(
            kill(Pid::from_raw(engine), None).is_err(),
            "the engine outlived its server"
        );
    }
    let held = fs::read_dir(folder.join("outputs/.hold")).expect("there");
    assert_eq!(held.count(), 0);
}

#[test]
fn a_server_that_dies_is_started_again_and_its_samples_lose_nothing() {
    let folder = setup(8, "chat");
    let mut plan = plan(
        &folder,
        8,
        json!([{"match": "<3>", "times": 1, "do": "die"}]),
    );
    plan["start"] = json!("once");
    managed(&folder, &plan, "");
    let ended = folder.run(MANAGED);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("starting it again"),
        "{}",
        ended.stderr
    );
    assert_eq!(summary(&folder)["accepted_at_1"], 1.0);
    assert_eq!(left(&folder), [0; 0]);
}

#[test]
fn a_server_that_keeps_dying_ends_the_evaluation() {
    let folder = setup(8, "chat");
    let plan = plan(
        &folder,
        8,
        json!([{"match": "<3>", "times": 99, "do": "die"}]),
    );
    managed(&folder, &plan, "restarts = 1");
    let ended = folder.run(MANAGED);
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("the model server died 2 times"),
        "{}",
        ended.stderr
    );
    assert!(!folder.join("outputs/best_checkpoint.json").exists());
    assert_eq!(left(&folder), [0; 0]);
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let cases = [
        (
            "out_of_memory",
            "ready_timeout_s = 60",
            "the accelerator's memory is full",
        ),
        (
            "never_ready",
            "ready_timeout_s = 2",
            "was not ready after 2 s",
        ),
    ];
    for (start, more, said) in cases {
        let folder = setup(2, "chat");
        let mut plan = plan(&folder, 2, json!([]));
        plan["start"] = json!(start);
        managed(&folder, &plan, more);
        let ended = folder.run(MANAGED);
        assert_eq!(ended.code, 4, "{}", ended.stderr);
        assert!(ended.stderr.contains(said), "{start}: {}", ended.stderr);
        // The end of its log is shown.
        assert!(ended.stderr.contains("  | "), "{}", ended.stderr);
        assert_eq!(left(&folder), [0; 0]);
    }
    let folder = setup(2, "chat");
    let mut plan = plan(&folder, 2, json!([]));
    plan["refuse_chat"] = json!(true);
    managed(&folder, &plan, "");
    let ended = folder.run(MANAGED);
    assert_eq!(ended.code, 4);
    assert!(
        ended.stderr.contains("needs a chat template"),
        "{}",
        ended.stderr
    );
    assert_eq!(left(&folder), [0; 0]);
}

#[test]
fn a_port_in_use_and_a_missing_program_are_named() {
    let folder = setup(2, "chat");
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("bound").port();
    managed(
        &folder,
        &plan(&folder, 2, json!([])),
        &format!("port = {port}"),
    );
    let ended = folder.run(MANAGED);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(
        ended
            .stderr
            .contains(&format!("port {port} cannot be used")),
        "{}",
        ended.stderr
    );

    let folder = setup(2, "chat");
    managed(&folder, &plan(&folder, 2, json!([])), "");
    let text = folder
        .read("eval.toml")
        .replace("[\"python3\"", "[\"no-such-program\"");
    folder.file("eval.toml", text);
    let ended = folder.run(MANAGED);
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("cannot start \"no-such-program\""),
        "{}",
        ended.stderr
    );
}

#[test]
fn whoever_kills_codejury_kills_its_server() {
    let folder = setup(40, "chat");
    let mut plan = plan(&folder, 40, json!([]));
    plan["worker"] = json!(true);
    plan["delay_s"] = json!(0.2);
    managed(&folder, &plan, "");
    for signal in [Signal::SIGKILL, Signal::SIGINT] {
        let mut child = folder
            .command(MANAGED.split_whitespace())
            .spawn()
            .expect("starts");
        let asked = || rows(&folder.join("requests.jsonl")).len();
        let before = asked();
        wait_until("it generates", || asked() > before + 3);
        kill(Pid::from_raw(child.id() as i32), signal).expect("killed");
        let status = child.wait().expect("ended");
        if signal == Signal::SIGINT {
            assert_eq!(status.code(), Some(130));
        }
        wait_until("nothing is left", || left(&folder).is_empty());
    }
    let ended = folder.run(MANAGED);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(summary(&folder)["accepted_at_1"], 1.0);
    // A whole folder twice at once is refused.
    let asked = rows(&folder.join("requests.jsonl")).len();
    assert!(asked <= 40 + 2 * 4, "{asked} requests for 40 samples");
}

/// Files of a results folder, times taken out.
fn fingerprint(folder: &Folder) -> Vec<(String, String)> {
    let out = folder.join("outputs/eval_step_500");
    let names = [
        "completions/d.jsonl",
        "prompts/d.jsonl",
        "verdicts/d.jsonl",
        "qa_logs/d_qa.jsonl",
        "qa_logs/qa_summary.json",
        "metrics.json",
        "summary.json",
        "run.json",
    ];
    let mut files = Vec::new();
    for name in names {
        let text = fs::read_to_string(out.join(name)).expect(name);
        let lines = text.lines().filter_map(|line| {
            // Whole documents are pretty-printed: a measured value has a line of its own.
            let measured = [
                "wall_clock_time",
                "throughput",
                "avg_judge_time",
                "\"out\"",
                "base_url",
            ];
            if measured.iter().any(|key| line.contains(key)) && !name.ends_with(".jsonl") {
                return None;
            }
            let Ok(mut row) = serde_json::from_str::<Value>(line) else {
                return Some(line.to_owned());
            };
            strip(&mut row);
            Some(row.to_string())
        });
        files.push((name.to_owned(), lines.collect::<Vec<_>>().join("\n")));
    }
    files
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for key in [
                "usage",
                "judge_time",
                "gen_time",
                "path",
                "cached",
                "near_limit",
            ] {
                fields.remove(key);
            }
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// A point of an evaluation, counted from where the one before was killed.
#[derive(Debug)]
enum Point {
    Started,
    Asked(usize),
    Generated(usize),
    Judged(usize),
}

/// Draws numbers; what was drawn is printed when the test fails.
struct Draw(u64);

impl Draw {
    fn new() -> Self {
        use std::hash::{BuildHasher as _, RandomState};
        let seed = RandomState::new().hash_one(0);
        eprintln!("seed {seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn point(&mut self) -> Point {
        let more = 1 + self.below(4) as usize;
        match self.below(4) {
            0 => Point::Started,
            1 => Point::Asked(more),
            2 => Point::Generated(more),
            _ => Point::Judged(more),
        }
    }
}

#[test]
fn killed_at_twenty_random_points_it_ends_with_the_same_files() {
    const COUNT: usize = 200;
    const KILLS: usize = 20;
    let line = |url: &str| format!("eval --config eval.toml --step 500 --base-url {url}");
    let whole = setup(COUNT, "chat");
    let fake = Fake::start(&whole, &plan(&whole, COUNT, json!([])));
    assert_eq!(whole.run(&line(&fake.url())).code, 0);

    let folder = setup(COUNT, "chat");
    let mut plan = plan(&folder, COUNT, json!([]));
    plan["delay_s"] = json!(0.25);
    let fake = Fake::start(&folder, &plan);
    let url = fake.url();
    let asked = || rows(&folder.join("requests.jsonl")).len();
    let generated = || whole_rows(&folder, "completions").len();
    let judged = || whole_rows(&folder, "verdicts").len();
    let mut draw = Draw::new();
    // Twenty in its midst, and three while its files are completed.
    for kill in 0..KILLS + 3 {
        let point = draw.point();
        let delay = Duration::from_millis(draw.below(40));
        let before: Vec<String> = whole_rows(&folder, "completions")
            .iter()
            .filter(|row| row.get("completion").is_some())
            .map(|row| row["problem_id"].as_str().expect("an id").to_owned())
            .collect();
        let counts = (asked(), generated(), judged());
        let mut child = folder
            .command(line(&url).split_whitespace())
            .spawn()
            .expect("starts");
        wait_until("it is there, or at its end", || {
            let there = match point {
                _ if kill >= KILLS => judged() == COUNT,
                Point::Started => true,
                Point::Asked(more) => asked() >= counts.0 + more,
                Point::Generated(more) => generated() >= counts.1 + more,
                Point::Judged(more) => judged() >= counts.2 + more,
            };
            there || child.try_wait().expect("waits").is_some()
        });
        std::thread::sleep(delay);
        let ended = child.try_wait().expect("waits");
        assert!(
            kill >= KILLS || ended.is_none(),
            "{kill}: ended at {point:?}"
        );
        let _ = child.kill();
        let _ = child.wait();
        // What was on disk is not asked for again.
        for request in &rows(&folder.join("requests.jsonl"))[counts.0..] {
            let text = request.to_string();
            for id in &before {
                let number = id.trim_start_matches("p/");
                assert!(
                    !text.contains(&format!("<{number}>")),
                    "{id} was generated twice"
                );
            }
        }
    }
    let ended = folder.run(&line(&url));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for ((name, left), (_, right)) in fingerprint(&whole).iter().zip(fingerprint(&folder)) {
        assert_eq!(left, &right, "{name}");
    }
    let asked = asked();
    assert!(
        asked <= COUNT + KILLS * 4,
        "{asked} requests for {COUNT} samples"
    );
    eprintln!("{asked} requests for {COUNT} samples in {KILLS} kills");
}

/// Whole rows of a file of the evaluation, which may end in half a line.
fn whole_rows(folder: &Folder, of: &str) -> Vec<Value> {
    let path = folder.join(format!("outputs/eval_step_500/{of}/d.jsonl"));
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let rows = whole.lines().map(serde_json::from_str);
    rows.collect::<Result<_, _>>().expect("rows")
}

/// The pipeline's own command against the real vLLM, on Tier 1 data; takes minutes.
///
/// `CODEJURY_VLLM` is the `vllm` program, `CODEJURY_MODEL` a Hugging Face folder it can load. Run with
/// `cargo test -p cli --test servers -- --ignored against_the_real_server`.
#[test]
#[ignore = "needs a real vLLM; says how"]
fn against_the_real_server() {
    let vllm = std::env::var("CODEJURY_VLLM").expect("CODEJURY_VLLM names the vllm program");
    let model = std::env::var("CODEJURY_MODEL").expect("CODEJURY_MODEL names a model folder");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/datasets");
    let folder = Folder::new();
    let checkpoint = folder.join("phase_1_ SFT – größer/global_step_500");
    fs::create_dir_all(&checkpoint).expect("made");
    std::os::unix::fs::symlink(model, checkpoint.join("huggingface")).expect("linked");
    folder.file(
        "eval.toml",
        format!(
            "[server]\ncommand = [{vllm:?}, \"serve\", \"{{model}}\", \"--served-model-name\", \"{{name}}\", \
             \"--host\", \"127.0.0.1\", \"--port\", \"{{port}}\", \"--dtype\", \"bfloat16\", \
             \"--max-model-len\", \"{{max_model_len}}\", \"--gpu-memory-utilization\", \"0.85\", \
             \"--tensor-parallel-size\", \"1\", \"--generation-config\", \"vllm\", \"--enforce-eager\"]\n\
             [server.env]\nVLLM_CPU_KVCACHE_SPACE = \"1\"\n[sampling]\nmax_new_tokens = 64\n\
             [datasets.codecontests_valid]\nfiles = [{:?}]\nselect = \"hash:117\"\n\
             [datasets.mbpp_reg]\nfiles = [{:?}]\n",
            data.join("codecontests/codecontests_python3.jsonl.gz"),
            data.join("mbpp/mbpp.jsonl"),
        ),
    );
    let run = folder.join("phase_1_ SFT – größer");
    let line = [
        "eval",
        "--config",
        "eval.toml",
        "--step",
        "500",
        "--checkpoint-dir",
    ];
    let mut command = folder.command(line);
    let ended = end_of(command.arg(run).spawn().expect("starts"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let out = folder.join("outputs/eval_step_500");
    for (dataset, count) in [("codecontests_valid", 117), ("mbpp_reg", 200)] {
        let texts = rows(&out.join(format!("completions/{dataset}.jsonl")));
        assert_eq!(texts.len(), count);
        for row in &texts {
            assert!(row["completion"].is_string(), "{row}");
            assert!(row["gen_tokens"].as_u64().expect("counted") <= 64);
            assert!(row["system_fingerprint"].is_string());
        }
        assert_eq!(
            rows(&out.join(format!("verdicts/{dataset}.jsonl"))).len(),
            count
        );
        assert!(out.join(format!("qa_logs/{dataset}_qa.jsonl")).exists());
    }
    assert!(folder.join("outputs/best_checkpoint.json").exists());
    assert_eq!(left(&folder), [0; 0]);
}
