//! `POST /run_code`, rule by rule.

use serde_json::{Value, json};

use crate::support::{runners, shared};

fn python(code: &str) -> Value {
    shared().run_code(json!({ "code": code, "language": "python" }))
}

fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn success_has_every_key_and_the_types_of_the_contract() {
    let answer = python("print(input())");
    assert_eq!(
        keys(&answer),
        [
            "status",
            "message",
            "compile_result",
            "run_result",
            "executor_pod_name",
            "files"
        ]
    );
    // `input()` of an empty stdin raises.
    assert_eq!(answer["status"], "Failed");
    let answer = shared().run_code(
        json!({ "code": "print(input())", "stdin": "hello\nworld", "language": "python" }),
    );
    assert_eq!(answer["status"], "Success");
    assert_eq!(answer["message"], "");
    assert_eq!(answer["compile_result"], Value::Null);
    assert_eq!(answer["executor_pod_name"], Value::Null);
    assert_eq!(answer["files"], json!({}));
    let run = &answer["run_result"];
    assert_eq!(
        keys(run),
        [
            "status",
            "execution_time",
            "return_code",
            "stdout",
            "stderr",
            "cpu_time"
        ]
    );
    assert_eq!(run["status"], "Finished");
    assert_eq!(run["return_code"], 0);
    assert_eq!(run["stdout"], "hello\n");
    assert_eq!(run["stderr"], "");
    assert!(run["execution_time"].is_f64() && run["cpu_time"].is_f64());
}

#[test]
fn a_missing_language_is_python_and_unknown_fields_are_ignored() {
    let body = json!({ "code": "print(1)", "expected_stdout": "1", "nested": { "a": [1] } });
    assert_eq!(shared().run_code(body)["run_result"]["stdout"], "1\n");
}

#[test]
fn what_the_program_does_wrong_is_failed_with_its_exit_code() {
    let cases = [
        ("raise ValueError('no')", 1),
        ("import sys; sys.exit(3)", 3),
        ("import sys; sys.exit('text')", 1),
        ("import os; os._exit(256 + 7)", 7),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            -9,
        ),
        ("import os; os.abort()", -6),
        ("import ctypes; ctypes.string_at(0)", -11),
        ("def f(:", 1),
    ];
    for (code, return_code) in cases {
        let answer = python(code);
        assert_eq!(answer["status"], "Failed", "{code}");
        assert_eq!(answer["message"], "", "{code}");
        assert_eq!(answer["run_result"]["status"], "Finished", "{code}");
        assert_eq!(answer["run_result"]["return_code"], return_code, "{code}");
    }
    let answer = python("raise ValueError('no')");
    let stderr = answer["run_result"]["stderr"].as_str().unwrap();
    assert!(stderr.starts_with("Traceback") && stderr.ends_with("ValueError: no\n"));
}

#[test]
fn a_time_limit_gives_null_return_code_a_number_of_seconds_and_partial_output() {
    let body = json!({
        "code": "import sys, time\nprint('before', flush=True)\nsys.stderr.write('err')\nsys.stderr.flush()\ntime.sleep(60)",
        "run_timeout": 0.5,
    });
    let answer = shared().run_code(body);
    assert_eq!(answer["status"], "Failed");
    let run = &answer["run_result"];
    assert_eq!(run["status"], "TimeLimitExceeded");
    assert_eq!(run["return_code"], Value::Null);
    assert_eq!(
        (&run["stdout"], &run["stderr"]),
        (&json!("before\n"), &json!("err"))
    );
    assert!(run["execution_time"].as_f64().unwrap() >= 0.5);
}

#[test]
fn no_time_at_all_is_a_time_limit_at_once() {
    for timeout in [json!(0), json!(-1), json!("0"), json!(-0.5)] {
        let answer = shared().run_code(json!({ "code": "print(1)", "run_timeout": timeout }));
        let run = &answer["run_result"];
        assert_eq!(answer["status"], "Failed");
        assert_eq!(run["status"], "TimeLimitExceeded");
        assert_eq!(run["return_code"], Value::Null);
        assert_eq!(run["execution_time"], 0.0);
        assert_eq!((&run["stdout"], &run["stderr"]), (&json!(""), &json!("")));
    }
}

#[test]
fn null_and_empty_stdin_are_end_of_file_at_once() {
    for stdin in [Value::Null, json!("")] {
        let body = json!({ "code": "import sys; print(repr(sys.stdin.read()))", "stdin": stdin });
        assert_eq!(shared().run_code(body)["run_result"]["stdout"], "''\n");
    }
}

#[test]
fn stdin_of_many_megabytes_is_read_or_ignored() {
    let stdin = "x".repeat(8 << 20);
    for (code, stdout) in [
        ("import sys; print(len(sys.stdin.read()))", "8388608\n"),
        ("print('done')", "done\n"),
    ] {
        let answer = shared().run_code(json!({ "code": code, "stdin": stdin }));
        assert_eq!(answer["run_result"]["stdout"], stdout, "{code}");
        assert_eq!(answer["status"], "Success", "{code}");
    }
}

#[test]
fn output_is_whole_and_its_bytes_are_unchanged() {
    let answer = python("print('x' * 1_000_000)\nfor i in range(100_000): print(i)");
    let stdout = answer["run_result"]["stdout"].as_str().unwrap();
    assert_eq!(stdout.len(), 1_000_001 + 588_890);
    assert_eq!(answer["status"], "Success");
    let answer = python(r#"import sys; sys.stdout.buffer.write(b"a\r\nb\0c\r \t\n\n")"#);
    assert_eq!(answer["run_result"]["stdout"], "a\r\nb\0c\r \t\n\n");
}

#[test]
fn output_that_is_no_utf8_becomes_pythons_complaint_and_stays_a_success() {
    let answer = python(
        r#"import sys; sys.stdout.buffer.write(b"ab\xff"); sys.stderr.buffer.write(b"\xe2\x82")"#,
    );
    assert_eq!(answer["status"], "Success");
    let run = &answer["run_result"];
    assert_eq!(
        run["stdout"],
        "[DecodeError] 'utf-8' codec can't decode byte 0xff in position 2: invalid start byte"
    );
    assert_eq!(
        run["stderr"],
        "[DecodeError] 'utf-8' codec can't decode bytes in position 0-1: unexpected end of data"
    );
}

#[test]
fn output_over_its_cap_is_failed_with_the_head_kept_and_a_note() {
    let answer = python("import sys\nwhile True: sys.stdout.write('y' * 65536)");
    assert_eq!(answer["status"], "Failed");
    let run = &answer["run_result"];
    assert_eq!(run["status"], "Finished");
    assert_eq!(run["return_code"], -9);
    assert_eq!(run["stdout"].as_str().unwrap().len(), 16 << 20);
    assert!(run["stderr"].as_str().unwrap().contains("stdout limit"));
}

#[test]
fn memory_over_its_limit_is_failed_and_numpy_fits_into_verls() {
    let body = json!({ "code": "x = bytearray(900 << 20); print(len(x))", "memory_limit_MB": 256 });
    let answer = shared().run_code(body);
    assert_eq!(answer["status"], "Failed");
    let stderr = answer["run_result"]["stderr"].as_str().unwrap();
    assert!(
        stderr.contains("MemoryError") || stderr.contains("memory limit"),
        "{stderr}"
    );
    // No limit, by any spelling, is the server's.
    for memory in [json!(-1), json!(0), json!("-1")] {
        let body =
            json!({ "code": "x = bytearray(1500 << 20); print(1)", "memory_limit_MB": memory });
        assert_eq!(shared().run_code(body)["status"], "Success", "{memory}");
    }
    let body = json!({
        "code": "import threading\nt = threading.Thread(target=print, args=('thread',))\nt.start(); t.join()",
        "memory_limit_MB": 1024,
    });
    assert_eq!(shared().run_code(body)["run_result"]["stdout"], "thread\n");
}

#[test]
fn the_script_is_a_real_file_in_a_fresh_writable_folder() {
    let code = "import os, sys\n\
        assert os.path.isabs(__file__) and os.path.isfile(__file__), __file__\n\
        assert os.path.dirname(__file__) == os.getcwd() == os.path.abspath(sys.path[0])\n\
        assert os.listdir() == [os.path.basename(__file__)], os.listdir()\n\
        open('left', 'w').write('x'); open('/tmp/left', 'w').write('x')\n\
        assert os.environ['PYTHONHASHSEED'] == '0'\n\
        print('fine')";
    for _ in 0..2 {
        assert_eq!(python(code)["run_result"]["stdout"], "fine\n");
    }
}

#[test]
fn subprocesses_threads_pools_and_the_loopback_work() {
    let code = "import subprocess, socket, threading, multiprocessing\n\
        print(subprocess.check_output(['echo', 'child'], text=True).strip())\n\
        s = socket.create_server(('127.0.0.1', 0))\n\
        threading.Thread(target=lambda: s.accept()[0].sendall(b'over'), daemon=True).start()\n\
        print(socket.create_connection(s.getsockname()).recv(4).decode())\n\
        if __name__ == '__main__':\n    with multiprocessing.Pool(2) as pool: print(pool.map(abs, [-1, -2]))";
    let answer = python(code);
    assert_eq!(
        answer["run_result"]["stdout"], "child\nover\n[1, 2]\n",
        "{answer}"
    );
}

#[test]
fn files_lie_where_they_say_and_come_back_when_asked_for() {
    let body = json!({
        "code": "import os\nos.makedirs('out'); open('out/b', 'w').write(open('in/a').read() * 2)\n\
            open('/mnt/c', 'w').write('mnt'); open('/tmp/d', 'w').write('tmp')\n\
            print(open('/mnt/given').read(), os.path.exists('skipped'))",
        "files": { "in/a": "YWI=", "/mnt/given": "Z2l2ZW4=", "skipped": null, "x_IGNORE_THIS_FILE": "!" },
        "fetch_files": ["out/b", "/mnt/c", "/tmp/d", "missing", "out", "./in/a", "/etc/passwd", "/proc/self/environ"],
    });
    let answer = shared().run_code(body);
    assert_eq!(answer["run_result"]["stdout"], "given False\n", "{answer}");
    assert_eq!(
        answer["files"],
        json!({ "out/b": "YWJhYg==", "/mnt/c": "bW50", "/tmp/d": "dG1w", "./in/a": "YWI=" })
    );
}

#[test]
fn files_come_back_after_failure_and_time_out_too() {
    for end in ["raise SystemExit(1)", "import time; time.sleep(60)"] {
        let body = json!({
            "code": format!("open('a', 'w').write('kept')\n{end}"),
            "run_timeout": 2, "fetch_files": ["a"],
        });
        let answer = shared().run_code(body);
        assert_eq!(answer["status"], "Failed");
        assert_eq!(answer["files"], json!({ "a": "a2VwdA==" }), "{end}");
    }
}

#[test]
fn a_file_may_be_called_as_our_script_is() {
    let body = json!({
        "code": "import main, os\nprint(main.x, os.path.isabs(__file__))",
        "files": { "main.py": "eCA9IDQy" },
    });
    assert_eq!(shared().run_code(body)["run_result"]["stdout"], "42 True\n");
}

#[test]
fn base64_is_decoded_as_python_does() {
    let body = json!({ "code": "print(open('a').read())", "files": { "a": " a-G*k=\n" } });
    assert_eq!(shared().run_code(body)["run_result"]["stdout"], "hi\n");
}

#[test]
fn what_cannot_be_carried_out_is_a_sandbox_error_with_its_reason() {
    let cases = [
        (json!({ "files": { "a": "YWI" } }), "Incorrect padding"),
        (
            json!({ "files": { "/etc/a": "YWI=" } }),
            "Read-only file system",
        ),
        (
            json!({ "files": { "../../../etc/a": "YWI=" } }),
            "Read-only file system",
        ),
        (json!({ "files": { "/": "" } }), "Is a directory"),
        (
            json!({ "files": { "a": "", "a/b": "" } }),
            "Not a directory",
        ),
        (json!({ "files": { "a\u{0}b": "" } }), "null byte"),
        (json!({ "language": "sql" }), "sql"),
    ];
    for (more, reason) in cases {
        let body = with(json!({ "code": "print(1)", "language": "python" }), more);
        let answer = shared().run_code(body.clone());
        assert_eq!(answer["status"], "SandboxError", "{body}");
        let message = answer["message"].as_str().unwrap();
        assert!(
            message.starts_with("exception on running code print(1): "),
            "{message}"
        );
        assert!(
            message.ends_with(" None") && message.contains(reason),
            "{message}"
        );
        assert_eq!(answer["compile_result"], Value::Null);
        assert_eq!(answer["run_result"], Value::Null);
        assert_eq!(answer["files"], json!({}));
    }
}

#[test]
fn hostile_paths_reach_nothing() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "secret of the host").unwrap();
    let path = secret.path().to_str().unwrap();
    let body = json!({
        "code": format!("import os\nos.symlink({path:?}, 'link'); os.symlink('/etc', 'folder')\nos.mkfifo('fifo')"),
        "fetch_files": ["link", "folder/passwd", "fifo", path, format!("../..{path}"), "../../../../etc/shadow"],
        "files": { path: "b3ZlcndyaXR0ZW4=" },
    });
    let answer = shared().run_code(body);
    // The file lies in the run's own /tmp; the host's is as it was, and nothing of it came back.
    assert_eq!(answer["status"], "Success", "{answer}");
    let fetched = answer["files"].as_object().unwrap();
    for (name, content) in fetched {
        assert_eq!(content, "b3ZlcndyaXR0ZW4=", "{name}");
    }
    assert!(!fetched.contains_key("link") && !fetched.contains_key("folder/passwd"));
    let left = std::fs::read_to_string(secret.path()).unwrap();
    assert_eq!(left, "secret of the host");
}

#[test]
fn a_lone_surrogate_is_the_compilers_to_refuse() {
    let reply = shared().post_bytes(
        "/run_code",
        br#"{"code":"x = '\ud800'","language":"python"}"#,
    );
    assert_eq!(reply.status, 200);
    let answer = reply.json();
    assert_eq!(answer["status"], "Failed");
    let stderr = answer["run_result"]["stderr"].as_str().unwrap();
    assert!(stderr.contains("SyntaxError"), "{stderr}");
}

#[test]
fn faults_of_a_request_have_pydantics_shape() {
    let fault = |text: &str| {
        let reply = shared().post_bytes("/run_code", text.as_bytes());
        assert_eq!(reply.status, 422, "{text}: {}", reply.text);
        let detail = reply.json()["detail"][0].clone();
        (
            detail["type"].clone(),
            detail["loc"].clone(),
            detail["msg"].clone(),
            detail["input"].clone(),
        )
    };
    let cases = [
        (
            r#"{"language":"python"}"#,
            "missing",
            json!(["body", "code"]),
            "Field required",
            json!({"language": "python"}),
        ),
        (
            r#"{"code":1}"#,
            "string_type",
            json!(["body", "code"]),
            "Input should be a valid string",
            json!(1),
        ),
        (
            r#"{"code":null}"#,
            "string_type",
            json!(["body", "code"]),
            "Input should be a valid string",
            Value::Null,
        ),
        (
            r#"{"code":"","run_timeout":"x"}"#,
            "float_parsing",
            json!(["body", "run_timeout"]),
            "Input should be a valid number, unable to parse string as a number",
            json!("x"),
        ),
        (
            r#"{"code":"","run_timeout":null}"#,
            "float_type",
            json!(["body", "run_timeout"]),
            "Input should be a valid number",
            Value::Null,
        ),
        (
            r#"{"code":"","memory_limit_MB":1.5}"#,
            "int_from_float",
            json!(["body", "memory_limit_MB"]),
            "Input should be a valid integer, got a number with a fractional part",
            json!(1.5),
        ),
        (
            r#"{"code":"","files":[]}"#,
            "dict_type",
            json!(["body", "files"]),
            "Input should be a valid dictionary",
            json!([]),
        ),
        (
            r#"{"code":"","files":{"a":1}}"#,
            "string_type",
            json!(["body", "files", "a"]),
            "Input should be a valid string",
            json!(1),
        ),
        (
            r#"{"code":"","fetch_files":"a"}"#,
            "list_type",
            json!(["body", "fetch_files"]),
            "Input should be a valid list",
            json!("a"),
        ),
        (
            r#"{"code":"","stdin":1}"#,
            "string_type",
            json!(["body", "stdin"]),
            "Input should be a valid string",
            json!(1),
        ),
        (
            r#"[]"#,
            "model_attributes_type",
            json!(["body"]),
            "Input should be a valid dictionary or object to extract fields from",
            json!([]),
        ),
        (
            "",
            "missing",
            json!(["body"]),
            "Field required",
            Value::Null,
        ),
        (
            r#"{"code": }"#,
            "json_invalid",
            json!(["body", 9]),
            "JSON decode error",
            json!({}),
        ),
    ];
    for (text, kind, loc, msg, input) in cases {
        assert_eq!(fault(text), (json!(kind), loc, json!(msg), input), "{text}");
    }
    let reply = shared().post("/run_code", &json!({ "code": "", "language": "cobol" }));
    let detail = &reply.json()["detail"][0];
    assert_eq!(detail["type"], "literal_error");
    assert_eq!(detail["loc"], json!(["body", "language"]));
    let expected = detail["ctx"]["expected"].as_str().unwrap();
    assert!(expected.starts_with("'python', 'cpp', ") && expected.ends_with("'swift' or 'racket'"));
    assert_eq!(detail["msg"], format!("Input should be {expected}"));
}

#[test]
fn loose_numbers_are_taken() {
    for timeout in [json!("3"), json!(3), json!(3.5), json!(true)] {
        let body = json!({ "code": "print(1)", "run_timeout": timeout, "memory_limit_MB": "512" });
        assert_eq!(shared().run_code(body)["status"], "Success");
    }
}

#[test]
fn other_paths_and_methods_answer_as_fastapi_does() {
    let reply = shared().get("/nowhere");
    assert_eq!(
        (reply.status, reply.json()),
        (404, json!({ "detail": "Not Found" }))
    );
    let reply = shared().get("/run_code");
    assert_eq!(
        (reply.status, reply.json()),
        (405, json!({ "detail": "Method Not Allowed" }))
    );
    let reply = shared().get("/v1/ping");
    assert_eq!((reply.status, reply.json()), (200, json!("pong")));
    assert_eq!(shared().get("/").status, 200);
    assert_eq!(shared().post_bytes("/run_code", b"\xff{}").status, 400);
}

#[test]
fn a_hundred_cases_at_once_on_connections_of_their_own() {
    let answers: Vec<(usize, Value)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..100)
            .map(|index| {
                scope.spawn(move || {
                    let body = json!({ "code": "print(int(input()) * 2)", "stdin": index.to_string(), "language": "python" });
                    (index, shared().run_code(body))
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for (index, answer) in answers {
        assert_eq!(answer["status"], "Success", "{answer}");
        assert_eq!(answer["run_result"]["stdout"], format!("{}\n", index * 2));
    }
}

#[test]
fn many_requests_on_one_connection() {
    use std::io::{Read, Write};
    let mut stream = shared().connect();
    for index in 0..20 {
        let body = json!({ "code": format!("print({index})") }).to_string();
        write!(
            stream,
            "POST /run_code HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = Vec::new();
        let expected = format!("\"stdout\":\"{index}\\n\"");
        while !String::from_utf8_lossy(&answer).contains("\"files\":{}}") {
            let mut some = [0; 4096];
            let n = stream.read(&mut some).unwrap();
            assert!(n > 0, "the connection was closed");
            answer.extend_from_slice(&some[..n]);
        }
        assert!(String::from_utf8_lossy(&answer).contains(&expected));
    }
}

#[test]
fn every_answer_names_its_isolation() {
    let reply = shared().post("/run_code", &json!({ "code": "" }));
    let isolation = runners().python.isolation().as_str();
    let header = format!("x-codejury-isolation: {isolation}");
    assert!(reply.headers.contains(&header), "{}", reply.headers);
}

#[test]
fn pytest_runs_a_test_file_or_says_that_it_is_not_installed() {
    let body = json!({
        "code": "def test_fine():\n    assert 1 + 1 == 2\n\ndef test_wrong():\n    assert 1 == 2\n",
        "language": "pytest", "args": ["-q"],
    });
    let answer = shared().run_code(body);
    let run = &answer["run_result"];
    assert_eq!(answer["status"], "Failed");
    assert_eq!(run["return_code"], 1);
    let text = format!("{}{}", run["stdout"], run["stderr"]);
    let missing = text.contains("No module named pytest");
    assert!(missing || text.contains("1 failed, 1 passed"), "{text}");
}
