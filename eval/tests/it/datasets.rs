//! Real files, every row of them.

use eval::{Dataset, DatasetSpec, Format, TestSelection};
use judge::{Compare, Suite};

use crate::support::{chain, file, folder, open, outcome, problems, shared, stdio, test_cases};

#[test]
fn every_shared_file_is_told_and_read() {
    // File, format, slug, problems, test cases.
    let files = [
        (
            "humaneval/HumanEval.jsonl.gz",
            Format::HumanEval,
            "humaneval",
            164,
            164,
        ),
        (
            "humaneval/example_problem.jsonl",
            Format::HumanEval,
            "example_problem",
            1,
            1,
        ),
        ("mbpp/mbpp.jsonl", Format::Mbpp, "mbpp", 974, 2922),
        (
            "mbpp/sanitized-mbpp.json",
            Format::Mbpp,
            "sanitized_mbpp",
            427,
            1324,
        ),
        (
            "codecontests/codecontests_python3.jsonl.gz",
            Format::CodeContests,
            "codecontests_python3",
            204,
            10_478,
        ),
        (
            "codecontests/atcoder_condefects_lcb.jsonl.gz",
            Format::CodeContests,
            "atcoder_condefects_lcb",
            308,
            908,
        ),
        (
            "codecontests/apps_coderl.jsonl",
            Format::Apps,
            "apps_coderl",
            5,
            14,
        ),
        (
            "sandboxfusion_samples/code_eval_mbpp.jsonl",
            Format::SandboxFusion,
            "code_eval_mbpp",
            20,
            60,
        ),
        (
            "sandboxfusion_samples/code_eval_shadow_humaneval_python.jsonl",
            Format::SandboxFusion,
            "code_eval_shadow_humaneval_python",
            20,
            20,
        ),
        (
            "sandboxfusion_samples/code_eval_code_contests.jsonl",
            Format::SandboxFusion,
            "code_eval_code_contests",
            20,
            2_233,
        ),
        (
            "buggy_functions/humanevalpack_python.jsonl.gz",
            Format::HumanEval,
            "humanevalpack_python",
            111,
            111,
        ),
    ];
    for (name, format, slug, count, tests) in files {
        let Some(path) = shared(name) else { continue };
        let dataset = open(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            (dataset.format(), dataset.slug()),
            (format, slug),
            "file: {name}"
        );
        let problems = problems(&path);
        assert_eq!(
            (problems.len(), test_cases(&problems)),
            (count, tests),
            "file: {name}"
        );
        assert!(
            problems.iter().all(|problem| problem.dataset == slug),
            "file: {name}"
        );
        // The rows of ours that they become are read back to the same problems.
        for problem in &problems {
            let again = judge::Problem::from_row(&problem.to_row()).expect("a native row");
            assert_eq!(&again, problem, "file: {name}");
        }
    }
}

#[test]
fn files_that_cannot_be_judged_are_refused_by_name() {
    let cases = [
        (
            "sandboxfusion_samples/code_eval_live_code_bench_v1.jsonl",
            "line 1, field `test`: a pickle",
        ),
        (
            "humaneval/example_samples.jsonl",
            "line 1: cannot tell the format of this dataset",
        ),
        (
            "packages/problems.jsonl.zst",
            "line 1: cannot tell the format of this dataset",
        ),
    ];
    for (name, expected) in cases {
        let Some(path) = shared(name) else { continue };
        let error = outcome(DatasetSpec::new(&path)).expect_err("refused");
        assert!(error.contains(expected), "file: {name}: {error}");
    }
}

#[test]
fn human_eval_rows() {
    let Some(path) = shared("humaneval/HumanEval.jsonl.gz") else {
        return;
    };
    let problems = problems(&path);
    let first = &problems[0];
    assert_eq!(first.problem_id, "HumanEval/0");
    assert_eq!(problems[163].problem_id, "HumanEval/163");
    assert!(
        first
            .prompt
            .starts_with("from typing import List\n\n\ndef has_close_elements(")
    );
    assert_eq!(first.compare, None);
    // A reference is a finished program: prompt and solution.
    assert!(first.references[0].starts_with(&first.prompt));
    assert!(first.references[0].contains("    for idx, elem in enumerate(numbers):"));
    let Suite::Check {
        entry_point,
        test,
        calls_check,
    } = &first.suite
    else {
        panic!("{:?}", first.suite)
    };
    assert_eq!(entry_point, "has_close_elements");
    assert!(test.contains("def check(candidate):"));
    assert!(!calls_check);
}

#[test]
fn tests_that_run_by_themselves_are_told() {
    let Some(path) = shared("buggy_functions/humanevalpack_python.jsonl.gz") else {
        return;
    };
    for problem in problems(&path) {
        let Suite::Check { calls_check, .. } = problem.suite else {
            panic!("kind")
        };
        assert!(calls_check, "{}", problem.problem_id);
    }
}

#[test]
fn mbpp_rows() {
    let Some(path) = shared("mbpp/mbpp.jsonl") else {
        return;
    };
    let all = problems(&path);
    assert_eq!(all[0].problem_id, "MBPP/1");
    let with_setup: Vec<&str> = all
        .iter()
        .filter(
            |problem| matches!(&problem.suite, Suite::Asserts { setup, .. } if !setup.is_empty()),
        )
        .map(|problem| problem.problem_id.as_str())
        .collect();
    assert_eq!(with_setup, ["MBPP/367", "MBPP/927"]);
    // The function that is tested is found in nearly every reference.
    let named = all.iter().filter(|problem| {
        matches!(
            &problem.suite,
            Suite::Asserts {
                entry_point: Some(_),
                ..
            }
        )
    });
    assert!(named.count() > 960);
    // Carriage returns are the data's own.
    assert!(all[0].references[0].starts_with("R = 3\r\nC = 3\r\n"));

    let challenge = DatasetSpec {
        challenge_tests: true,
        ..DatasetSpec::new(&path)
    };
    let challenge: Result<Vec<_>, _> = Dataset::open(challenge)
        .expect("opens")
        .problems()
        .collect();
    assert!(test_cases(&challenge.expect("good rows")) > test_cases(&all));

    let regression = DatasetSpec {
        numbers: Some(11..=210),
        ..DatasetSpec::new(&path)
    };
    let ids = Dataset::open(regression)
        .expect("opens")
        .ids()
        .expect("good rows");
    assert_eq!(
        (ids.len(), ids[0].as_str(), ids[199].as_str()),
        (200, "MBPP/11", "MBPP/210")
    );

    let none = DatasetSpec {
        numbers: Some(2000..=3000),
        ..DatasetSpec::new(&path)
    };
    assert_eq!(
        outcome(none),
        Err("dataset \"mbpp\" has no problem numbered 2000..3000".into())
    );
}

#[test]
fn sanitized_mbpp_rows() {
    let Some(path) = shared("mbpp/sanitized-mbpp.json") else {
        return;
    };
    let problems = problems(&path);
    assert_eq!(problems[0].problem_id, "MBPP/2");
    assert!(!problems[0].prompt.is_empty());
    let with_imports = problems.iter().filter(
        |problem| matches!(&problem.suite, Suite::Asserts { imports, .. } if !imports.is_empty()),
    );
    assert_eq!(with_imports.count(), 13);
}

#[test]
fn code_contests_rows() {
    let Some(path) = shared("codecontests/codecontests_python3.jsonl.gz") else {
        return;
    };
    let problems = problems(&path);
    let first = &problems[0];
    assert_eq!(first.problem_id, "codecontests/1076_d_edge_deletion_9486");
    assert_eq!(first.compare, Some(Compare::CodeContests));
    assert_eq!(stdio(first)[0].1, "2\n3 2\n");
    assert_eq!(first.references.len(), 1);

    let public = DatasetSpec {
        tests: TestSelection::Public,
        ..DatasetSpec::new(&path)
    };
    let error = outcome(public).expect_err("these rows keep all tests together");
    assert!(error.contains("field `tests`: the row does not say which of its tests are public"));
}

#[test]
fn without_references_none_are_kept() {
    for name in [
        "humaneval/HumanEval.jsonl.gz",
        "mbpp/mbpp.jsonl",
        "codecontests/apps_coderl.jsonl",
    ] {
        let Some(path) = shared(name) else { continue };
        let dataset = Dataset::open(DatasetSpec::new(&path)).expect("opens");
        let mut problems = dataset.problems().map(|problem| problem.expect("good row"));
        assert!(
            problems.all(|problem| problem.references.is_empty()),
            "file: {name}"
        );
        let mut with = dataset.with_references().problems();
        assert!(with.any(|problem| !problem.expect("good row").references.is_empty()));
    }
}

#[test]
fn apps_rows() {
    let Some(path) = shared("codecontests/apps_coderl.jsonl") else {
        return;
    };
    let problems = problems(&path);
    assert_eq!(problems[0].suite.kind(), "stdio");
    assert_eq!(problems[0].references.len(), 24);
    let call = |index: usize| match &problems[index].suite {
        Suite::Call {
            entry_point, tests, ..
        } => {
            let args: Vec<String> = tests[0].args.iter().map(judge::Value::to_json).collect();
            (entry_point.clone(), args, tests[0].expected.to_json())
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(
        call(3),
        (
            "findKthPositive".into(),
            vec!["[2,3,4,7,11]".into(), "5".into()],
            "9".into()
        )
    );
    // `[[False], [True], …]`: each result is wrapped in a list of one.
    assert_eq!(
        call(4),
        ("is_prime".into(), vec!["1".into()], "false".into())
    );
    assert!(
        problems[3]
            .prompt
            .contains("def findKthPositive(self, arr: List[int], k: int)")
    );
}

#[test]
fn live_code_bench_rows() {
    let row = |public: &str, private: &str| {
        format!(
            r#"{{"question_id":"abc301_a","platform":"atcoder","question_content":"c","starter_code":"s","public_test_cases":{public},"private_test_cases":{private},"metadata":"{{\"func_name\":\"f\"}}"}}"#
        )
    };
    let functional = r#""[{\"input\":\"[1, 2]\\n\\\"x\\\"\",\"output\":\"12345678901234567890123\",\"testtype\":\"functional\"}]""#;
    let stdin = r#""[{\"input\":\"1\",\"output\":\"2\",\"testtype\":\"stdin\"}]""#;
    // The same as `stdin`, as base64 of zlib.
    let packed = r#""eJyLrlbKzCsoLVGyUlAyVNJRUMovLYFyjUDcktTikpLKglSQQHFJSmaeUm0sAJjAD9c=""#;
    let folder = folder();
    let path = file(&folder, "x.jsonl", row(stdin, packed));
    let all = problems(&path);
    assert_eq!(all[0].problem_id, "atcoder/abc301_a");
    assert_eq!(all[0].prompt, "c\n\ns");
    assert_eq!(stdio(&all[0]), vec![("1".to_owned(), "2".to_owned()); 2]);
    let public = DatasetSpec {
        tests: TestSelection::Public,
        ..DatasetSpec::new(&path)
    };
    let public = Dataset::open(public)
        .expect("opens")
        .problems()
        .next()
        .expect("a row");
    assert_eq!(public.expect("good").suite.test_count(), 1);

    let path = file(&folder, "x.jsonl", row(functional, "\"[]\""));
    let Suite::Call {
        entry_point,
        setup,
        tests,
    } = &problems(&path)[0].suite
    else {
        panic!("kind")
    };
    assert_eq!(entry_point, "f");
    assert!(setup.contains("from typing import *\n"));
    let args: Vec<String> = tests[0].args.iter().map(judge::Value::to_json).collect();
    assert_eq!(args, ["[1,2]", "\"x\""]);
    // Every digit is kept.
    assert_eq!(tests[0].expected.to_json(), "12345678901234567890123");

    let path = file(&folder, "x.jsonl", row(stdin, functional));
    let error = outcome(DatasetSpec::new(&path)).expect_err("mixed");
    assert!(
        error.ends_with("both stdin and functional test cases in one row"),
        "{error}"
    );
}

#[test]
fn sandbox_fusion_rows() {
    let Some(path) = shared("sandboxfusion_samples/code_eval_code_contests.jsonl") else {
        return;
    };
    let problems = problems(&path);
    assert_eq!(problems[0].problem_id, "0");
    assert!(stdio(&problems[0])[0].0.starts_with("3\n2\n< 100 No\n? 10"));
}

#[test]
fn a_problem_is_found_by_any_of_its_spellings() {
    let Some(path) = shared("mbpp/mbpp.jsonl") else {
        return;
    };
    let dataset = open(&path).expect("opens");
    for id in ["MBPP/11", "11", "Mbpp/11"] {
        assert_eq!(
            dataset.find(id).expect("found").problem_id,
            "MBPP/11",
            "id: {id}"
        );
    }
    let error = chain(dataset.find("MBPP/5000").expect_err("none"));
    assert_eq!(error, "dataset \"mbpp\" has no problem \"MBPP/5000\"");
}

#[test]
fn the_bundled_suite_is_there_by_name() {
    let dataset = Dataset::open(DatasetSpec::new("starter")).expect("opens");
    assert_eq!(
        (dataset.slug(), dataset.format()),
        ("starter", Format::Native)
    );
    let ids = dataset.ids().expect("good rows");
    assert!(
        ids.len() >= 20 && ids.iter().all(|id| id.starts_with("starter/")),
        "{ids:?}"
    );
    assert_eq!(dataset.sha256().expect("hash").len(), 64);
    let error = chain(Dataset::open(DatasetSpec::new("no-such-suite")).expect_err("none"));
    assert_eq!(
        error,
        "no dataset \"no-such-suite\": there is no such file, and the bundled ones are: starter"
    );
}
