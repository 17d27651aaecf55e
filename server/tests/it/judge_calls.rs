//! `POST /v1/judge`: many submissions, verdicts as they finish.

use std::io::{BufRead, BufReader, Write};

use serde_json::{Value, json};
use server::{JudgeCallsConfig, ServeConfig};

use crate::support::{Reply, eventually, head, metric, shared, start, start_alone};

fn problems() -> Value {
    json!([
        { "problem_id": "double", "kind": "stdio", "tests": [{ "stdin": "2\n", "expected": "4\n" }, { "stdin": "5\n", "expected": "10\n" }] },
        { "problem_id": "inc", "kind": "check", "prompt": "def inc(x):\n", "entry_point": "inc", "test": "def check(f):\n    assert f(1) == 2\n" },
        { "problem_id": "sq", "kind": "asserts", "tests": ["assert sq(3) == 9", "assert sq(2) == 4"] },
        { "problem_id": "twice", "kind": "call", "entry_point": "twice", "tests": [{ "args": [2], "expected": 4 }] },
    ])
}

#[test]
fn verdicts_stream_and_the_last_line_says_that_this_is_all() {
    let body = json!({
        "problems": problems(),
        "completions": [
            { "problem_id": "double", "completion": "```python\nprint(int(input()) * 2)\n```" },
            { "problem_id": "double", "source": "print(4)" },
            { "problem_id": "inc", "completion": "    return x + 1\n" },
            { "problem_id": "sq", "source": "def sq(x): return x * x" },
            { "problem_id": "twice", "source": "def twice(x): return x ** 2 + 1" },
            { "problem_id": "double", "sample": 7, "source": "print(" },
        ],
    });
    let reply = shared().post("/v1/judge", &body);
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(reply.headers.contains("application/x-ndjson"));
    let mut lines = reply.lines();
    assert_eq!(
        lines.pop(),
        Some(json!({ "done": true, "n": 6, "api_errors": 0 }))
    );
    let mut found: Vec<_> = lines
        .iter()
        .map(|row| {
            (
                row["problem_id"].as_str().unwrap(),
                row["sample"].as_u64().unwrap(),
                row["error_type"].as_str().unwrap(),
            )
        })
        .collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            ("double", 0, "success"),
            ("double", 1, "wrong_answer"),
            ("double", 7, "syntax_error"),
            ("inc", 0, "success"),
            ("sq", 0, "success"),
            ("twice", 0, "wrong_answer"),
        ]
    );
    assert_eq!(lines[0]["schema"], "codejury.verdict/1");
    assert!(lines.iter().all(|row| row["isolation"] == "namespaces"));
}

#[test]
fn the_same_call_again_costs_no_run() {
    let server = start(ServeConfig::default());
    let body = json!({
        "problems": problems(),
        "completions": [{ "problem_id": "double", "source": "print(int(input()) * 2)" }],
    });
    let first = server.post("/v1/judge", &body).lines();
    let runs = metric(&server, "codejury_runs_total");
    assert!(runs > 0.0);
    let again = server.post("/v1/judge", &body).lines();
    assert_eq!(metric(&server, "codejury_runs_total"), runs);
    assert_eq!(
        (&first[0]["cached"], &again[0]["cached"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(first[0]["accepted"], again[0]["accepted"]);
    // Other rules are another question; no cache is none.
    let mut other = body.clone();
    other["options"] = json!({ "compare": "exact" });
    assert_eq!(server.post("/v1/judge", &other).lines()[0]["cached"], false);
    other["options"] = json!({ "no_cache": true });
    assert_eq!(server.post("/v1/judge", &other).lines()[0]["cached"], false);
}

#[test]
fn options_are_those_of_the_command() {
    let call = |options: Value, source: &str| {
        let body = json!({
            "problems": [{ "problem_id": "p", "kind": "stdio", "tests": [{ "stdin": "", "expected": "1.0" }] }],
            "completions": [{ "problem_id": "p", "source": source }],
            "options": options,
        });
        shared().post("/v1/judge", &body).lines()[0].clone()
    };
    let judged = |options, source| call(options, source)["error_type"].clone();
    assert_eq!(judged(json!({}), "print(1.0000001)"), "wrong_answer");
    assert_eq!(
        judged(json!({ "compare": "float(1e-6,0)" }), "print(1.0000001)"),
        "success"
    );
    let slow = "import time; time.sleep(20)";
    assert_eq!(
        judged(json!({ "limits": { "wall_time_ms": 300 } }), slow),
        "timeout"
    );
    let hungry = "x = bytearray(400 << 20)";
    let verdict = call(json!({ "limits": { "memory_bytes": 64 << 20 } }), hungry);
    assert_eq!(verdict["error_subtype"], "memory_limit");
}

#[test]
fn bad_rows_are_named_before_anything_runs() {
    let problem =
        json!({ "problem_id": "p", "kind": "stdio", "tests": [{ "stdin": "", "expected": "1" }] });
    let cases = [
        (
            json!({ "problems": [{}], "completions": [] }),
            "problems[0]: field `kind`: missing",
        ),
        (
            json!({ "problems": [{ "problem_id": "p", "kind": "stdio", "tests": [] }], "completions": [] }),
            "problems[0]: field `tests`",
        ),
        (
            json!({ "problems": [problem, problem], "completions": [] }),
            "problems[1]: \"p\" stands twice",
        ),
        (
            json!({ "problems": [problem], "completions": [{ "problem_id": "q", "source": "" }] }),
            "completions[0]: no problem of this call is called \"q\"",
        ),
        (
            json!({ "problems": [problem], "completions": [{ "problem_id": "p" }] }),
            "completions[0]: field `completion`",
        ),
        (
            json!({ "problems": [problem], "completions": [{ "problem_id": "p", "sample": 1, "source": "" }, { "problem_id": "p", "sample": 1, "source": "" }] }),
            "completions[1]: sample 1 of \"p\" stands twice",
        ),
        (
            json!({ "problems": [problem], "completions": [], "options": { "compair": "x" } }),
            "options: unknown field `compair`",
        ),
        (
            json!({ "problems": [problem], "completions": [], "options": { "compare": "x" } }),
            "options.compare",
        ),
    ];
    for (body, message) in cases {
        let reply = shared().post("/v1/judge", &body);
        assert_eq!(reply.status, 422, "{body}");
        let detail = reply.json()["detail"].to_string().replace("\\\"", "\"");
        assert!(detail.contains(message), "{detail}");
    }
    let reply = shared().post("/v1/judge", &json!({ "problems": [] }));
    assert_eq!(
        reply.json()["detail"][0]["loc"],
        json!(["body", "completions"])
    );
    let reply = shared().post("/v1/judge", &json!({ "problems": [], "completions": [] }));
    assert_eq!(
        reply.lines(),
        [json!({ "done": true, "n": 0, "api_errors": 0 })]
    );
}

#[test]
fn over_its_bound_it_says_when_to_come_again_and_a_client_that_leaves_ends_its_runs() {
    let server = start_alone(ServeConfig {
        judge: JudgeCallsConfig {
            max_calls: 1,
            wait_s: 0.0,
            ..JudgeCallsConfig::default()
        },
        ..ServeConfig::default()
    });
    let body = json!({
        "problems": [{ "problem_id": "p", "kind": "stdio", "tests": [{ "stdin": "", "expected": "1" }] }],
        "completions": [{ "problem_id": "p", "source": "import time; time.sleep(300)" }],
        "options": { "limits": { "wall_time_ms": 300_000 } },
    })
    .to_string();
    let mut first = server.connect();
    first
        .write_all((head("POST", "/v1/judge", &[], body.len()) + &body).as_bytes())
        .unwrap();
    // The answer begins before there is a verdict.
    let mut reader = BufReader::new(first.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.contains("200"), "{line}");
    eventually("a run is under way", || {
        metric(&server, "codejury_queue_running") == 1.0
    });
    let reply = server.post_bytes("/v1/judge", body.as_bytes());
    assert_eq!(reply.status, 429);
    assert!(
        reply.headers.contains("retry-after: 1"),
        "{}",
        reply.headers
    );
    // The other surface is not in the way of this one.
    assert_eq!(
        server.run_code(json!({ "code": "print(1)" }))["status"],
        "Success"
    );
    drop((reader, first));
    eventually("its run has ended", || {
        metric(&server, "codejury_queue_running") == 0.0
    });
    eventually("its call has ended", || {
        metric(&server, "codejury_judge_calls") == 0.0
    });
    assert_eq!(
        metric(&server, "codejury_runs_total{outcome=\"cancelled\""),
        1.0
    );
}

#[test]
fn a_slow_submission_does_not_hold_up_the_others() {
    let completions: Vec<Value> = (0..40)
        .map(|index| match index {
            0 => json!({ "problem_id": "p", "source": "import time; time.sleep(600)" }),
            _ => json!({ "problem_id": "p", "source": format!("print({index})") }),
        })
        .collect();
    let body = json!({
        "problems": [{ "problem_id": "p", "kind": "stdio", "tests": [{ "stdin": "", "expected": "1" }] }],
        "completions": completions,
        "options": { "limits": { "wall_time_ms": 600_000 } },
    })
    .to_string();
    let server = start_alone(ServeConfig::default());
    let mut stream = server.connect();
    stream
        .write_all((head("POST", "/v1/judge", &[], body.len()) + &body).as_bytes())
        .unwrap();
    let rows = BufReader::new(stream)
        .lines()
        .map(Result::unwrap)
        .filter(|line| line.starts_with('{'));
    let mut samples: Vec<u64> = rows
        .take(39)
        .map(|row| serde_json::from_str::<Value>(&row).unwrap()["sample"].as_u64())
        .collect::<Option<_>>()
        .unwrap();
    samples.sort_unstable();
    assert_eq!(samples, (1..40).collect::<Vec<_>>());
}

#[test]
fn a_call_waits_for_a_place_and_is_judged_when_one_is_free() {
    let server = start_alone(ServeConfig {
        judge: JudgeCallsConfig {
            max_calls: 1,
            wait_s: 600.0,
            ..JudgeCallsConfig::default()
        },
        ..ServeConfig::default()
    });
    let call = |source: &str| {
        let body = json!({
            "problems": [{ "problem_id": "p", "kind": "stdio", "tests": [{ "stdin": "", "expected": "1" }] }],
            "completions": [{ "problem_id": "p", "source": source }],
            "options": { "limits": { "wall_time_ms": 300_000 } },
        })
        .to_string();
        let mut stream = server.connect();
        let text = head("POST", "/v1/judge", &[], body.len()) + &body;
        stream.write_all(text.as_bytes()).unwrap();
        stream
    };
    let first = call("import time; time.sleep(300)");
    eventually("a run is under way", || {
        metric(&server, "codejury_queue_running") == 1.0
    });
    let second = call("print(1)");
    // It is not sent away, though the server answers others meanwhile.
    assert_eq!(
        server.run_code(json!({ "code": "print(1)" }))["status"],
        "Success"
    );
    second.set_nonblocking(true).unwrap();
    let waits = second.peek(&mut [0]).unwrap_err();
    assert_eq!(waits.kind(), std::io::ErrorKind::WouldBlock);
    second.set_nonblocking(false).unwrap();
    drop(first);
    let reply = Reply::read(second);
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.lines()[0]["error_type"], "success");
}

#[test]
fn while_no_verdict_comes_blank_lines_do() {
    let server = start(ServeConfig {
        judge: JudgeCallsConfig {
            keep_alive_s: 0.02,
            ..JudgeCallsConfig::default()
        },
        ..ServeConfig::default()
    });
    let body = json!({
        "problems": [{ "problem_id": "p", "kind": "stdio", "tests": [{ "stdin": "", "expected": "1" }] }],
        "completions": [{ "problem_id": "p", "source": "import time; time.sleep(0.5); print(1)" }],
    });
    let reply = server.post("/v1/judge", &body);
    let (blank, said): (Vec<_>, Vec<_>) = reply.text.lines().partition(|line| line.is_empty());
    assert!(blank.len() > 1, "{}", reply.text);
    assert_eq!(said.len(), 2, "{}", reply.text);
    assert_eq!(reply.lines()[0]["error_type"], "success");
    assert_eq!(reply.lines()[1]["done"], true);
}
