//! Recorded completions: rows, order, spellings, and what is wrong with a file.

use std::path::Path;
use std::sync::Arc;

use eval::{Answer, Completions, DatasetSpec, EvalError, ExtractRule};
use judge::{Problem, SubmissionSource};

use crate::support::{chain, file, folder, gzip, shared, zstd};

fn problem(id: &str, kind: &str) -> Arc<Problem> {
    let row = match kind {
        "check" => format!(
            r#"{{"problem_id":"{id}","kind":"check","prompt":"def f():\n","entry_point":"f","test":"def check(c): pass","reference":"def f():\n    pass\n"}}"#
        ),
        _ => format!(
            r#"{{"problem_id":"{id}","kind":"stdio","tests":[{{"stdin":"","expected":""}}]}}"#
        ),
    };
    Arc::new(Problem::from_row(&row).expect("a row"))
}

fn answers(content: impl AsRef<[u8]>, id: &str, kind: &str) -> Vec<Answer> {
    let folder = folder();
    let path = file(&folder, "c.jsonl", content);
    let completions = Completions::open(&path).unwrap_or_else(|error| panic!("{}", chain(error)));
    completions
        .answers(&problem(id, kind), ExtractRule::Auto)
        .expect("texts")
}

fn text(source: &SubmissionSource) -> String {
    match source {
        SubmissionSource::Program(bytes)
        | SubmissionSource::Continuation(bytes)
        | SubmissionSource::ProgramOrContinuation(bytes) => String::from_utf8_lossy(bytes).into(),
        other => format!("{other:?}"),
    }
}

#[test]
fn rows_become_submissions() {
    type Is = fn(&SubmissionSource) -> bool;
    let program: Is = |source| matches!(source, SubmissionSource::Program(_));
    let continuation: Is = |source| matches!(source, SubmissionSource::Continuation(_));
    let either: Is = |source| matches!(source, SubmissionSource::ProgramOrContinuation(_));
    let empty: Is = |source| matches!(source, SubmissionSource::Empty);
    // Name, kind of problem, row; form, text and mode that must come of it.
    type Case<'a> = (&'a str, &'a str, &'a str, Is, &'a str, Option<&'a str>);
    let cases: Vec<Case<'_>> = vec![
        (
            "completion",
            "stdio",
            r#"{"problem_id":"p/1","completion":"```python\na\n```"}"#,
            program,
            "a\n",
            Some("fenced"),
        ),
        (
            "source",
            "stdio",
            r#"{"problem_id":"p/1","source":"```a"}"#,
            program,
            "```a",
            None,
        ),
        (
            "source in base64",
            "stdio",
            r#"{"problem_id":"p/1","source_b64":"Yf8="}"#,
            program,
            "a\u{fffd}",
            None,
        ),
        (
            "blank source",
            "stdio",
            r#"{"problem_id":"p/1","source":""}"#,
            program,
            "",
            None,
        ),
        (
            "blank completion",
            "stdio",
            r#"{"problem_id":"p/1","completion":" \n"}"#,
            empty,
            "Empty",
            Some("empty"),
        ),
        (
            "function source",
            "check",
            r#"{"problem_id":"p/1","source":"    pass"}"#,
            either,
            "    pass",
            None,
        ),
        (
            "human-eval",
            "check",
            r#"{"task_id":"p/1","completion":"```a"}"#,
            continuation,
            "```a",
            Some("completion"),
        ),
        (
            "blank human-eval",
            "check",
            r#"{"task_id":"p/1","completion":""}"#,
            continuation,
            "",
            Some("completion"),
        ),
        (
            "human-eval for a program",
            "stdio",
            r#"{"task_id":"p/1","completion":"```\na\n```"}"#,
            program,
            "a\n",
            Some("fenced"),
        ),
        (
            "both ids",
            "check",
            r#"{"task_id":"x","problem_id":"p/1","completion":"```\na\n```"}"#,
            either,
            "a\n",
            Some("fenced"),
        ),
        (
            "surrogate pair",
            "stdio",
            r#"{"problem_id":"p/1","completion":"'\ud83d\ude00'"}"#,
            program,
            "'😀'",
            Some("whole"),
        ),
        (
            "unknown keys",
            "stdio",
            r#"{"problem_id":"p/1","completion":"a","model":"m","prompt":null}"#,
            program,
            "a",
            Some("whole"),
        ),
    ];
    for (name, kind, row, form, source, mode) in cases {
        let answers = answers(row, "p/1", kind);
        let submission = &answers[0].submission;
        assert!(
            form(&submission.source),
            "case: {name}: {:?}",
            submission.source
        );
        assert_eq!(text(&submission.source), source, "case: {name}");
        assert_eq!(submission.extraction, mode, "case: {name}");
        assert_eq!(submission.sample, 0, "case: {name}");
    }
}

#[test]
fn a_lone_surrogate_stays_a_source_that_python_refuses() {
    for row in [
        r#"{"problem_id":"p","completion":"print('\ud800')"}"#,
        r#"{"problem_id":"p","source":"print('\ud800')"}"#,
    ] {
        let answers = answers(row, "p", "stdio");
        let SubmissionSource::Program(bytes) = &answers[0].submission.source else {
            panic!("{:?}", answers[0].submission.source)
        };
        // As Python's `surrogatepass` writes it, which is no UTF-8.
        assert_eq!(&**bytes, b"print('\xed\xa0\x80')", "row: {row}");
        assert!(std::str::from_utf8(bytes).is_err());
    }
}

#[test]
fn a_completion_that_the_server_did_not_give() {
    let row = r#"{"problem_id":"p","sample":0,"completion":null,"error":"context_length"}"#;
    let answers = answers(row, "p", "stdio");
    let reason = "context_length".to_owned();
    assert_eq!(
        answers[0].submission.source,
        SubmissionSource::Missing { reason }
    );
}

#[test]
fn what_is_known_of_the_generation_is_kept() {
    let rows = [
        (
            r#""finish_reason":"length","gen_tokens":2048,"gen_time":1.5"#,
            Some(2048),
            Some(1.5),
            Some(true),
        ),
        (r#""finish_reason":"stop""#, None, None, Some(false)),
        (r#""truncated":true"#, None, None, Some(true)),
        (r#""x":0"#, None, None, None),
    ];
    for (fields, tokens, time, truncated) in rows {
        let row = format!(r#"{{"problem_id":"p","completion":"a",{fields}}}"#);
        let answer = &answers(row, "p", "stdio")[0];
        let generation = answer.generation;
        assert_eq!(
            (generation.tokens, generation.time),
            (tokens, time),
            "row: {fields}"
        );
        assert_eq!(generation.truncated, truncated, "row: {fields}");
        assert_eq!(
            answer.submission.truncated,
            truncated == Some(true),
            "row: {fields}"
        );
    }
}

#[test]
fn samples_are_numbered_and_sorted() {
    let rows = r#"
{"problem_id":"p","completion":"first"}
{"problem_id":"q","completion":"other"}
{"problem_id":"p","completion":"second"}
{"problem_id":"p","sample":7,"completion":"seventh"}
{"problem_id":"p","sample":null,"completion":"fourth row"}
"#;
    let samples: Vec<(u32, String)> = answers(rows, "p", "stdio")
        .iter()
        .map(|answer| (answer.submission.sample, text(&answer.submission.source)))
        .collect();
    let expected = [
        (0, "first"),
        (1, "second"),
        (3, "fourth row"),
        (7, "seventh"),
    ]
    .map(|(i, t)| (i, t.into()));
    assert_eq!(samples, expected);
}

#[test]
fn any_wrapping_gives_the_same_texts() {
    let rows: Vec<String> = (0..500)
        .map(|i| format!(r#"{{"problem_id":"{}","completion":"text é {i}"}}"#, i % 10))
        .collect();
    let lines = rows.join("\n");
    let folder = folder();
    let wrapped: Vec<(&str, Vec<u8>)> = vec![
        ("plain", lines.clone().into_bytes()),
        (
            "byte order mark and blanks",
            format!("\u{feff}\n\n{}\r\n", rows.join("\r\n\r\n")).into_bytes(),
        ),
        ("gzip", gzip(lines.as_bytes())),
        ("zstd", zstd(lines.as_bytes())),
        ("array", format!("[\n{}\n]", rows.join(" ,\n")).into_bytes()),
    ];
    for (name, content) in wrapped {
        let path = file(&folder, "c", content);
        let completions = Completions::open(&path).expect("opens");
        assert_eq!(completions.count(), Some(500), "case: {name}");
        let answers = completions
            .answers(&problem("3", "stdio"), ExtractRule::Auto)
            .expect("texts");
        let texts: Vec<String> = answers.iter().map(|a| text(&a.submission.source)).collect();
        let expected: Vec<String> = (0..50).map(|i| format!("text é {}", i * 10 + 3)).collect();
        assert_eq!(texts, expected, "case: {name}");
    }
}

#[test]
fn a_pipe_is_read_once() {
    let folder = folder();
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo")
        .arg(&path)
        .status()
        .expect("mkfifo");
    assert!(made.success());
    let writer = std::thread::spawn({
        let path = path.clone();
        move || std::fs::write(path, r#"{"problem_id":"p","completion":"a"}"#)
    });
    let completions = Completions::open(&path).expect("opens");
    writer.join().expect("no panic").expect("written");
    let answers = completions
        .answers(&problem("p", "stdio"), ExtractRule::Auto)
        .expect("texts");
    assert_eq!(text(&answers[0].submission.source), "a");
}

#[test]
fn ids_are_read_as_other_tools_spell_them() {
    let cases = [
        ("MBPP/11", r#"{"task_id":11,"completion":"a"}"#),
        ("MBPP/11", r#"{"task_id":"11","completion":"a"}"#),
        ("MBPP/11", r#"{"task_id":"Mbpp/11","completion":"a"}"#),
        ("HumanEval/3", r#"{"problem_id":3,"completion":"a"}"#),
        ("7", r#"{"problem_id":7,"completion":"a"}"#),
    ];
    for (id, row) in cases {
        assert_eq!(answers(row, id, "stdio").len(), 1, "case: {id} {row}");
    }
    assert_eq!(answers(cases[0].1, "HumanEval/12", "stdio").len(), 0);
    assert_eq!(answers(cases[2].1, "HumanEval/11", "stdio").len(), 0);
}

#[test]
fn what_no_dataset_has_and_what_has_no_completion() {
    let folder = folder();
    let dataset = file(
        &folder,
        "d.jsonl",
        ["a", "b", "c"]
            .map(|id| {
                format!(r#"{{"problem_id":"{id}","kind":"stdio","tests":[{{"stdin":"","expected":""}},{{"stdin":"","expected":""}}]}}"#)
            })
            .join("\n"),
    );
    let rows = ["z", "b", "y", "b", "y"]
        .map(|id| format!(r#"{{"problem_id":"{id}","completion":"x"}}"#))
        .join("\n");
    let mut completions = Completions::open(&file(&folder, "c.jsonl", rows)).expect("opens");
    let dataset = eval::Dataset::open(DatasetSpec::new(&dataset)).expect("opens");
    let scan =
        eval::scan(&dataset, &mut completions, |_| Ok::<_, EvalError>(())).expect("good rows");
    assert_eq!(scan.ids, ["a", "b", "c"]);
    assert_eq!(scan.without_completion, ["a", "c"]);
    assert_eq!((scan.submissions, scan.test_cases), (2, 4));
    assert_eq!(completions.unknown_ids(), ["z", "y"]);
}

#[test]
fn broken_rows_name_line_and_field() {
    let good = r#"{"problem_id":"p","completion":"a"}"#;
    let cases: Vec<(&str, String, &str)> = vec![
        ("empty", String::new(), "FILE holds no rows"),
        (
            "no JSON",
            format!("{good}\nx"),
            "FILE, line 2: not valid JSON: expected value (column 1)",
        ),
        (
            "no id",
            r#"{"completion":"a"}"#.into(),
            "FILE, line 1, field `problem_id`: missing (and so is `task_id`)",
        ),
        (
            "blank id",
            r#"{"problem_id":"","completion":"a"}"#.into(),
            "FILE, line 1, field `problem_id`: blank",
        ),
        (
            "id of a wrong type",
            r#"{"problem_id":[],"completion":"a"}"#.into(),
            "FILE, line 1, field `problem_id`: expected a string or a whole number",
        ),
        (
            "nothing to judge",
            r#"{"problem_id":"p"}"#.into(),
            "FILE, line 1, field `completion`: missing (and so is `source`)",
        ),
        (
            "two texts",
            r#"{"problem_id":"p","completion":"a","source":"b"}"#.into(),
            "FILE, line 1, field `source`: stands beside `completion`",
        ),
        (
            "text of a wrong type",
            r#"{"problem_id":"p","completion":["a"]}"#.into(),
            "FILE, line 1, field `completion`: invalid type: sequence, expected a string",
        ),
        (
            "negative sample",
            r#"{"problem_id":"p","sample":-1,"completion":"a"}"#.into(),
            "FILE, line 1, field `sample`: invalid value: integer `-1`, expected u32",
        ),
        (
            "bad base64",
            r#"{"problem_id":"p","source_b64":"@"}"#.into(),
            "FILE, line 1, field `source_b64`: Invalid symbol 64, offset 0.",
        ),
        (
            "repeated",
            format!("{good}\n{good}\n{}", good.replace("}", r#","sample":1}"#)),
            "FILE, line 3: a completion for problem \"p\", sample 1 was already read from FILE, line 2",
        ),
    ];
    let folder = folder();
    for (name, content, expected) in cases {
        let path = file(&folder, "c.jsonl", content);
        let error = chain(Completions::open(&path).expect_err(name));
        assert_eq!(
            error.replace(&path.display().to_string(), "FILE"),
            expected,
            "case: {name}"
        );
    }
    let path = file(
        &folder,
        "c.jsonl",
        b"{\"problem_id\":\"p\",\"completion\":\"\xff\"}",
    );
    let error = chain(Completions::open(&path).expect_err("no UTF-8"));
    assert!(error.ends_with("line 1: not UTF-8 (byte 33)"), "{error}");
    let error = chain(Completions::open(Path::new("/no/such/file")).expect_err("none"));
    assert_eq!(
        error,
        "cannot read /no/such/file: No such file or directory (os error 2)"
    );
}

#[test]
fn a_file_that_changes_meanwhile_is_noticed() {
    let folder = folder();
    let path = file(&folder, "c.jsonl", r#"{"problem_id":"p","completion":"a"}"#);
    let completions = Completions::open(&path).expect("opens");
    file(
        &folder,
        "c.jsonl",
        r#"{"problem_id":"p", }"#.to_owned() + &" ".repeat(40),
    );
    let error = completions
        .answers(&problem("p", "stdio"), ExtractRule::Auto)
        .expect_err("changed");
    assert!(chain(error).ends_with("line 1: the file has changed since it was indexed"));
}

#[test]
fn references_answer_their_own_problems() {
    let mut completions = Completions::reference();
    let with = problem("p", "check");
    assert_eq!(completions.count_for(&with), 1);
    assert_eq!(completions.count_for(&problem("p", "stdio")), 0);
    let answers = completions
        .answers(&with, ExtractRule::Auto)
        .expect("texts");
    assert_eq!(text(&answers[0].submission.source), "def f():\n    pass\n");
    assert!(matches!(
        answers[0].submission.source,
        SubmissionSource::Program(_)
    ));
    assert_eq!(answers[0].submission.extraction, None);
}

#[test]
fn the_bundled_completions_answer_the_bundled_problems() {
    let dataset = eval::Dataset::open(DatasetSpec::new("starter")).expect("opens");
    let mut completions = Completions::open(Path::new("starter")).expect("opens");
    let scan =
        eval::scan(&dataset, &mut completions, |_| Ok::<_, EvalError>(())).expect("good rows");
    assert_eq!(scan.without_completion, [""; 0]);
    assert_eq!(completions.unknown_ids(), [""; 0]);
    assert_eq!(Some(scan.submissions as usize), completions.count());
}

#[test]
fn real_samples() {
    let Some(path) = shared("humaneval/example_samples.jsonl") else {
        return;
    };
    let completions = Completions::open(&path).expect("opens");
    let answers = completions
        .answers(&problem("test/0", "check"), ExtractRule::Auto)
        .expect("texts");
    assert_eq!(answers.len(), 6);
    assert_eq!(answers[5].submission.sample, 5);
    assert!(text(&answers[0].submission.source).starts_with("    import subprocess\n"));
}
