//! Clients that break off, dawdle, flood, or lie about their bodies.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use server::{HttpConfig, QueueConfig, ServeConfig};

use crate::support::{Reply, eventually, head, metric, shared, start};

fn open_request(server: &crate::support::Running, body: &Value) -> std::net::TcpStream {
    let body = body.to_string();
    let mut stream = server.connect();
    let text = head("POST", "/run_code", &[], body.len()) + &body;
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

#[test]
fn a_client_that_leaves_ends_its_run_and_gives_up_its_place() {
    let server = start(ServeConfig::default());
    let sleeper = json!({ "code": "import time; time.sleep(600)", "run_timeout": 600 });
    let open: Vec<_> = (0..40).map(|_| open_request(&server, &sleeper)).collect();
    eventually("two run and the others wait", || {
        metric(&server, "codejury_queue_running") == 2.0
            && metric(&server, "codejury_queue_waiting") == 38.0
    });
    drop(open);
    eventually("nothing runs and nobody waits", || {
        metric(&server, "codejury_queue_running") == 0.0
            && metric(&server, "codejury_queue_waiting") == 0.0
    });
    assert_eq!(
        server.run_code(json!({ "code": "print(1)" }))["status"],
        "Success"
    );
    assert_eq!(metric(&server, "codejury_body_bytes"), 0.0);
}

#[test]
fn a_turn_that_does_not_come_is_504_before_the_client_gives_up() {
    let server = start(ServeConfig {
        queue: QueueConfig {
            wait_s: 0.3,
            ..QueueConfig::default()
        },
        ..ServeConfig::default()
    });
    let sleeper = json!({ "code": "import time; time.sleep(600)", "run_timeout": 600 });
    let _busy: Vec<_> = (0..2).map(|_| open_request(&server, &sleeper)).collect();
    eventually("both slots are taken", || {
        metric(&server, "codejury_queue_running") == 2.0
    });
    let body = json!({ "code": "print(1)", "compile_timeout": 0.2, "run_timeout": 5 });
    let begun = Instant::now();
    let reply = server.post("/run_code", &body);
    assert_eq!(reply.status, 504, "{}", reply.text);
    assert!(reply.json()["detail"].is_string());
    assert!(
        begun.elapsed() >= Duration::from_millis(500),
        "the compile time was not added"
    );
    assert_eq!(metric(&server, "codejury_queue_waiting"), 0.0);
}

#[test]
fn a_full_queue_is_504_at_once() {
    let server = start(ServeConfig {
        queue: QueueConfig {
            capacity: 3,
            wait_s: 600.0,
        },
        ..ServeConfig::default()
    });
    let sleeper = json!({ "code": "import time; time.sleep(600)", "run_timeout": 600 });
    let _busy: Vec<_> = (0..2).map(|_| open_request(&server, &sleeper)).collect();
    eventually("the slots are taken", || {
        metric(&server, "codejury_queue_running") == 2.0
    });
    let _waiting: Vec<_> = (0..3).map(|_| open_request(&server, &sleeper)).collect();
    eventually("the queue is full", || {
        metric(&server, "codejury_queue_waiting") == 3.0
    });
    assert_eq!(server.post("/run_code", &json!({ "code": "" })).status, 504);
    assert_eq!(server.get("/readyz").status, 503);
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn clients_take_turns_and_the_longest_line_pays_when_the_queue_is_full() {
    let server = start(ServeConfig {
        http: HttpConfig {
            client_header: Some("x-client".into()),
            ..HttpConfig::default()
        },
        queue: QueueConfig {
            capacity: 6,
            wait_s: 600.0,
        },
        ..ServeConfig::default()
    });
    let send = |client: &str, code: &str| {
        let body = json!({ "code": code, "run_timeout": 600 }).to_string();
        let mut stream = server.connect();
        let text = head("POST", "/run_code", &[("X-Client", client)], body.len()) + &body;
        stream.write_all(text.as_bytes()).unwrap();
        stream
    };
    let busy: Vec<_> = (0..2)
        .map(|_| send("a", "import time; time.sleep(600)"))
        .collect();
    eventually("both slots are taken", || {
        metric(&server, "codejury_queue_running") == 2.0
    });
    let mut waiting = Vec::new();
    for _ in 0..6 {
        waiting.push(send("a", "print('a')"));
        let expected = waiting.len() as f64;
        eventually("it waits", || {
            metric(&server, "codejury_queue_waiting") == expected
        });
    }
    // The queue is full of a's; b's two push out a's two youngest.
    let of_b: Vec<_> = (0..2)
        .map(|index| {
            let stream = send("b", "print('b')");
            let dropped = f64::from(index + 1);
            eventually("an a is dropped", || {
                metric(&server, "codejury_refused_runs_total") == dropped
            });
            stream
        })
        .collect();
    drop(busy);
    for stream in of_b {
        let reply = Reply::read(stream);
        assert_eq!(reply.json()["run_result"]["stdout"], "b\n");
    }
    let codes: Vec<u16> = waiting
        .into_iter()
        .map(|stream| Reply::read(stream).status)
        .collect();
    assert_eq!(codes, [200, 200, 200, 200, 504, 504]);
}

#[test]
fn waiting_is_no_part_of_execution_time() {
    let server = start(ServeConfig::default());
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let server = &server;
        let threads: Vec<_> = (0..10)
            .map(|_| {
                scope.spawn(move || {
                    server.run_code(
                        json!({ "code": "import time; time.sleep(0.5)", "run_timeout": 5 }),
                    )
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    // The last ones waited two seconds.
    for answer in answers {
        let time = answer["run_result"]["execution_time"].as_f64().unwrap();
        assert_eq!(answer["status"], "Success");
        assert!((0.5..2.0).contains(&time), "{time}");
    }
}

#[test]
fn a_client_that_dawdles_is_cut_off_and_holds_up_nobody() {
    let server = start(ServeConfig {
        http: HttpConfig {
            head_timeout_s: 1.0,
            body_timeout_s: 1.0,
            ..HttpConfig::default()
        },
        ..ServeConfig::default()
    });
    let mut slow_heads: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = server.connect();
            stream
                .write_all(b"POST /run_code HTTP/1.1\r\nHost: t\r\nX-")
                .unwrap();
            stream
        })
        .collect();
    let mut slow_body = server.connect();
    slow_body
        .write_all((head("POST", "/run_code", &[], 1000) + "{\"code\":").as_bytes())
        .unwrap();
    assert_eq!(
        server.run_code(json!({ "code": "print(1)" }))["status"],
        "Success"
    );
    for stream in &mut slow_heads {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all); // ends: the server closed it
    }
    assert_eq!(Reply::read(slow_body).status, 408);
    eventually("no connection is left but ours", || {
        metric(&server, "codejury_connections") <= 1.0
    });
}

#[test]
fn bodies_over_the_limit_are_413_declared_or_not() {
    let server = start(ServeConfig {
        http: HttpConfig {
            max_body_mib: 1,
            max_bodies_mib: 2,
            ..HttpConfig::default()
        },
        ..ServeConfig::default()
    });
    // Declared: refused before a byte of it is read.
    let mut stream = server.connect();
    stream
        .write_all(head("POST", "/run_code", &[], 100 << 20).as_bytes())
        .unwrap();
    let reply = Reply::read(stream);
    assert_eq!(
        (reply.status, reply.json()["detail"].is_string()),
        (413, true)
    );
    // Not declared: refused as soon as it is over.
    let mut stream = server.connect();
    stream
        .write_all(b"POST /run_code HTTP/1.1\r\nHost: t\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 65536], b"\r\n"].concat();
    for _ in 0..32 {
        if stream.write_all(&chunk).is_err() {
            break;
        }
    }
    assert_eq!(Reply::read(stream).status, 413);
    // All together: as if the queue were full.
    let open: Vec<_> = (0..3)
        .map(|_| {
            let mut stream = server.connect();
            let text = head("POST", "/run_code", &[], 1 << 20);
            stream.write_all(text.as_bytes()).unwrap();
            let _ = stream.write_all(&vec![b' '; 1_000_000]);
            stream
        })
        .collect();
    let mut codes = Vec::new();
    for mut stream in open {
        stream
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        let mut some = [0; 64];
        if let Ok(n) = stream.read(&mut some) {
            codes.push(String::from_utf8_lossy(&some[..n]).contains(" 504 "));
        }
    }
    assert_eq!(codes, [true], "one of the three found no room");
    eventually("their bytes are given back", || {
        metric(&server, "codejury_body_bytes") == 0.0
    });
}

#[test]
fn a_hundred_megabytes_are_taken_where_they_may_be_and_refused_where_not() {
    let size = 100 << 20;
    let body = [
        br#"{"code":"import sys; print(len(sys.stdin.read()))","stdin":""#.as_slice(),
        &vec![b'x'; size],
        br#""}"#,
    ]
    .concat();
    let roomy = start(ServeConfig {
        http: HttpConfig {
            max_body_mib: 128,
            ..HttpConfig::default()
        },
        ..ServeConfig::default()
    });
    let answer = roomy.post_bytes("/run_code", &body);
    assert_eq!(answer.json()["run_result"]["stdout"], format!("{size}\n"));
    assert_eq!(metric(&roomy, "codejury_body_bytes"), 0.0);
    // By default 64 MiB are the most. Whoever sends on all the same may find the connection reset
    // before the answer is read, so the answers are counted here.
    let strict = start(ServeConfig::default());
    for _ in 0..5 {
        let mut stream = strict.connect();
        let text = head("POST", "/run_code", &[], body.len());
        stream.write_all(text.as_bytes()).unwrap();
        let _ = stream.write_all(&body);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(metric(&strict, "codejury_body_bytes"), 0.0);
    let refused = "codejury_requests_total{path=\"/run_code\",code=\"413\"}";
    assert_eq!(metric(&strict, refused), 5.0);
    assert_eq!(metric(&strict, "codejury_runs_total"), 0.0);
}

#[test]
fn a_body_that_breaks_off_leaves_nothing_behind() {
    let server = start(ServeConfig::default());
    for _ in 0..100 {
        let mut stream = server.connect();
        stream
            .write_all((head("POST", "/run_code", &[], 5000) + "{\"code\":\"print(1)\"").as_bytes())
            .unwrap();
    }
    eventually("all connections are closed", || {
        metric(&server, "codejury_connections") <= 1.0
    });
    assert_eq!(metric(&server, "codejury_body_bytes"), 0.0);
    assert_eq!(metric(&server, "codejury_runs_total"), 0.0);
}

#[test]
fn deep_wrong_and_odd_json_is_an_answer_and_never_a_crash() {
    let deep =
        |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let bodies = [
        deep("[", "]"),
        deep("{\"code\":", "}"),
        format!("{{\"code\":{}}}", deep("[", "]")),
        format!(
            "{{\"code\":\"print(1)\",\"files\":{}}}",
            deep("{\"a\":", "}")
        ),
        format!("{{\"code\":\"print(1)\",\"unknown\":{}}}", deep("[", "]")),
        "{\"code\":\"print(1)\"".to_owned(),
        "nul".to_owned(),
        "\"\\ud800\"".to_owned(),
        "{\"code\":\"print(1)\",\"run_timeout\":1e999}".to_owned(),
        "{\"code\":\"print(1)\",\"run_timeout\":\"nan\"}".to_owned(),
        "{\"code\":\"print(1)\",\"memory_limit_MB\":99999999999999999999}".to_owned(),
        "{\"code\":\"print(1)\",\"run_timeout\":\"inf\",\"compile_timeout\":\"-inf\"}".to_owned(),
    ];
    let row = deep("[", "]");
    let deep_row = format!(
        "{{\"dataset\":\"mbpp\",\"id\":1,\"completion\":\"\",\"config\":{{\"provided_data\":{{\"a\":{row}}}}}}}"
    );
    for path in [
        "/run_code",
        "/run_jupyter",
        "/v1/judge",
        "/submit",
        "/list_ids",
        "/get_prompts",
        "/get_prompt_by_id",
        "/get_metrics",
        "/get_metrics_function",
    ] {
        for body in bodies.iter().chain([&deep_row]) {
            let reply = shared().post_bytes(path, body.as_bytes());
            let start: String = body.chars().take(60).collect();
            assert!(
                matches!(reply.status, 200 | 422),
                "{path} {start}: {}",
                reply.status
            );
        }
    }
    assert_eq!(
        shared().run_code(json!({ "code": "print(1)" }))["status"],
        "Success"
    );
}

#[test]
fn no_request_without_the_token() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "  s3cret \nsecond line\n").unwrap();
    let server = start(ServeConfig {
        token_file: Some(file.path().to_owned()),
        ..ServeConfig::default()
    });
    let body = br#"{"code":"print(1)"}"#;
    let ask = |authorization: Option<&str>| {
        let headers: Vec<_> = authorization
            .map(|value| ("Authorization", value))
            .into_iter()
            .collect();
        server.send("POST", "/run_code", &headers, body).status
    };
    assert_eq!(ask(None), 401);
    assert_eq!(ask(Some("Bearer wrong")), 401);
    assert_eq!(ask(Some("Basic s3cret")), 401);
    assert_eq!(ask(Some("Bearer s3cret2")), 401);
    assert_eq!(ask(Some("Bearer")), 401);
    assert_eq!(ask(Some("Bearer s3cret")), 200);
    assert_eq!(ask(Some("bearer s3cret")), 200);
    assert_eq!(server.get("/metrics").status, 401);
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn a_server_that_ends_answers_what_is_under_way() {
    let mut server = start(ServeConfig::default());
    let under_way = open_request(
        &server,
        &json!({ "code": "import time; time.sleep(1.5); print('whole')" }),
    );
    eventually("it runs", || {
        metric(&server, "codejury_queue_running") == 1.0
    });
    let idle = server.connect();
    server.begin_to_stop();
    let reply = Reply::read(under_way);
    assert_eq!(reply.json()["run_result"]["stdout"], "whole\n");
    server.wait();
    assert!(std::net::TcpStream::connect(server.address).is_err());
    drop(idle);
}

#[test]
fn a_server_that_ends_does_not_wait_longer_than_its_drain_time() {
    let mut server = start(ServeConfig {
        http: HttpConfig {
            drain_timeout_s: 0.5,
            ..HttpConfig::default()
        },
        ..ServeConfig::default()
    });
    let sleeper = json!({ "code": "import time; time.sleep(600)", "run_timeout": 600 });
    let _open: Vec<_> = (0..4).map(|_| open_request(&server, &sleeper)).collect();
    eventually("both slots are taken", || {
        metric(&server, "codejury_queue_running") == 2.0
    });
    let begun = Instant::now();
    server.begin_to_stop();
    server.wait();
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn answers_that_nobody_takes_are_counted_and_given_up_with_their_client() {
    let server = start(ServeConfig::default());
    let big = json!({ "code": "print('x' * 12_000_000)", "run_timeout": 60 });
    let open: Vec<_> = (0..3).map(|_| open_request(&server, &big)).collect();
    eventually("three answers are held", || {
        metric(&server, "codejury_body_bytes") > 36_000_000.0
    });
    drop(open);
    eventually("they are gone", || {
        metric(&server, "codejury_body_bytes") == 0.0
    });
}
