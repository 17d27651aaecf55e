//! `POST /run_jupyter`: cells that share a namespace.

use serde_json::{Value, json};

use crate::support::shared;

fn run(body: Value) -> Value {
    let reply = shared().post("/run_jupyter", &body);
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()
}

fn cells(sources: &[&str]) -> Vec<Value> {
    let answer = run(json!({ "cells": sources }));
    assert_eq!(answer["status"], "Success", "{answer}");
    let cells = answer["cells"].as_array().unwrap().clone();
    assert_eq!(cells.len(), sources.len());
    cells
}

#[test]
fn every_key_is_there() {
    let answer = run(json!({ "cells": ["a = 1"] }));
    let keys: Vec<_> = answer.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "status",
            "message",
            "driver",
            "cells",
            "executor_pod_name",
            "files"
        ]
    );
    let cell = answer["cells"][0].as_object().unwrap();
    assert_eq!(
        cell.keys().collect::<Vec<_>>(),
        ["stdout", "stderr", "display", "error"]
    );
    assert_eq!(answer["driver"]["status"], "Finished");
    assert_eq!(answer["driver"]["return_code"], 0);
    assert_eq!(run(json!({ "cells": [] }))["cells"], json!([]));
}

#[test]
fn state_output_values_and_errors_by_cell() {
    let cells = cells(&[
        "a = 123",
        "a",
        "print(a)",
        "import sys; sys.stderr.write('stderr message')",
        "raise RuntimeError('error message')",
        "a + 1",
        "a;",
        "def f(:",
    ]);
    assert_eq!(
        cells[0],
        json!({ "stdout": "", "stderr": "", "display": [], "error": [] })
    );
    assert_eq!(cells[1]["display"], json!([{ "text/plain": "123" }]));
    assert_eq!(cells[2]["stdout"], "123\n");
    assert_eq!(cells[3]["stderr"], "stderr message");
    let error = &cells[4]["error"][0];
    assert_eq!(
        (&error["ename"], &error["evalue"]),
        (&json!("RuntimeError"), &json!("error message"))
    );
    let traceback = error["traceback"].as_array().unwrap();
    assert!(
        traceback
            .iter()
            .any(|line| line.as_str().unwrap().contains("raise RuntimeError"))
    );
    assert!(
        !error.to_string().contains("main.py"),
        "the driver does not show: {error}"
    );
    assert_eq!(cells[5]["display"], json!([{ "text/plain": "124" }]));
    assert_eq!(cells[6]["display"], json!([]));
    assert_eq!(cells[7]["error"][0]["ename"], "SyntaxError");
}

#[test]
fn rich_display_children_shell_lines_and_await() {
    let cells = cells(&[
        "from IPython.display import display, HTML\ndisplay(HTML('<b>x</b>')); display(7)",
        "class T:\n    def _repr_html_(self): return '<i>t</i>'\n    def __repr__(self): return 'T!'\nT()",
        "!echo from a shell",
        "import os; os.system('echo from a child >&2') and None",
        "%matplotlib inline\nx = !echo listed\nx",
        "import asyncio\nawait asyncio.sleep(0, result='awaited')",
        "%%bash\necho in bash",
        "_",
        "%no_such_magic",
    ]);
    assert_eq!(cells[0]["display"][0]["text/html"], "<b>x</b>");
    assert_eq!(cells[0]["display"][1], json!({ "text/plain": "7" }));
    assert_eq!(
        cells[1]["display"],
        json!([{ "text/html": "<i>t</i>", "text/plain": "T!" }])
    );
    assert_eq!(cells[2]["stdout"], "from a shell\n");
    assert_eq!(cells[3]["stderr"], "from a child\n");
    assert_eq!(cells[4]["display"], json!([{ "text/plain": "['listed']" }]));
    assert_eq!(cells[5]["display"], json!([{ "text/plain": "'awaited'" }]));
    assert_eq!(cells[6]["stdout"], "in bash\n");
    assert_eq!(cells[7]["display"], json!([{ "text/plain": "'awaited'" }]));
    assert_eq!(cells[8]["error"][0]["ename"], "UsageError");
}

#[test]
fn files_go_in_and_come_out() {
    let answer = run(json!({
        "cells": ["open('out', 'w').write(open('in/f').read().upper()); None"],
        "files": { "in/f": "YWJj" }, "fetch_files": ["out", "missing"],
    }));
    assert_eq!(answer["status"], "Success", "{answer}");
    assert_eq!(answer["files"], json!({ "out": "QUJD" }));
}

#[test]
fn cells_that_take_the_driver_down_are_failed_without_cells() {
    let answer = run(json!({ "cells": ["print(1)", "import os; os._exit(5)", "print(2)"] }));
    assert_eq!(answer["status"], "Failed");
    assert_eq!(
        (&answer["cells"], &answer["files"]),
        (&json!([]), &json!({}))
    );
    assert_eq!(answer["driver"]["return_code"], 5);
    let cells = cells(&["import sys; sys.exit(3)", "1"]);
    assert_eq!(cells[0]["error"][0]["ename"], "SystemExit");
    assert_eq!(cells[1]["display"], json!([{ "text/plain": "1" }]));
}

#[test]
fn the_driver_has_ten_seconds_more_than_the_cells() {
    let body = json!({ "cells": ["import time; time.sleep(120)"], "total_timeout": 0, "fetch_files": ["a"] });
    let answer = run(body);
    assert_eq!(answer["status"], "Failed");
    assert_eq!(answer["driver"]["status"], "TimeLimitExceeded");
    assert_eq!(answer["driver"]["return_code"], Value::Null);
    assert!(answer["driver"]["execution_time"].as_f64().unwrap() >= 10.0);
    assert_eq!(
        (&answer["cells"], &answer["files"]),
        (&json!([]), &json!({}))
    );
}

#[test]
fn a_flood_in_one_cell_is_cut_and_said_so() {
    let cells = cells(&["print('x' * 9_000_000)", "print('after')"]);
    let stdout = cells[0]["stdout"].as_str().unwrap();
    assert!(stdout.len() < 5_000_000 && stdout.ends_with("9000001 bytes in all]\n"));
    assert_eq!(cells[1]["stdout"], "after\n");
}

#[test]
fn faults_of_a_request() {
    let kind = |body: Value| {
        let reply = shared().post("/run_jupyter", &body);
        assert_eq!(reply.status, 422);
        reply.json()["detail"][0]["type"].clone()
    };
    assert_eq!(kind(json!({})), "missing");
    assert_eq!(kind(json!({ "cells": "a" })), "list_type");
    assert_eq!(kind(json!({ "cells": [1] })), "string_type");
    assert_eq!(
        kind(json!({ "cells": [], "kernel": "julia" })),
        "literal_error"
    );
    assert_eq!(
        kind(json!({ "cells": [], "files": { "a": null } })),
        "string_type"
    );
    let answer = run(json!({ "cells": ["1"], "files": { "a": "YQ" } }));
    assert_eq!(answer["status"], "SandboxError");
    assert_eq!(answer["driver"], Value::Null);
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .starts_with("exception on running jupyter 1: ")
    );
}
