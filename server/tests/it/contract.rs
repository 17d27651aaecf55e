//! Rules of the contract that concern several paths at once, and those that no other file here has.

use std::io::{BufReader, Write as _};

use serde_json::{Value, json};
use server::ServeConfig;

use crate::support::{eventually, head, metric, shared, start};

fn submit(body: &Value) -> Value {
    let reply = shared().post("/submit", body);
    assert_eq!(reply.status, 200, "{body}: {}", reply.text);
    reply.json()
}

fn fence(code: &str) -> String {
    format!("```python\n{code}\n```")
}

#[test]
fn a_registered_dataset_has_its_class_whatever_the_request_names() {
    let body = json!({
        "dataset": "mbpp", "id": 1, "completion": fence("def f(): return 1"),
        "config": {
            "dataset_type": "CommonOJDataset",
            "provided_data": { "id": 1, "content": "", "labels": "{}", "test_list": "[\"assert f() == 1\"]" },
        },
    });
    let answer = submit(&body);
    assert_eq!(answer["accepted"], true, "{answer}");
    assert!(answer["full_code"].as_str().unwrap().contains("assert f()"));
}

#[test]
fn rows_of_multipl_e_say_their_language_and_where_an_answer_stops() {
    let row = json!({
        "name": "HumanEval_0_inc", "language": "py", "prompt": "def inc(x):\n    \"\"\"One more.\"\"\"\n",
        "tests": "def check(candidate):\n    assert candidate(1) == 2\ncheck(inc)\n",
        "stop_tokens": ["\ndef", "\nprint"],
    });
    for (completion, accepted) in [
        ("    return x + 1\nprint('cut'); raise SystemExit(1)", true),
        ("    return x - 1", false),
    ] {
        let body = json!({
            "dataset": "multiple_py", "id": "HumanEval_0_inc", "completion": completion,
            "config": { "provided_data": row },
        });
        let answer = submit(&body);
        assert_eq!(answer["accepted"], accepted, "{answer}");
        assert_eq!(answer["id"], "HumanEval_0_inc");
    }
}

#[test]
fn prompts_have_the_contracts_shape() {
    let prompt = |dataset: &str, row: Value, config: Value| {
        let mut config = config;
        config["provided_data"] = row;
        let body = json!({ "dataset": dataset, "id": 1, "config": config });
        let reply = shared().post("/get_prompt_by_id", &body);
        assert_eq!(reply.status, 200, "{}", reply.text);
        let prompt = reply.json();
        let keys: Vec<_> = prompt.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["id", "prompt", "labels"]);
        prompt
    };
    let human_eval = json!({ "task_id": "HumanEval/0", "prompt": "def f():\n", "test": "t", "entry_point": "f" });
    let raw = prompt("humaneval_python", human_eval.clone(), json!({}));
    assert_eq!(raw["prompt"], "def f():\n");
    assert_eq!(
        raw["labels"],
        json!({ "task_id": "HumanEval/0", "test": "t", "entry_point": "f" })
    );
    let freeform = json!({ "extra": { "is_freeform": true } });
    let fenced = prompt("humaneval_python", human_eval, freeform);
    let text = fenced["prompt"].as_str().unwrap();
    assert!(text.starts_with("```python\ndef f():\n\n```\n"), "{text}");
    let row = json!({ "id": 1, "content": "Add.", "labels": {}, "test": [] });
    let asked = |locale: &str, language: &str| {
        let config = json!({ "locale": locale, "language": language });
        let prompt = prompt("code_contests", row.clone(), config);
        let text = prompt["prompt"].as_str().unwrap().to_owned();
        assert!(text.starts_with("Add.\n\n"), "{text}");
        text
    };
    let languages = ["python", "cpp", "java", "rust"];
    let mut texts: Vec<String> = ["en", "zh"]
        .into_iter()
        .flat_map(|locale| languages.map(|language| asked(locale, language)))
        .collect();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 8, "each has a wording of its own");
    let stored = prompt(
        "live_code_bench_v1",
        json!({ "id": 1, "content": "As it is.", "labels": {}, "test": "" }),
        json!({}),
    );
    assert_eq!(stored["prompt"], "As it is.");
}

#[test]
fn three_cases_of_a_submission_are_in_flight_and_leave_with_their_client() {
    let server = start(ServeConfig::default());
    let case = json!({ "input": { "stdin": "" }, "output": { "stdout": "1" } });
    let body = json!({
        "dataset": "code_contests", "id": 1, "completion": fence("import time; time.sleep(600)"),
        "config": { "language": "python", "run_timeout": 600, "provided_data": { "id": 1, "test": vec![case; 10] } },
    })
    .to_string();
    let mut stream = server.connect();
    let text = head("POST", "/submit", &[], body.len()) + &body;
    stream.write_all(text.as_bytes()).unwrap();
    eventually("two cases run and one waits", || {
        metric(&server, "codejury_queue_running") == 2.0
            && metric(&server, "codejury_queue_waiting") == 1.0
    });
    for _ in 0..5 {
        assert_eq!(metric(&server, "codejury_queue_waiting"), 1.0);
    }
    drop(stream);
    eventually("all of them are gone", || {
        metric(&server, "codejury_queue_running") == 0.0
            && metric(&server, "codejury_queue_waiting") == 0.0
    });
}

fn auto_eval(labels: Value, test: Value, completion: &str, extra: Value) -> crate::support::Reply {
    let row = json!({ "id": 1, "content": "", "labels": labels, "test": test });
    let body = json!({
        "dataset": "mine", "id": 1, "completion": completion,
        "config": { "dataset_type": "AutoEvalDataset", "provided_data": row, "extra": extra },
    });
    shared().post("/submit", &body)
}

#[test]
fn a_row_that_cannot_be_run_is_500_in_the_originals_words() {
    let python = json!({ "programming_language": "python" });
    for (path, content) in [
        ("/etc/x", "eA=="),
        ("../../../../etc/x", "eA=="),
        ("a", "eA"),
    ] {
        let test = json!({ "code": "", "asset": { path: content } });
        let reply = auto_eval(python.clone(), test, &fence("pass"), json!({}));
        assert_eq!(reply.status, 500, "{path}: {}", reply.text);
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        let start =
            "failed to request sandbox: Sanbox responded with error: exception on running code ";
        assert!(detail.starts_with(start), "{detail}");
    }
}

#[test]
fn auto_eval_runs_in_the_language_of_execution_and_drops_the_main_guard() {
    let both = json!({ "programming_language": "python", "execution_language": "bash" });
    let code = fence("echo from bash; exit 0");
    let answer = auto_eval(both, json!({ "code": "" }), &code, json!({})).json();
    let run = &answer["tests"][0]["exec_info"]["run_result"];
    assert_eq!(run["stdout"], "from bash\n", "{answer}");
    let python = json!({ "programming_language": "python" });
    let code = fence("def f(): return 1\nif __name__ == '__main__':\n    raise SystemExit(1)");
    let test = json!({ "code": "x = 0\n#<INSERT>\nassert f() == 1 and x == 0" });
    let answer = auto_eval(python.clone(), test, &code, json!({})).json();
    assert_eq!(answer["accepted"], true, "{answer}");
    let extra = json!({ "repr_code": true });
    let test = json!({ "code": "s = #<INSERT>\nassert s.startswith('def f')" });
    let answer = auto_eval(python, test, &fence("def f(): return '\"'"), extra).json();
    assert_eq!(answer["accepted"], true, "{answer}");
}

#[test]
fn hostile_files_of_a_notebook_reach_nothing() {
    let ask = |path: &str| {
        let body = json!({
            "cells": ["print(open('/etc/hostname').read() if False else 'ran')"],
            "files": { path: "eA==" }, "fetch_files": ["/etc/passwd", "../../../../etc/passwd", "link"],
        });
        shared().post("/run_jupyter", &body).json()
    };
    for path in ["/etc/x", "../../../../etc/x", "/proc/1/x"] {
        let answer = ask(path);
        assert_eq!(answer["status"], "SandboxError", "{path}: {answer}");
        assert_eq!(answer["files"], json!({}));
    }
    assert_eq!(ask("fine")["files"], json!({}));
}

#[test]
fn every_path_names_the_fields_it_lacks() {
    let lacks: [(&str, &[&str]); 7] = [
        ("/run_code", &["code"]),
        ("/run_jupyter", &["cells"]),
        ("/submit", &["dataset", "id", "completion", "config"]),
        ("/list_ids", &["dataset", "config"]),
        ("/get_prompts", &["dataset", "config"]),
        ("/get_prompt_by_id", &["dataset", "config", "id"]),
        ("/get_metrics", &["dataset", "config", "results"]),
    ];
    for (path, fields) in lacks {
        let reply = shared().post(path, &json!({}));
        assert_eq!(reply.status, 422, "{path}: {}", reply.text);
        let reply = reply.json();
        let faults = reply["detail"].as_array().unwrap();
        for fault in faults {
            assert_eq!(fault["type"], "missing", "{path}");
            assert_eq!(fault["msg"], "Field required", "{path}");
            assert_eq!(fault["input"], json!({}), "{path}");
        }
        let mut found: Vec<&str> = faults
            .iter()
            .map(|fault| fault["loc"][1].as_str().unwrap())
            .collect();
        let mut fields = fields.to_vec();
        found.sort_unstable();
        fields.sort_unstable();
        assert_eq!(found, fields, "{path}");
    }
}

/// Reads one answer of a connection that is kept.
fn next_answer(reader: &mut impl std::io::BufRead) -> (String, String) {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "closed: {head}");
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        head += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}

#[test]
fn a_hundred_sessions_at_once_each_get_their_own_answers() {
    std::thread::scope(|scope| {
        for session in 0..100 {
            scope.spawn(move || {
                let mut stream = shared().connect();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut ask = |path: &str, body: Value| {
                    let body = body.to_string();
                    write!(
                        stream,
                        "POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    )
                    .unwrap();
                    let (head, body) = next_answer(&mut reader);
                    assert!(head.starts_with("HTTP/1.1 200"), "{head}{body}");
                    serde_json::from_str::<Value>(&body).unwrap()
                };
                for turn in 0..2 {
                    let number = session * 10 + turn;
                    let code = json!({ "code": "print(int(input()) * 3)", "stdin": number.to_string() });
                    let answer = ask("/run_code", code);
                    let expected = format!("{}\n", number * 3);
                    assert_eq!(answer["run_result"]["stdout"], expected, "{answer}");
                }
                let row = json!({ "id": session, "content": "", "labels": {}, "test_list": [format!("assert f() == {session}")] });
                let config = json!({ "provided_data": row });
                let completion = fence(&format!("def f(): return {}", session / 2 * 2));
                let answer = ask("/submit", json!({ "dataset": "mbpp", "id": session, "completion": completion, "config": config }));
                assert_eq!(answer["accepted"], session % 2 == 0, "{answer}");
                assert_eq!(answer["id"], session);
            });
        }
    });
}
