//! Bad input: each case is found before anything runs, with exit code 2 and a message that says
//! where and what.

mod support;

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use support::Folder;

const PROBLEM: &str =
    r#"{"problem_id":"a","dataset":"d","kind":"stdio","tests":[{"stdin":"","expected":"1"}]}"#;
const COMPLETION: &str = r#"{"problem_id":"a","source":"print(1)"}"#;

fn gzipped(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).expect("in memory");
    encoder.finish().expect("in memory")
}

/// A folder with every bad file of the table below.
fn folder() -> Folder {
    let folder = Folder::new();
    let big: String = (0..500)
        .map(|i| PROBLEM.replace("\"a\"", &format!("\"a{i}\"")) + "\n")
        .collect();
    let packed = gzipped(&big);
    let mut corrupt = packed.clone();
    corrupt[packed.len() / 2] ^= 0x55;
    folder
        .file("good.jsonl", format!("{PROBLEM}\n"))
        .file("c.jsonl", format!("{COMPLETION}\n"))
        .file("empty.jsonl", "")
        .file("blank.jsonl", "\n\n  \n")
        .file("truncated.jsonl.gz", &packed[..packed.len() / 2])
        .file("corrupt.jsonl.gz", corrupt)
        .file("corrupt.parquet", b"PAR1 nothing that a parquet file has PAR1")
        .file("truncated.parquet", b"PAR1")
        .file("text.parquet", "no parquet at all")
        .file("zero_time.jsonl", format!("{PROBLEM}\n{}\n", PROBLEM.replace("\"a\"", "\"b\"").replace("\"kind\"", "\"limits\":{\"wall_time_ms\":0},\"kind\"")))
        .file("not_json.jsonl", format!("{PROBLEM}\nthis is no JSON\n"))
        .file("cut.jsonl", format!("{PROBLEM}\n{}", &PROBLEM[..40]))
        .file("list.jsonl", "[1, 2, 3]\n")
        .file("bad_field.jsonl", format!("{PROBLEM}\n{}\n", PROBLEM.replace("\"a\"", "\"b\"").replace("\"expected\":\"1\"", "\"expected\":1")))
        .file("no_tests.jsonl", r#"{"problem_id":"a","kind":"stdio","tests":[]}"#)
        .file("bad_kind.jsonl", r#"{"problem_id":"a","kind":"puzzle","tests":[]}"#)
        .file("bad_compare.jsonl", PROBLEM.replace("\"kind\"", "\"compare\":\"fuzzy\",\"kind\""))
        .file("unknown_format.jsonl", r#"{"name":"x","body":"y"}"#)
        .file("twice.jsonl", format!("{PROBLEM}\n{PROBLEM}\n"))
        .file("latin1.jsonl", b"{\"problem_id\":\"caf\xe9\"}\n")
        .file("two.jsonl", format!("{PROBLEM}\n{}\n", PROBLEM.replace("\"a\"", "\"b\"")))
        .file("c_bad.jsonl", format!("{COMPLETION}\n{{\"problem_id\":\"a\",\"completion\":7}}\n"))
        .file("c_nothing.jsonl", r#"{"problem_id":"a"}"#)
        .file("c_twice.jsonl", "{\"problem_id\":\"a\",\"sample\":0,\"source\":\"1\"}\n{\"problem_id\":\"a\",\"sample\":0,\"source\":\"2\"}\n")
        .file("c_unknown.jsonl", format!("{COMPLETION}\n{}\n", COMPLETION.replace("\"a\"", "\"zzz\"")))
        .file("c_other.jsonl", COMPLETION.replace("\"a\"", "\"zzz\""));
    std::fs::create_dir(folder.join("folder")).expect("a folder");
    folder
}

#[test]
fn each_is_exit_2_and_says_where_and_what() {
    let folder = folder();
    let with_c = "--completions c.jsonl";
    let cases: &[(&str, &str)] = &[
        // Datasets.
        (
            "missing",
            "judge --dataset missing.jsonl --completions c.jsonl",
        ),
        ("a typo", "judge --dataset gud.jsonl --completions c.jsonl"),
        ("a typo of a bundled name", "judge --dataset startre"),
        ("empty", "judge --dataset empty.jsonl --completions c.jsonl"),
        ("blank", "judge --dataset blank.jsonl --completions c.jsonl"),
        ("a folder", "judge --dataset folder --completions c.jsonl"),
        (
            "truncated gzip",
            "judge --dataset truncated.jsonl.gz --completions c.jsonl",
        ),
        (
            "corrupt gzip",
            "judge --dataset corrupt.jsonl.gz --completions c.jsonl",
        ),
        (
            "corrupt parquet",
            "judge --dataset corrupt.parquet --completions c.jsonl",
        ),
        (
            "truncated parquet",
            "judge --dataset truncated.parquet --completions c.jsonl",
        ),
        (
            "parquet by name only",
            "judge --dataset text.parquet --completions c.jsonl",
        ),
        (
            "a limit of 0",
            "judge --dataset zero_time.jsonl --completions c.jsonl",
        ),
        (
            "no JSON",
            "judge --dataset not_json.jsonl --completions c.jsonl",
        ),
        ("cut off", "judge --dataset cut.jsonl --completions c.jsonl"),
        (
            "no object",
            "judge --dataset list.jsonl --completions c.jsonl --format native",
        ),
        (
            "a bad field",
            "judge --dataset bad_field.jsonl --completions c.jsonl",
        ),
        (
            "no test case",
            "judge --dataset no_tests.jsonl --completions c.jsonl",
        ),
        (
            "an unknown kind",
            "judge --dataset bad_kind.jsonl --completions c.jsonl",
        ),
        (
            "an unknown comparison",
            "judge --dataset bad_compare.jsonl --completions c.jsonl",
        ),
        (
            "an unknown format",
            "judge --dataset unknown_format.jsonl --completions c.jsonl",
        ),
        (
            "the wrong format",
            "judge --dataset good.jsonl --completions c.jsonl --format humaneval",
        ),
        (
            "duplicate ids",
            "judge --dataset twice.jsonl --completions c.jsonl",
        ),
        (
            "no UTF-8",
            "judge --dataset latin1.jsonl --completions c.jsonl --format native",
        ),
        (
            "nothing selected",
            "judge --dataset good.jsonl --completions c.jsonl --numbers 1..2",
        ),
        (
            "one name for two",
            "judge --dataset good.jsonl --dataset two.jsonl --completions c.jsonl",
        ),
        // Completions.
        ("none named", "judge --dataset good.jsonl"),
        (
            "missing completions",
            "judge --dataset good.jsonl --completions nope.jsonl",
        ),
        (
            "empty completions",
            "judge --dataset good.jsonl --completions empty.jsonl",
        ),
        (
            "a bad completion",
            "judge --dataset good.jsonl --completions c_bad.jsonl",
        ),
        (
            "no text at all",
            "judge --dataset good.jsonl --completions c_nothing.jsonl",
        ),
        (
            "the same sample twice",
            "judge --dataset good.jsonl --completions c_twice.jsonl",
        ),
        (
            "an unknown problem",
            "judge --dataset good.jsonl --completions c_unknown.jsonl",
        ),
        (
            "a problem without one",
            "judge --dataset two.jsonl --completions c.jsonl",
        ),
        (
            "nothing fits",
            "judge --dataset good.jsonl --completions c_other.jsonl --allow-unknown --allow-missing",
        ),
        (
            "no solution",
            "judge --dataset good.jsonl --completions reference",
        ),
        // Places.
        (
            "an out folder below a file",
            "judge --dataset good.jsonl --completions c.jsonl --out c.jsonl/out",
        ),
        (
            "an out folder nobody can write",
            "judge --dataset good.jsonl --completions c.jsonl --out /proc/out",
        ),
        (
            "an interpreter that is none",
            "judge --dataset good.jsonl --completions c.jsonl --python c.jsonl",
        ),
        ("integrity that a kind lacks", "judge --integrity isolated"),
        // Other commands.
        (
            "import of a bad row",
            "dataset import bad_field.jsonl --out native.jsonl",
        ),
        (
            "import to nowhere",
            "dataset import good.jsonl --out /proc/native.jsonl",
        ),
        ("show of a missing problem", "dataset show good.jsonl nope"),
        ("check of a missing file", "dataset check nope.jsonl"),
    ];
    let mut text = String::new();
    for (name, line) in cases {
        let ended = folder.run(line);
        assert_eq!(ended.code, 2, "{name}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{name}");
        let said = ended.stderr.lines().any(|line| line.starts_with("error: "));
        assert!(said, "{name}: {}", ended.stderr);
        text += &format!("# {name}\n$ codejury {line}\n{}\n", ended.stderr);
    }
    assert!(text.contains(with_c) && !folder.join("native.jsonl").exists());
    assert_transcript!("bad_input", text);
}

#[test]
fn what_can_be_left_out_is_left_out_on_request() {
    let folder = folder();
    let missing =
        folder.run("judge --dataset two.jsonl --completions c.jsonl --allow-missing --out m");
    assert_eq!(missing.code, 0, "{}", missing.stderr);
    assert!(
        missing.stdout.contains("1 problem, 1 submission"),
        "{}",
        missing.stdout
    );
    let unknown = folder
        .run("judge --dataset good.jsonl --completions c_unknown.jsonl --allow-unknown --out u");
    assert_eq!(unknown.code, 0, "{}", unknown.stderr);
    assert!(unknown.stderr.starts_with("note: c_unknown.jsonl has completions for 1 problem that no dataset here has: \"zzz\"; they are left out\n"));
    assert!(
        unknown.stdout.contains("1 problem, 1 submission"),
        "{}",
        unknown.stdout
    );
}
