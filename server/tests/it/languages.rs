//! Languages besides Python. CI has bash and g++ and node; a tool that is missing must answer as bash
//! says it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use server::{LanguageConfig, ServeConfig};

use crate::support::{shared, start};

fn has(tool: &str) -> bool {
    std::path::Path::new("/usr/bin").join(tool).exists()
}

/// The answer of a tool that is not on this host.
fn assert_missing(run: &Value, tool: &str) {
    assert_eq!(run["return_code"], 127, "{run}");
    let stderr = run["stderr"].as_str().unwrap();
    assert_eq!(
        stderr,
        format!("/bin/bash: line 1: {tool}: command not found\n")
    );
}

#[test]
fn bash_runs_with_stdin_files_and_exit_code() {
    let body = json!({
        "language": "bash", "code": "read x; echo \"$x $(cat data/f)\"; echo err >&2; exit 3",
        "stdin": "in\n", "files": { "data/f": "ZmlsZQ==" },
    });
    let answer = shared().run_code(body);
    assert_eq!(answer["status"], "Failed");
    assert_eq!(answer["compile_result"], Value::Null);
    let run = &answer["run_result"];
    assert_eq!(run["return_code"], 3);
    assert_eq!(
        (&run["stdout"], &run["stderr"]),
        (&json!("in file\n"), &json!("err\n"))
    );
}

#[test]
fn cpp_is_compiled_and_run_with_both_results() {
    let body = json!({
        "language": "cpp", "stdin": "20 22", "compile_timeout": 60,
        "code": "#include <bits/stdc++.h>\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b << std::endl; }",
    });
    let answer = shared().run_code(body);
    let compile = &answer["compile_result"];
    if !has("g++") {
        assert_missing(compile, "g++");
        return;
    }
    assert_eq!(answer["status"], "Success", "{answer}");
    assert_eq!(
        (&compile["status"], &compile["return_code"]),
        (&json!("Finished"), &json!(0))
    );
    assert_eq!(answer["run_result"]["stdout"], "42\n");
}

#[test]
fn a_program_that_does_not_compile_is_not_run() {
    if !has("g++") {
        return; // the test above looks at the answer of a host without it
    }
    let body =
        json!({ "language": "cpp", "code": "int main() { return x; }", "compile_timeout": 60 });
    let answer = shared().run_code(body);
    assert_eq!(answer["status"], "Failed");
    assert_eq!(answer["run_result"], Value::Null);
    assert_eq!(answer["compile_result"]["return_code"], 1);
    let stderr = answer["compile_result"]["stderr"].as_str().unwrap();
    assert!(stderr.contains("was not declared"), "{stderr}");
    let body = json!({ "language": "cpp", "code": "int main() {}", "compile_timeout": 0 });
    let answer = shared().run_code(body);
    assert_eq!(answer["compile_result"]["status"], "TimeLimitExceeded");
    assert_eq!(answer["run_result"], Value::Null);
}

#[test]
fn a_compiled_program_dies_of_its_own_signal() {
    if !has("g++") {
        return;
    }
    let body = json!({ "language": "cpp", "code": "int main() { __builtin_trap(); }", "compile_timeout": 60 });
    let answer = shared().run_code(body);
    let code = answer["run_result"]["return_code"].as_i64().unwrap();
    assert!(code == -4 || code == -5, "{answer}");
}

#[test]
fn nodejs_runs() {
    let body = json!({
        "language": "nodejs", "stdin": "21", "run_timeout": 30,
        "code": "const n = Number(require('fs').readFileSync(0, 'utf8')); console.log(n * 2, [1,2].map(x => x + 1))",
    });
    let answer = shared().run_code(body);
    if !has("node") {
        assert_missing(&answer["run_result"], "node");
        return;
    }
    assert_eq!(answer["run_result"]["stdout"], "42 [ 2, 3 ]\n", "{answer}");
    assert_eq!(answer["status"], "Success");
}

#[test]
fn a_missing_toolchain_and_an_unconfigured_language_answer_127() {
    for language in ["junit", "csharp", "lean", "verilog", "cuda"] {
        let answer = shared().run_code(json!({ "language": language, "code": "" }));
        assert_eq!(answer["status"], "Failed");
        assert_eq!(answer["message"], "");
        assert_eq!(answer["run_result"]["return_code"], 127);
        let stderr = answer["run_result"]["stderr"].as_str().unwrap();
        assert!(stderr.contains(&format!("{language}: command not found")));
    }
    let config = ServeConfig {
        languages: BTreeMap::from([(
            "lua".to_owned(),
            LanguageConfig {
                file: "x.lua".into(),
                run: "no-such-lua x.lua".into(),
                ..LanguageConfig::default()
            },
        )]),
        ..ServeConfig::default()
    };
    let server = start(config);
    let answer = server.run_code(json!({ "language": "lua", "code": "" }));
    assert_missing(&answer["run_result"], "no-such-lua");
}
