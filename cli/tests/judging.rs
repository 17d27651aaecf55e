//! `codejury judge` and `codejury dataset`: from files to results, to their end or not.

mod support;

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::{Folder, end_of, wait_until};

/// Two problems and what three models answered.
const PROBLEMS: &str = r#"{"problem_id":"t/sum","dataset":"tiny","kind":"stdio","prompt":"Add.","tests":[{"stdin":"1 2\n","expected":"3\n"},{"stdin":"5 5\n","expected":"10\n"}],"reference":"print(sum(map(int, input().split())))\n"}
{"problem_id":"t/double","dataset":"tiny","kind":"asserts","tests":["assert double(2) == 4","assert double(0) == 0"],"reference":"def double(x):\n    return 2 * x\n"}
"#;
const COMPLETIONS: &str = r#"{"problem_id":"t/sum","completion":"```python\nprint(sum(map(int, input().split())))\n```"}
{"problem_id":"t/sum","completion":"```python\nprint(3)\n```"}
{"problem_id":"t/sum","completion":"I am sorry, I cannot do that."}
{"problem_id":"t/double","source":"def double(x):\n    return x + x\n"}
{"problem_id":"t/double","source":"def double(x):\n    return x[0]\n"}
{"problem_id":"t/double","source":"def double(x):\n    while True: pass\n"}
"#;

fn tiny() -> Folder {
    let folder = Folder::new();
    folder
        .file("p.jsonl", PROBLEMS)
        .file("c.jsonl", COMPLETIONS);
    folder
}

const JUDGE: &str = "judge --dataset p.jsonl --completions c.jsonl --wall-time 1s";

fn rows(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a row"))
        .collect()
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("a file")).expect("JSON")
}

#[test]
fn a_judgement_ends_in_a_table_and_a_folder() {
    let folder = tiny();
    let ended = folder.run(JUDGE);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_transcript!("judge_tiny", ended.transcript());

    let out = folder.join("codejury-out/tiny");
    let verdicts = rows(&out.join("verdicts/tiny.jsonl"));
    let short = |row: &Value| {
        let field = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        (
            field("problem_id"),
            row["sample"].as_u64().expect("a number"),
            field("error_type"),
            field("error_subtype"),
        )
    };
    let expected = [
        ("t/sum", 0, "success", ""),
        ("t/sum", 1, "wrong_answer", "wrong_output"),
        ("t/sum", 2, "syntax_error", "SyntaxError"),
        ("t/double", 0, "success", ""),
        ("t/double", 1, "runtime_error", "TypeError"),
        ("t/double", 2, "timeout", "cpu"),
    ];
    let expected = expected
        .map(|(id, sample, kind, sub)| (id.to_owned(), sample, kind.to_owned(), sub.to_owned()));
    assert_eq!(verdicts.iter().map(short).collect::<Vec<_>>(), expected);

    let summary = json(&out.join("summary.json"));
    assert_eq!(summary["datasets"]["tiny"]["n"], 2);
    assert_eq!(
        summary["datasets"]["tiny"]["error_distribution"]["timeout"],
        1
    );
    let metrics = json(&out.join("metrics.json"));
    assert_eq!(
        metrics["eval/tiny/accepted_at_1"],
        summary["datasets"]["tiny"]["accepted_at_1"]
    );
    let settings = json(&out.join("run.json"));
    assert_eq!(settings["settings"]["limits"]["wall_time_ms"], 1000);

    // Again: nothing is left to do, and the numbers stay.
    let again = folder.run(JUDGE);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert_eq!(
        again.stderr,
        "tiny: 6 submissions for 2 problems, 6 of them judged before\n"
    );
    let table = |text: &str| text.split_once("\n\n").expect("a table").1.to_owned();
    assert_eq!(
        table(again.stdout.trim_start()),
        table(ended.stdout.trim_start())
    );

    // With other settings: not into the same folder.
    let other = folder.run(&format!("{JUDGE} --memory 64MiB"));
    assert_eq!(other.code, 2);
    assert_transcript!("judge_other_settings", other.transcript());
    assert_eq!(
        folder.run(&format!("{JUDGE} --memory 64MiB --fresh")).code,
        0
    );
}

#[test]
fn the_bundled_suite_judges_as_its_sheets_say_whatever_the_number_of_workers() {
    let folder = Folder::new();
    // Both at once: each is the other's load.
    let other = folder
        .command(["judge", "--workers", "3", "--out", "other"])
        .spawn()
        .expect("the command starts");
    let ended = folder.run("judge --workers 1");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let other = support::end_of(other);
    assert_eq!(other.code, 0, "{}", other.stderr);
    assert_eq!(
        lasting(&folder.join("codejury-out/starter/verdicts/starter.jsonl")),
        lasting(&folder.join("other/verdicts/starter.jsonl")),
    );
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/starter/expected.jsonl");
    let verdicts = rows(&folder.join("codejury-out/starter/verdicts/starter.jsonl"));
    let expected = rows(&expected);
    assert_eq!(verdicts.len(), expected.len());
    for (verdict, expected) in verdicts.iter().zip(&expected) {
        for (field, value) in expected.as_object().expect("an object") {
            assert_eq!(&verdict[field], value, "{field} of {verdict}");
        }
    }
}

/// The rows of a verdict file without what is measured, byte for byte.
fn lasting(path: &Path) -> Vec<String> {
    let lasting = |mut row: Value| {
        let object = row.as_object_mut().expect("an object");
        for field in ["usage", "judge_time", "path", "cached", "near_limit"] {
            object.remove(field).expect("a field of every row");
        }
        for test in object["tests"].as_array_mut().expect("a list") {
            test.as_object_mut().expect("an object").remove("usage");
        }
        row.to_string()
    };
    rows(path).into_iter().map(lasting).collect()
}

#[test]
fn references_and_several_datasets_in_one_folder() {
    let folder = tiny();
    folder.file(
        "other.jsonl",
        PROBLEMS.replace("tiny", "second").replace("t/", "u/"),
    );
    let line = "judge --dataset p.jsonl --dataset other.jsonl --completions reference --out both";
    let ended = folder.run(line);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for slug in ["tiny", "second"] {
        let verdicts = rows(&folder.join(format!("both/verdicts/{slug}.jsonl")));
        assert_eq!(
            verdicts
                .iter()
                .filter(|row| row["accepted"] == true)
                .count(),
            2,
            "{slug}"
        );
    }
    let summary = json(&folder.join("both/summary.json"));
    assert_eq!(summary["datasets"].as_object().expect("an object").len(), 2);
    // Again, with nothing left to judge: what was measured still stands.
    assert!(summary["datasets"]["tiny"]["wall_clock_time"].is_f64());
    let ended = folder.run(line);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(json(&folder.join("both/summary.json")), summary);
}

#[test]
fn json_events_are_for_programs() {
    let folder = tiny();
    let ended = folder.run(&format!("{JUDGE} --json"));
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let events: Vec<Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| event["event"].as_str().expect("a word"))
        .collect();
    assert_eq!(kinds.first(), Some(&"started"));
    assert_eq!(kinds.last(), Some(&"finished"));
    assert_eq!(kinds.iter().filter(|kind| **kind == "verdict").count(), 6);
    assert_eq!(events[0]["submissions"], 6);
    assert_eq!(events[7]["summary"]["n"], 2);
    assert_eq!(events[7]["folder"], "codejury-out/tiny");
}

#[test]
fn flags_win_over_rows_and_rows_over_defaults() {
    let row = r#"{"problem_id":"a","dataset":"d","kind":"stdio","compare":"tokens_ci","limits":{"wall_time_ms":700},"tests":[{"stdin":"","expected":"YES"}]}"#;
    let folder = Folder::new();
    folder.file("p.jsonl", row);
    folder.file("c.jsonl", r#"{"problem_id":"a","source":"print('yes')"}"#);
    folder.file(
        "slow.jsonl",
        r#"{"problem_id":"a","source":"import time; time.sleep(1.5); print('YES')"}"#,
    );
    for (flags, completions, expected) in [
        ("", "c.jsonl", "success"),
        ("--compare tokens", "c.jsonl", "wrong_answer"),
        ("", "slow.jsonl", "timeout"),
        ("--wall-time 20s", "slow.jsonl", "success"),
    ] {
        let line =
            format!("judge --dataset p.jsonl --completions {completions} --fresh --out o {flags}");
        let ended = folder.run(&line);
        assert_eq!(ended.code, 0, "{line}: {}", ended.stderr);
        assert_eq!(
            rows(&folder.join("o/verdicts/d.jsonl"))[0]["error_type"],
            expected,
            "{line}"
        );
    }
}

/// Programs that take about 0.3 s each, one at a time.
fn slow(count: usize) -> Folder {
    let folder = Folder::new();
    let (mut problems, mut completions) = (String::new(), String::new());
    for i in 0..count {
        problems += &format!(
            "{{\"problem_id\":\"s/{i}\",\"dataset\":\"slow\",\"kind\":\"stdio\",\"tests\":[{{\"stdin\":\"\",\"expected\":\"{i}\"}}]}}\n"
        );
        completions += &format!(
            "{{\"problem_id\":\"s/{i}\",\"source\":\"import time; time.sleep(0.3); print({i})\"}}\n"
        );
    }
    folder
        .file("p.jsonl", problems)
        .file("c.jsonl", completions);
    folder
}

const SLOW: &str = "judge --dataset p.jsonl --completions c.jsonl --workers 1 --out out";

#[test]
fn an_interrupted_judgement_goes_on_where_it_was() {
    let folder = slow(12);
    let verdicts = folder.join("out/verdicts/slow.jsonl");
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let before = rows(&verdicts).len();
        let child = folder
            .command(SLOW.split_whitespace())
            .spawn()
            .expect("it starts");
        let pid = Pid::from_raw(child.id() as i32);
        wait_until("two more verdicts are on disk", || {
            fs::read_to_string(&verdicts).is_ok_and(|text| text.lines().count() >= before + 2)
        });
        if signal == Signal::SIGINT {
            // Meanwhile nobody else may write there.
            let second = folder.run(SLOW);
            assert_eq!(second.code, 2);
            assert_transcript!("judge_in_use", second.transcript());
        }
        kill(pid, signal).expect("it is still there");
        let ended = end_of(child);
        assert_eq!(ended.code, 130, "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
        let kept = rows(&verdicts).len();
        assert!(kept > before && kept < 12, "{kept}");
        let says =
            format!("{kept} of 12 verdicts are kept in out; the same command goes on from there\n");
        assert!(ended.stderr.ends_with(&says), "{}", ended.stderr);
    }
    let kept = rows(&verdicts).len();
    let ended = folder.run(SLOW);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(
        ended
            .stderr
            .contains(&format!("{kept} of them judged before")),
        "{}",
        ended.stderr
    );
    let verdicts = rows(&verdicts);
    let ids: Vec<String> = verdicts
        .iter()
        .map(|row| row["problem_id"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(ids, (0..12).map(|i| format!("s/{i}")).collect::<Vec<_>>());
    assert!(verdicts.iter().all(|row| row["accepted"] == true));
}

#[test]
fn a_killed_judgement_goes_on_where_it_was() {
    let folder = slow(8);
    let verdicts = folder.join("out/verdicts/slow.jsonl");
    let mut child = folder
        .command(SLOW.split_whitespace())
        .spawn()
        .expect("it starts");
    wait_until("two verdicts are on disk", || {
        fs::read_to_string(&verdicts).is_ok_and(|text| text.lines().count() >= 2)
    });
    child.kill().expect("it is still there");
    child.wait().expect("it ends");
    // As if the machine had died in the middle of a line.
    let text = fs::read_to_string(&verdicts).expect("verdicts");
    fs::write(&verdicts, format!("{text}{{\"schema\":\"codej")).expect("written");
    let ended = folder.run(SLOW);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(
        ended.stderr.contains(" of them judged before"),
        "{}",
        ended.stderr
    );
    assert_eq!(rows(&verdicts).len(), 8);
}

#[test]
fn a_full_disk_is_our_failure_and_loses_nothing() {
    let folder = slow(0);
    let (mut problems, mut completions) = (String::new(), String::new());
    for i in 0..60 {
        problems += &format!(
            "{{\"problem_id\":\"f/{i}\",\"dataset\":\"full\",\"kind\":\"stdio\",\"tests\":[{{\"stdin\":\"\",\"expected\":\"{i}\"}}]}}\n"
        );
        completions += &format!("{{\"problem_id\":\"f/{i}\",\"source\":\"print({i})\"}}\n");
    }
    folder
        .file("p.jsonl", problems)
        .file("c.jsonl", completions);
    let script = format!(
        "set -u
        mkdir disk && mount -t tmpfs -o size=40k tmpfs disk || exit 99
        judge() {{ {} judge --dataset p.jsonl --completions c.jsonl --out disk/out; echo \"code $?\"; }}
        judge 2> full.err
        wc -l < disk/out/verdicts/full.jsonl > full.count
        mount -o remount,size=4m disk || exit 99
        judge 2> room.err
        wc -l < disk/out/verdicts/full.jsonl > room.count
        umount disk",
        env!("CARGO_BIN_EXE_codejury")
    );
    let ended = folder.run_mounting(&script);
    assert!(
        ended.stdout.starts_with("code 4\n"),
        "{}{}",
        ended.stdout,
        folder.read("full.err")
    );
    assert!(
        ended.stdout.ends_with("code 0\n"),
        "{}{}",
        ended.stdout,
        folder.read("room.err")
    );
    let error = folder.read("full.err");
    assert!(
        error.contains("error: cannot write disk/out/verdicts/full.jsonl\n"),
        "{error}"
    );
    assert!(
        error.contains("  caused by: No space left on device"),
        "{error}"
    );
    assert!(
        error.contains("  hint: what was written before is kept"),
        "{error}"
    );
    let kept: u64 = folder.read("full.count").trim().parse().expect("a number");
    assert!(kept > 0 && kept < 60, "{kept}");
    assert!(
        folder
            .read("room.err")
            .contains(&format!("{kept} of them judged before"))
    );
    assert_eq!(folder.read("room.count").trim(), "60");
}

#[test]
fn chat_answers_in_rows_that_continue_prompts_are_pointed_out() {
    let folder = Folder::new();
    let problem = serde_json::json!({
        "problem_id": "h/0", "dataset": "h", "kind": "check", "entry_point": "f",
        "prompt": "def f(x):\n", "test": "def check(candidate):\n    assert candidate(1) == 2\n",
    });
    let code = "def f(x):\n    return x + 1\n";
    let texts = [
        format!("Here:\n```python\n{code}```\n"),
        // A fence that begins behind the code holds none of it.
        "    return x + 1\n```\n".to_owned(),
        "    return x + 1\n".to_owned(),
    ];
    let rows: String = texts
        .iter()
        .map(|text| {
            format!(
                "{}\n",
                serde_json::json!({"task_id": "h/0", "completion": text})
            )
        })
        .collect();
    folder
        .file("p.jsonl", format!("{problem}\n"))
        .file("c.jsonl", rows);
    let judged = |flags: &str| {
        let ended = folder.run(&format!(
            "judge --dataset p.jsonl --completions c.jsonl --fresh {flags}"
        ));
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let verdicts = error_types(&folder);
        (verdicts, ended.stderr)
    };
    let (verdicts, said) = judged("");
    assert_eq!(verdicts, ["syntax_error", "syntax_error", "success"]);
    assert!(
        said.contains("(1 such completion); --extract chat takes it out\n"),
        "{said}"
    );
    for rule in ["chat", "completion"] {
        let (verdicts, said) = judged(&format!("--extract {rule}"));
        assert_eq!(verdicts[0] == "success", rule == "chat");
        assert!(!said.contains("note:"), "{rule}: {said}");
    }
}

fn error_types(folder: &Folder) -> Vec<String> {
    let verdicts = rows(&folder.join("codejury-out/h/verdicts/h.jsonl")).into_iter();
    let word = |row: Value| row["error_type"].as_str().expect("a word").to_owned();
    verdicts.map(word).collect()
}

#[test]
fn datasets_are_listed_shown_imported_and_checked() {
    let folder = tiny();
    assert_transcript!(
        "dataset_list",
        folder.run("dataset list p.jsonl").transcript()
    );
    assert_transcript!(
        "dataset_show",
        folder.run("dataset show p.jsonl").transcript()
    );
    assert_transcript!(
        "dataset_show_sum",
        folder.run("dataset show p.jsonl t/sum").transcript()
    );
    assert_transcript!(
        "dataset_show_double",
        folder.run("dataset show p.jsonl t/double").transcript()
    );
    let row = folder.run("dataset show p.jsonl t/sum --json").stdout;
    assert_eq!(
        serde_json::from_str::<Value>(&row).expect("a row")["problem_id"],
        "t/sum"
    );

    let imported = folder.run("dataset import p.jsonl --name copy --out copy.jsonl");
    assert_transcript!("dataset_import", imported.transcript());
    assert_eq!(
        folder.run("dataset show copy.jsonl").stdout.lines().next(),
        Some("copy")
    );

    let good = folder.run("dataset check copy.jsonl");
    assert_eq!(good.code, 0, "{}", good.stderr);
    assert_transcript!("dataset_check_good", good.transcript());
    folder.file(
        "bad.jsonl",
        PROBLEMS
            .replace("2 * x", "3 * x")
            .replace("\"reference\":\"print", "\"old\":\"print"),
    );
    let bad = folder.run("dataset check bad.jsonl");
    assert_eq!(bad.code, 1, "{}", bad.stderr);
    assert_transcript!("dataset_check_bad", bad.transcript());
}

#[test]
fn hostile_names_cannot_act_on_the_terminal() {
    let folder = tiny();
    let evil = r"t/\u001b]0;owned\u0007sum";
    folder.file("p.jsonl", PROBLEMS.replace("t/sum", evil));
    for line in [
        "dataset show p.jsonl",
        "dataset list p.jsonl",
        JUDGE,
        "dataset show p.jsonl nope",
    ] {
        let ended = folder.run(line);
        let text = ended.transcript();
        assert!(
            !text.contains('\x1b') && !text.contains('\x07'),
            "{line}: {text:?}"
        );
    }
    assert!(
        folder
            .run("dataset show p.jsonl")
            .stdout
            .contains(r"t/\u{1b}]0;owned\u{7}sum")
    );
}
