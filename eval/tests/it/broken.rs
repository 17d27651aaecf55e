//! Files that cannot be used: each gives one error that says where and what.

use eval::{DatasetSpec, Format};

use crate::support::{file, folder, gzip, outcome, zstd};

const HUMANEVAL: &str = r#"{"task_id":"HumanEval/0","prompt":"def f(x):\n","entry_point":"f","canonical_solution":"    return x\n","test":"def check(c):\n    assert c(1) == 1\n"}"#;
const MBPP: &str = r#"{"task_id":7,"text":"t","code":"def f():\n    pass","test_list":["assert f() is None"],"test_setup_code":"","challenge_test_list":[]}"#;
const NATIVE: &str = r#"{"problem_id":"a","kind":"stdio","tests":[{"stdin":"1","expected":"2"}]}"#;

const OTHER: &str = r#"{"problem_id":"b","kind":"stdio","tests":[{"stdin":"1","expected":"2"}]}"#;

fn contests(replace: &str, by: &str) -> String {
    const ROW: &str = r#"{"name":"76_B. Mice","description":"d","public_tests":{"input":["1"],"output":["2"]},"private_tests":{"input":[],"output":[]},"generated_tests":null,"source":2,"cf_contest_id":76,"cf_index":"B","time_limit":{"seconds":0,"nanos":500000000},"memory_limit_bytes":256000000,"input_file":"","output_file":""}"#;
    assert!(ROW.contains(replace), "{replace}");
    ROW.replace(replace, by)
}

#[test]
fn every_broken_row_names_file_line_and_field() {
    let lcb = |private: &str| {
        format!(
            r#"{{"question_id":"q","platform":"atcoder","question_content":"c","starter_code":"","public_test_cases":"[]","private_test_cases":{private},"metadata":"{{}}"}}"#
        )
    };
    let apps = |io: &str| format!(r#"{{"problem_id":1,"question":"q","input_output":{io}}}"#);
    let cases: Vec<(&str, String, &str)> = vec![
        // The text.
        (
            "no JSON",
            "nonsense".into(),
            "FILE, line 1: not valid JSON: expected ident (column 2)",
        ),
        (
            "cut row",
            format!("{NATIVE}\n{}", &NATIVE[..20]),
            "FILE, line 2: not valid JSON: EOF while parsing a string (column 20)",
        ),
        (
            "no object",
            format!("{NATIVE}\n3"),
            "FILE, line 2: expected an object, found a number",
        ),
        (
            "blank lines count",
            format!("{NATIVE}\n\n\n[]"),
            "FILE, line 4: expected an object, found a list",
        ),
        (
            "array that ends early",
            format!("[{NATIVE},\n{OTHER}"),
            "FILE, line 2: the file ends before its array does",
        ),
        (
            "array cut in an element",
            format!("[{NATIVE},\n{}", &OTHER[..20]),
            "FILE, element 2 (line 2): the file ends inside this element",
        ),
        (
            "array without a comma",
            format!("[{NATIVE}\n{OTHER}]"),
            "FILE, line 2: expected `,` or `]` between elements",
        ),
        (
            "array of numbers",
            "[1, 2]".into(),
            "FILE, element 1 (line 1): expected an object",
        ),
        (
            "text after the array",
            format!("[{NATIVE}]\n]"),
            "FILE, line 2: text after the array's end",
        ),
        (
            "bad element",
            "[\n{\"problem_id\":\n}]".into(),
            "FILE, element 1 (line 2): not valid JSON: expected value (line 2 of the row, column 1)",
        ),
        // Native rows.
        (
            "missing field",
            r#"{"problem_id":"a","kind":"stdio"}"#.into(),
            "FILE, line 1, field `tests`: missing",
        ),
        (
            "wrong type",
            r#"{"problem_id":5,"kind":"stdio","tests":[{"stdin":"","expected":""}]}"#.into(),
            "FILE, line 1, field `problem_id`: invalid type: integer `5`, expected a string",
        ),
        (
            "no tests",
            r#"{"problem_id":"a","kind":"stdio","tests":[]}"#.into(),
            "FILE, line 1, field `tests`: a problem needs at least one test case",
        ),
        (
            "blank id",
            NATIVE.replace("\"a\"", "\" \""),
            "FILE, line 1, field `problem_id`: blank",
        ),
        (
            "repeated id",
            format!("{NATIVE}\n{}\n{NATIVE}", NATIVE.replace("\"a\"", "\"b\"")),
            "FILE, line 3: problem \"a\" was already read from FILE, line 1",
        ),
        (
            "no time at all",
            NATIVE.replace("\"kind\"", "\"limits\":{\"wall_time_ms\":0},\"kind\""),
            "FILE, line 1, field `limits.wall_time_ms`: 0 is not in 1..=86400000",
        ),
        (
            "no memory at all",
            format!(
                "{NATIVE}\n{}",
                OTHER.replace("\"kind\"", "\"limits\":{\"memory_bytes\":0},\"kind\"")
            ),
            "FILE, line 2, field `limits.memory_bytes`: 0 is not in 1..=1125899906842624",
        ),
        (
            "more time than anybody has",
            NATIVE.replace(
                "\"kind\"",
                "\"source_limits\":{\"cpu_time_ms\":18446744073709551615},\"kind\"",
            ),
            "FILE, line 1, field `source_limits.cpu_time_ms`: 18446744073709551615 is not in 1..=88473600000",
        ),
        (
            "too few descriptors for Python",
            NATIVE.replace("\"kind\"", "\"limits\":{\"open_files\":3},\"kind\""),
            "FILE, line 1, field `limits.open_files`: 3 is not in 8..=1048576",
        ),
        // HumanEval.
        (
            "no test",
            HUMANEVAL
                .replace("\"test\":", "\"test_\":")
                .replace("\"canonical_solution\"", "\"base_input\""),
            "FILE, line 1, field `base_input`: an EvalPlus row with raw inputs and no `test` cannot be judged; take the release whose rows have `test` (humanevalplus, mbppplus)",
        ),
        (
            "null prompt",
            HUMANEVAL.replace(r#""def f(x):\n""#, "null"),
            "FILE, line 1, field `prompt`: invalid type: null, expected a string",
        ),
        (
            "blank test",
            HUMANEVAL.replace(r#""def check(c):\n    assert c(1) == 1\n""#, "\"\\n\""),
            "FILE, line 1, field `test`: blank",
        ),
        (
            "id of a wrong type",
            HUMANEVAL.replace("\"HumanEval/0\"", "1.5"),
            "FILE, line 1, field `task_id`: expected a string or a whole number",
        ),
        (
            "lone surrogate",
            HUMANEVAL.replace("def f(x)", "\\ud800"),
            "FILE, line 1, field `prompt`: unexpected end of hex escape",
        ),
        // MBPP.
        (
            "assert of a wrong type",
            MBPP.replace(r#"["assert f() is None"]"#, r#"["assert f() is None", 3]"#),
            "FILE, line 1, field `test_list[1]`: invalid type: integer `3`, expected a string",
        ),
        (
            "no asserts",
            MBPP.replace(r#"["assert f() is None"]"#, "[]"),
            "FILE, line 1, field `test_list`: no test cases",
        ),
        (
            "no text",
            MBPP.replace("\"text\"", "\"t\""),
            "FILE, line 1, field `prompt`: missing",
        ),
        (
            "asserts in a string",
            MBPP.replace(r#"["assert f() is None"]"#, "\"assert\""),
            "FILE, line 1, field `test_list`: expected a list, found a string",
        ),
        // CodeContests.
        (
            "uneven tests",
            contests(r#""output":["2"]"#, r#""output":["2","3"]"#),
            "FILE, line 1, field `public_tests`: 1 inputs but 2 outputs",
        ),
        (
            "no test cases",
            contests(r#"{"input":["1"],"output":["2"]}"#, "null"),
            "FILE, line 1, field `tests`: no test cases",
        ),
        (
            "test of a wrong type",
            contests(r#"["2"]"#, "[2]"),
            "FILE, line 1, field `public_tests.output[0]`: invalid type: integer `2`, expected a string",
        ),
        (
            "path as input file",
            contests(r#""input_file":"""#, r#""input_file":"../x""#),
            "FILE, line 1, field `input_file`: \"../x\" is no plain file name",
        ),
        (
            "time limit of a wrong type",
            contests(r#""seconds":0"#, r#""seconds":"1""#),
            "FILE, line 1, field `time_limit.seconds`: invalid type: string \"1\", expected u64",
        ),
        (
            "unknown source",
            contests(
                r#""source":2,"cf_contest_id":76"#,
                r#""source":9,"cf_contest_id":0"#,
            ),
            "FILE, line 1, field `source`: unknown source 9; known: 0 to 6",
        ),
        // APPS.
        (
            "apps, no tests",
            apps("\"\""),
            "FILE, line 1, field `input_output`: no test cases",
        ),
        (
            "apps, empty",
            apps(r#""{\"inputs\":[],\"outputs\":[]}""#),
            "FILE, line 1, field `input_output.inputs`: no test cases",
        ),
        (
            "apps, uneven",
            apps(r#"{"inputs":["1","2"],"outputs":["1"]}"#),
            "FILE, line 1, field `input_output.inputs`: 2 inputs but 1 outputs",
        ),
        (
            "apps, bad JSON inside",
            apps(r#""{\"inputs\"""#),
            "FILE, line 1, field `input_output`: not valid JSON: EOF while parsing an object (column 9)",
        ),
        // LiveCodeBench.
        (
            "lcb, pickle",
            lcb(
                r#""eJxrYJlqwQABPSbR1UqZeQWlJUpWCkqGSjoKSvmlJVCuEYhbklpcUlJZkAoSKC5JycxTqo2dogcAOgkSqg==""#,
            ),
            "FILE, line 1, field `private_test_cases`: a pickle (base64 of zlib of a pickle), which is never loaded because it can run code; convert the tests to JSON first",
        ),
        (
            "lcb, neither",
            lcb("\"@@@\""),
            "FILE, line 1, field `private_test_cases`: neither JSON nor base64",
        ),
        (
            "lcb, no zlib",
            lcb("\"AAAA\""),
            "FILE, line 1, field `private_test_cases`: base64, but no zlib inside (corrupt deflate stream)",
        ),
        (
            "lcb, no tests",
            lcb("\"\""),
            "FILE, line 1, field `public_test_cases`: no test cases",
        ),
        (
            "lcb, no name",
            lcb(r#""[{\"input\":\"1\",\"output\":\"2\",\"testtype\":\"functional\"}]""#),
            "FILE, line 1, field `metadata.func_name`: missing",
        ),
        (
            "lcb, bad argument",
            lcb(r#""[{\"input\":\"(1, 2)\",\"output\":\"2\",\"testtype\":\"functional\"}]""#),
            "FILE, line 1, field `private_test_cases[0]`: input: expected a value at byte 0",
        ),
        (
            "lcb, unknown type",
            lcb(r#""[{\"input\":\"\",\"output\":\"\",\"testtype\":\"x\"}]""#),
            "FILE, line 1, field `private_test_cases[0].testtype`: unknown type \"x\"; known: stdin, functional",
        ),
        // No format.
        (
            "unknown fields",
            r#"{"x":1,"y":2}"#.into(),
            "FILE, line 1: cannot tell the format of this dataset from its fields (x, y); name it with --format",
        ),
    ];
    let folder = folder();
    for (name, content, expected) in cases {
        let path = file(&folder, "data.jsonl", content);
        let error = outcome(DatasetSpec::new(&path)).expect_err(name);
        let error = error.replace(&path.display().to_string(), "FILE");
        assert_eq!(error, expected, "case: {name}");
    }
}

#[test]
fn every_broken_file_is_one_clear_error() {
    let rows = format!("{NATIVE}\n");
    let many: String = (0..2000)
        .map(|i| NATIVE.replace("\"a\"", &format!("\"{i}-{}\"", i * 7919)) + "\n")
        .collect();
    let packed = gzip(many.as_bytes());
    let mut flipped = packed.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    let zstd_packed = zstd(many.as_bytes());
    let mut zstd_flipped = zstd_packed.clone();
    let middle = zstd_flipped.len() / 2;
    zstd_flipped[middle..middle + 8].fill(0xff);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), "FILE holds no rows"),
        ("blank", b" \n\n".to_vec(), "FILE holds no rows"),
        ("empty array", b"[ ]".to_vec(), "FILE holds no rows"),
        ("empty gzip", gzip(b""), "FILE holds no rows"),
        ("empty zstd", zstd(b""), "FILE holds no rows"),
        (
            "truncated gzip",
            packed[..packed.len() / 2].to_vec(),
            "cannot read FILE: the gzip data is truncated or corrupt",
        ),
        (
            "gzip without its checksum",
            packed[..packed.len() - 6].to_vec(),
            "cannot read FILE: the gzip data is truncated or corrupt",
        ),
        (
            "corrupt gzip",
            flipped,
            "cannot read FILE: the gzip data is truncated or corrupt",
        ),
        (
            "text after gzip",
            [gzip(rows.as_bytes()), b"more".to_vec()].concat(),
            "cannot read FILE: the gzip data is truncated or corrupt",
        ),
        (
            "truncated zstd",
            zstd_packed[..zstd_packed.len() / 2].to_vec(),
            "cannot read FILE: the zstd data is truncated or corrupt",
        ),
        (
            "corrupt zstd",
            zstd_flipped,
            "cannot read FILE: the zstd data is truncated or corrupt",
        ),
        (
            "no UTF-8",
            b"{\"problem_id\":\"\xff\"}".to_vec(),
            "FILE, line 1: not UTF-8 (byte 16)",
        ),
        (
            "no UTF-8 later",
            [rows.as_bytes(), b"{\"a\":\"\xe9\"}"].concat(),
            "FILE, line 2: not UTF-8 (byte 7)",
        ),
        (
            "cut parquet",
            b"PAR1....".to_vec(),
            "cannot read FILE as parquet: ",
        ),
        (
            "not parquet",
            b"PAR1 and then no such thing at all, PAR0".to_vec(),
            "cannot read FILE as parquet: ",
        ),
    ];
    let folder = folder();
    for (name, content, expected) in cases {
        let path = file(&folder, "data", content);
        let spec = DatasetSpec {
            format: Some(Format::Native),
            ..DatasetSpec::new(&path)
        };
        let error = outcome(spec).expect_err(name);
        let error = error.replace(&path.display().to_string(), "FILE");
        assert!(error.starts_with(expected), "case: {name}: {error}");
    }
    let error = outcome(DatasetSpec::new(folder.path())).expect_err("a folder");
    assert!(error.ends_with("it is a folder; name its files"), "{error}");
}

#[test]
fn good_rows_before_a_bad_one_are_no_excuse() {
    let folder = folder();
    let path = file(
        &folder,
        "x.jsonl",
        format!("{NATIVE}\n{{\"problem_id\":\"b\"}}\n"),
    );
    let dataset = eval::Dataset::open(DatasetSpec::new(&path)).expect("opens");
    let items: Vec<bool> = dataset.problems().map(|problem| problem.is_ok()).collect();
    assert_eq!(items, [true, false]);
}

#[test]
fn files_come_in_many_wrappings() {
    let second = NATIVE.replace("\"a\"", "\"b\"");
    let lines = format!("{NATIVE}\n{second}\n");
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("lines", lines.clone().into_bytes()),
        ("no last line break", lines.trim_end().as_bytes().to_vec()),
        (
            "CRLF and blank lines",
            format!("\r\n{NATIVE}\r\n\r\n{second}\r\n").into_bytes(),
        ),
        (
            "byte order mark",
            [b"\xef\xbb\xbf", lines.as_bytes()].concat(),
        ),
        ("array", format!("[{NATIVE},{second}]").into_bytes()),
        (
            "pretty array",
            format!("\n[\n  {NATIVE},\n  {}\n]\n", second.replace(',', ",\n")).into_bytes(),
        ),
        ("gzip", gzip(lines.as_bytes())),
        (
            "two gzip members",
            [
                gzip(NATIVE.as_bytes()),
                gzip(b"\n"),
                gzip(second.as_bytes()),
            ]
            .concat(),
        ),
        (
            "gzip of an array",
            gzip(format!("[{NATIVE},{second}]").as_bytes()),
        ),
        ("zstd", zstd(lines.as_bytes())),
        (
            "two zstd frames",
            [
                zstd(NATIVE.as_bytes()),
                zstd(b"\n"),
                zstd(second.as_bytes()),
            ]
            .concat(),
        ),
    ];
    let folder = folder();
    for (name, content) in cases {
        let path = file(&folder, "data", content);
        assert_eq!(outcome(DatasetSpec::new(&path)), Ok(2), "case: {name}");
    }
}

#[test]
fn several_files_are_one_dataset() {
    let folder = folder();
    let first = file(&folder, "one.jsonl", NATIVE);
    let second = file(
        &folder,
        "two.jsonl.gz",
        gzip(NATIVE.replace("\"a\"", "\"b\"").as_bytes()),
    );
    let spec = DatasetSpec {
        files: vec![first.clone(), second.clone()],
        ..DatasetSpec::default()
    };
    assert_eq!(outcome(spec), Ok(2));
    let spec = DatasetSpec {
        files: vec![first.clone(), first.clone()],
        ..DatasetSpec::default()
    };
    let error = outcome(spec).expect_err("repeated");
    let name = first.display();
    assert_eq!(
        error,
        format!("{name}, line 1: problem \"a\" was already read from {name}, line 1")
    );
}

#[test]
fn names_are_derived_from_rows_and_files() {
    let with =
        |dataset: &str| NATIVE.replace("\"kind\"", &format!("\"dataset\":\"{dataset}\",\"kind\""));
    let cases = [
        ("My Suite-2.jsonl", NATIVE.to_owned(), None, "my_suite_2"),
        (
            "x.jsonl",
            with("codecontests_valid"),
            None,
            "codecontests_valid",
        ),
        ("x.jsonl", with("a"), Some("Valid/Big"), "valid_big"),
        (
            "test-00000-of-00001-9c49eeff30aacaa8.jsonl",
            NATIVE.to_owned(),
            None,
            "test",
        ),
        ("---.jsonl", NATIVE.to_owned(), None, "dataset"),
    ];
    let folder = folder();
    for (name, content, slug, expected) in cases {
        let path = file(&folder, name, content);
        let spec = DatasetSpec {
            slug: slug.map(str::to_owned),
            ..DatasetSpec::new(&path)
        };
        let dataset = eval::Dataset::open(spec).expect("opens");
        assert_eq!(dataset.slug(), expected, "case: {name}");
        let problem = dataset.problems().next().expect("a row").expect("good");
        assert_eq!(problem.dataset, expected, "case: {name}");
    }
}
