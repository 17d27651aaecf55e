//! Listing, importing, and the references of a dataset.

use eval::{CheckReport, Dataset, DatasetSpec};
use judge::{ErrorType, Verdict};

use crate::support::{chain, file, folder, open, problems, shared, verdict_row};

#[test]
fn listings_count() {
    let Some(path) = shared("codecontests/apps_coderl.jsonl") else {
        return;
    };
    let listing = Dataset::open(DatasetSpec::new(&path))
        .expect("opens")
        .listing()
        .expect("rows");
    let json = serde_json::to_value(&listing).expect("JSON");
    let expected = serde_json::json!({
        "slug": "apps_coderl", "format": "apps", "problems": 5, "test_cases": 14,
        "with_reference": 5, "kinds": {"call": 2, "stdio": 3},
    });
    assert_eq!(json, expected);
}

#[test]
fn an_import_is_the_same_dataset_in_our_rows() {
    let folder = folder();
    for name in [
        "humaneval/HumanEval.jsonl.gz",
        "mbpp/sanitized-mbpp.json",
        "codecontests/apps_coderl.jsonl",
        "codecontests/codecontests_python3.jsonl.gz",
    ] {
        let Some(path) = shared(name) else { continue };
        let imported = folder.path().join("imported.jsonl");
        let dataset = open(&path).expect("opens");
        let count = dataset.import(&imported).expect("imports");
        assert_eq!(count as usize, problems(&path).len(), "file: {name}");
        assert_eq!(problems(&imported), problems(&path), "file: {name}");
        assert_eq!(
            open(&imported).expect("opens").slug(),
            dataset.slug(),
            "file: {name}"
        );
    }
}

#[test]
fn an_import_that_fails_leaves_nothing_new() {
    let folder = folder();
    let row = r#"{"problem_id":"a","kind":"stdio","tests":[{"stdin":"1","expected":"2"}]}"#;
    let path = file(&folder, "x.jsonl", format!("{row}\n{row}\n"));
    let out = file(&folder, "out.jsonl", "old");
    let dataset = open(&path).expect("opens");
    let error = chain(dataset.import(&out).expect_err("a repeated id"));
    assert!(error.contains("problem \"a\" was already read"), "{error}");
    assert_eq!(std::fs::read_to_string(&out).expect("reading"), "old");
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("a folder").count(),
        2
    );
    let error = chain(
        dataset
            .import(&folder.path().join("no/such/out"))
            .expect_err("no folder"),
    );
    assert!(error.starts_with("cannot write "), "{error}");
}

#[test]
fn every_reference_becomes_a_submission() {
    let Some(path) = shared("codecontests/atcoder_condefects_lcb.jsonl.gz") else {
        return;
    };
    let dataset = Dataset::open(DatasetSpec::new(&path)).expect("opens");
    let without = std::cell::RefCell::new(Vec::new());
    let submissions: Vec<_> = dataset
        .reference_submissions(|problem| without.borrow_mut().push(problem.problem_id))
        .collect::<Result<_, _>>()
        .expect("good rows");
    assert_eq!(submissions.len(), 527);
    assert!(without.borrow().contains(&"atcoder/abc301_c".to_owned()));
    assert_eq!(
        (
            submissions[3].problem.problem_id.as_str(),
            submissions[3].sample
        ),
        ("atcoder/abc301_a", 3)
    );
}

#[test]
fn a_check_reports_what_fails() {
    let mut report = CheckReport::default();
    let row = |id: &str, error_type: &str| {
        Verdict::from_row(&verdict_row(id, 0, error_type)).expect("a verdict row")
    };
    report.add(&row("a", "success"));
    assert!(report.holds());
    report.add(&row("b", "timeout"));
    assert_eq!(report.checked, 2);
    assert_eq!(report.failing.len(), 1);
    assert_eq!(report.failing[0].problem_id, "b");
    assert_eq!(report.failing[0].error_type, ErrorType::Timeout);
    assert!(!report.holds());
    let report = CheckReport {
        without_reference: vec!["c".into()],
        ..CheckReport::default()
    };
    assert!(!report.holds());
}
