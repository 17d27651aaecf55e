//! The results folder through crashes, resumes and other processes.

use std::collections::BTreeMap;
use std::path::Path;

use eval::{
    DatasetSummary, EvalError, Generation, MetricSettings, ResultsFolder, Start, Summary, Tally,
};
use judge::Verdict;
use serde_json::{Map, Value, json};

use crate::support::{chain, folder, verdict_row as row};

fn settings(wall_time_ms: u64) -> Map<String, Value> {
    let settings = json!({
        "compare": "tokens", "limits": {"wall_time_ms": wall_time_ms}, "python": null,
    });
    settings.as_object().expect("an object").clone()
}

fn start(path: &Path, start: Start) -> Result<ResultsFolder, EvalError> {
    ResultsFolder::open(path, settings(1000), start)
}

fn ids() -> Vec<String> {
    ["b", "a", "c"].map(str::to_owned).to_vec()
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path)
        .expect("reading")
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn verdicts_end_in_dataset_order() {
    let folder = folder();
    let results = start(folder.path(), Start::Resume).expect("opens");
    let mut log = results.verdicts("d", &ids()).expect("opens");
    let path = folder.path().join("verdicts/d.jsonl");
    let arrival = [("c", 0), ("a", 1), ("b", 1), ("a", 0), ("b", 0)];
    for (count, (id, sample)) in arrival.into_iter().enumerate() {
        log.append(&row(id, sample, "success")).expect("written");
        // On disk at once.
        assert_eq!(lines(&path).len(), count + 1);
    }
    assert_eq!(log.len(), 5);
    log.finish().expect("finished");
    let expected =
        [("b", 0), ("b", 1), ("a", 0), ("a", 1), ("c", 0)].map(|(id, s)| row(id, s, "success"));
    assert_eq!(lines(&path), expected);
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(&path)
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o400, 0o400);
    assert_ne!(
        mode & 0o044,
        0,
        "others may read results, as far as the umask lets them"
    );
}

#[test]
fn a_run_goes_on_where_it_was_killed() {
    let folder = folder();
    let path = folder.path().join("verdicts/d.jsonl");
    {
        let results = start(folder.path(), Start::Resume).expect("opens");
        let mut log = results.verdicts("d", &ids()).expect("opens");
        log.append(&row("a", 0, "success")).expect("written");
        log.append(&row("b", 0, "api_error")).expect("written");
    }
    // Killed in the middle of a line.
    let whole = std::fs::read_to_string(&path).expect("reading");
    std::fs::write(&path, format!("{whole}{}", &row("c", 0, "success")[..15])).expect("writing");

    let results = start(folder.path(), Start::Resume).expect("opens again");
    let mut log = results.verdicts("d", &ids()).expect("opens");
    assert_eq!(std::fs::read_to_string(&path).expect("reading"), whole);
    assert_eq!(
        log.recorded("a", 0).expect("read"),
        Some(row("a", 0, "success"))
    );
    // Our own failure is tried again, and the new verdict replaces the old one.
    assert_eq!(log.recorded("b", 0).expect("read"), None);
    assert_eq!(log.recorded("c", 0).expect("read"), None);
    assert_eq!(log.recorded("a", 1).expect("read"), None);
    assert_eq!(log.recorded("x", 0).expect("read"), None);
    log.append(&row("b", 0, "timeout")).expect("written");
    log.append(&row("c", 0, "success")).expect("written");
    let ordered: Vec<String> = log.in_order().collect::<Result<_, _>>().expect("read");
    let expected = [
        row("b", 0, "timeout"),
        row("a", 0, "success"),
        row("c", 0, "success"),
    ];
    assert_eq!(ordered, expected);
    log.finish().expect("finished");
    assert_eq!(lines(&path), expected);

    // A finished file is also a file to go on from.
    let log = results.verdicts("d", &ids()).expect("opens");
    assert_eq!(
        log.recorded("c", 0).expect("read"),
        Some(row("c", 0, "success"))
    );
}

#[test]
fn a_file_cut_anywhere_loses_at_most_one_row() {
    let folder = folder();
    let results = start(folder.path(), Start::Resume).expect("opens");
    let path = folder.path().join("verdicts/d.jsonl");
    let rows = [
        row("a", 0, "success"),
        row("b", 0, "timeout"),
        row("c", 0, "success"),
    ];
    let whole = rows.join("\n") + "\n";
    for cut in 0..=whole.len() {
        std::fs::write(&path, &whole[..cut]).expect("writing");
        let log = results.verdicts("d", &ids()).expect("opens");
        let complete = whole[..cut].matches('\n').count();
        assert_eq!(log.len(), complete, "cut at {cut}");
        assert_eq!(lines(&path), rows[..complete], "cut at {cut}");
    }
}

#[test]
fn a_prompt_that_does_not_fit_is_not_tried_again() {
    let folder = folder();
    let results = start(folder.path(), Start::Resume).expect("opens");
    let mut log = results.verdicts("d", &ids()).expect("opens");
    let row = r#"{"problem_id":"a","sample":0,"error_type":"api_error","error_subtype":"context_length"}"#;
    log.append(row).expect("written");
    assert_eq!(log.recorded("a", 0).expect("read").as_deref(), Some(row));
}

#[test]
fn rows_that_do_not_belong_are_named() {
    let folder = folder();
    let results = start(folder.path(), Start::Resume).expect("opens");
    let path = folder.path().join("verdicts/d.jsonl");
    let cases = [
        (
            "nonsense\n".to_owned(),
            "line 1: no result row (expected ident at line 1 column 2); --fresh discards this file",
        ),
        (
            format!("{}\n{}\n", row("a", 0, "success"), row("x", 0, "success")),
            "line 2, field `problem_id`: the dataset has no problem \"x\"",
        ),
    ];
    for (content, expected) in cases {
        std::fs::write(&path, content).expect("writing");
        let error = chain(results.verdicts("d", &ids()).expect_err("refused"));
        assert_eq!(error, format!("{}, {expected}", path.display()));
    }
    std::fs::write(&path, "").expect("writing");
    let mut log = results.verdicts("d", &ids()).expect("opens");
    let error = chain(log.append(&row("x", 0, "success")).expect_err("refused"));
    assert!(
        error.ends_with("the dataset has no problem \"x\""),
        "{error}"
    );
    assert!(log.is_empty());
}

#[test]
fn other_settings_are_named_or_discarded() {
    let folder = folder();
    drop(start(folder.path(), Start::Resume).expect("opens"));
    std::fs::write(
        folder.path().join("verdicts/d.jsonl"),
        row("a", 0, "success") + "\n",
    )
    .expect("writing");
    let name = folder.path().display();

    let mut other = settings(2000);
    other.insert("dataset".into(), "x".into());
    let error = chain(ResultsFolder::open(folder.path(), other, Start::Resume).expect_err("other"));
    assert_eq!(
        error,
        format!(
            "{name} holds results of other settings (limits.wall_time_ms: 1000 there, 2000 now; \
             dataset: unset there, \"x\" now); use --fresh to discard them, or another --out"
        )
    );

    // Unset and null are the same; so is another order.
    let mut same = Map::new();
    same.insert("limits".into(), json!({"wall_time_ms": 1000}));
    same.insert("compare".into(), "tokens".into());
    let results = ResultsFolder::open(folder.path(), same, Start::Resume).expect("the same");
    let fingerprint = results.fingerprint().to_owned();
    drop(results);
    let results = start(folder.path(), Start::Resume).expect("the same");
    assert_eq!(results.fingerprint(), fingerprint);
    drop(results);

    let results = ResultsFolder::open(folder.path(), settings(2000), Start::Fresh).expect("fresh");
    assert_ne!(results.fingerprint(), fingerprint);
    assert!(results.verdicts("d", &ids()).expect("opens").is_empty());
    drop(results);

    std::fs::remove_file(folder.path().join("run.json")).expect("removed");
    let error = chain(start(folder.path(), Start::Resume).expect_err("unexplained"));
    assert!(
        error.starts_with(&format!("{name} holds verdicts but no run.json")),
        "{error}"
    );
}

#[test]
fn a_folder_belongs_to_one_process() {
    let folder = folder();
    let results = start(folder.path(), Start::Resume).expect("opens");
    let error = chain(start(folder.path(), Start::Fresh).expect_err("in use"));
    let (name, pid) = (folder.path().display(), std::process::id());
    assert_eq!(
        error,
        format!("{name} is in use by another codejury (process {pid})")
    );
    drop(results);
    start(folder.path(), Start::Resume).expect("free again");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = folder();
    std::fs::write(folder.path().join("file"), "").expect("writing");
    let error = chain(start(&folder.path().join("file"), Start::Resume).expect_err("no folder"));
    assert!(
        error.starts_with(&format!("cannot write {}/file: ", folder.path().display())),
        "{error}"
    );
}

#[test]
fn summaries_are_written_whole() {
    let folder = folder();
    let results = start(folder.path(), Start::Resume).expect("opens");
    let mut tally = Tally::new("d");
    for (id, error_type) in [("a", "success"), ("b", "wrong_answer"), ("c", "api_error")] {
        let verdict = Verdict::from_row(&row(id, 0, error_type)).expect("a verdict");
        tally
            .add(&verdict, Generation::default())
            .expect("no duplicate");
    }
    let summary: DatasetSummary = tally.summary(&MetricSettings::default(), None);
    let datasets = BTreeMap::from([("d".to_owned(), summary.clone())]);
    results.write_summary(&datasets).expect("written");
    // Written over, not into.
    results.write_summary(&datasets).expect("written");

    let read = |name: &str| -> Value {
        let text = std::fs::read_to_string(folder.path().join(name)).expect("reading");
        serde_json::from_str(&text).expect("JSON")
    };
    let metrics = read("metrics.json");
    assert_eq!(metrics["schema"], "codejury.metrics/1");
    assert_eq!(metrics["eval/d/n"], 3);
    assert_eq!(metrics["eval/d/n_judged"], 2);
    assert_eq!(metrics["eval/d/exec_success_rate_judged"], 1.0);
    assert_eq!(metrics["eval/d/pass@1"], 1.0 / 3.0);
    assert_eq!(metrics["eval/d/avg_gen_tokens"], Value::Null);
    assert!(
        metrics
            .as_object()
            .expect("flat")
            .values()
            .all(|v| !v.is_object() && !v.is_array())
    );

    let value = read("summary.json");
    assert_eq!(value["datasets"]["d"]["exec_success_rate"], 2.0 / 3.0);
    assert_eq!(value["datasets"]["d"]["error_distribution"]["api_error"], 1);
    assert_eq!(
        value["datasets"]["d"]["ci95"]["exec_success_rate"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    let again = Summary::read(&folder.path().join("summary.json")).expect("reads back");
    assert_eq!(again.datasets["d"], summary);

    let mut names: Vec<String> = std::fs::read_dir(folder.path())
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into()
        })
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            ".lock",
            "metrics.json",
            "run.json",
            "summary.json",
            "verdicts"
        ]
    );
}
