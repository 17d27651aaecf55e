//! The warm path against the cold one: same outcome, same bytes.

use std::time::Duration;

use executor::Path;

include!("both/alike.rs");

/// The programs of `odd_programs.txt`, by name; some of them need bytes that the file cannot hold.
fn odd_programs() -> Vec<(String, Vec<u8>)> {
    let mut programs = named_texts(include_str!("odd_programs.txt"));
    let others: [(&str, &[u8]); 6] = [
        ("latin-1 byte", b"print('\xe9')\n"),
        (
            "latin-1 cookie",
            b"# coding: latin-1\nprint(ascii('\xe9'))\n",
        ),
        ("crlf", b"print(1)\r\nprint(2)\r\n"),
        ("cr", b"print(1)\rprint(2)\r"),
        ("no newline", b"print(1)"),
        ("utf-16", b"\xff\xfep\0r\0"),
    ];
    programs.extend(others.map(|(name, source)| (name.to_owned(), source.to_vec())));
    programs
}

#[test]
fn odd_programs_end_alike() {
    let (warm, cold) = (sandbox(PathRequest::Warm), sandbox(PathRequest::Cold));
    let mut different = Vec::new();
    let only = std::env::var("CODEJURY_ODD").ok();
    for (name, source) in odd_programs() {
        if only.as_ref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        let mut request = RunRequest::python(source);
        request.stdin = b"first line\nsecond\n\xc3\xa9\n".to_vec().into();
        request.limits.wall_time = Duration::from_secs(20);
        let (a, b) = (warm.run(&request), cold.run(&request));
        let (a, b) = (a.expect("a run"), b.expect("a run"));
        assert_eq!((a.path, b.path), (Path::Warm, Path::Cold), "{name}");
        // The same once more, compiled beforehand as a judge does it.
        request.code = compiled(&warm, &request);
        if request.code.is_some() {
            let c = warm.run(&request).expect("a run");
            if facts(&c) != facts(&b) {
                let (c, b) = (facts(&c), facts(&b));
                different.push(format!("== {name}, compiled\nwarm {c:?}\ncold {b:?}"));
            }
        }
        if facts(&a) != facts(&b) {
            different.push(format!(
                "== {name}\nwarm {:?}\ncold {:?}",
                facts(&a),
                facts(&b)
            ));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// Where things lie in memory: the same for all runs of one cell, another for each cell.
const WHICH_CELL: &str = "print(id(print))\n";

#[test]
fn a_loopback_is_handed_on_only_while_it_was_not_used() {
    let sandbox = Sandbox::new(SandboxConfig {
        slots: Some(1),
        ..SandboxConfig::default()
    })
    .expect("this host can isolate (see `codejury doctor`)");
    let run = |source: &str| {
        let mut request = RunRequest::python(source.as_bytes());
        request.network = executor::Network::Loopback;
        let report = sandbox.run(&request).expect("a run");
        assert_eq!(report.path, Path::Warm);
        String::from_utf8_lossy(&report.stdout.bytes).into_owned()
    };
    let packets = "print(open('/proc/net/dev').read().split('lo:')[1].split()[1])\n";
    let first = run(WHICH_CELL);
    assert_eq!(run(WHICH_CELL), first, "nothing had happened");
    let bound =
        "import socket\nwith socket.socket() as s: s.bind(('127.0.0.1', 4711)); s.listen()\n";
    assert_eq!(run(&format!("{bound}{WHICH_CELL}")), first);
    assert_eq!(
        run(&format!("{packets}{WHICH_CELL}")),
        format!("0\n{first}")
    );
    for used in [
        "s.sendto(b'x', ('127.0.0.1', 4711))",
        "s.sendto(b'x', ('127.0.0.1', 4711)); s.close()",
    ] {
        let here = run(WHICH_CELL);
        let source = format!("import socket\ns = socket.socket(type=socket.SOCK_DGRAM)\n{used}\n");
        run(&source);
        let after = run(&format!("{packets}{WHICH_CELL}"));
        assert!(after.starts_with("0\n"), "{used}: {after}");
        assert_ne!(
            after,
            format!("0\n{here}"),
            "{used}: a used loopback was handed on"
        );
    }
}

#[test]
fn every_cell_has_a_layout_of_its_own_and_ends_after_two_thousand_runs() {
    let sandbox = Sandbox::new(SandboxConfig {
        path: PathRequest::Warm,
        slots: Some(1),
        ..SandboxConfig::default()
    })
    .expect("this host can isolate (see `codejury doctor`)");
    let request = RunRequest::python(WHICH_CELL.as_bytes());
    let run = || sandbox.run(&request).expect("a run").stdout.bytes;
    let first = run();
    let runs = (2..=2001).take_while(|_| run() == first).count() + 1;
    // Another cell may have been the first one's neighbour; later than this none is used again.
    assert!((2..=2000).contains(&runs), "{runs} runs in one cell");
}

/// What the warm path has mapped beforehand is not taken from what a program may map.
#[test]
fn as_much_is_left_to_map_on_both_paths() {
    let source = "import resource\n\
        size = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n\
        print((resource.getrlimit(resource.RLIMIT_AS)[0] - size) >> 10)\n";
    let [warm, cold] = [PathRequest::Warm, PathRequest::Cold].map(|path| {
        let report = sandbox(path)
            .run(&RunRequest::python(source.as_bytes()))
            .expect("a run");
        let text = String::from_utf8_lossy(&report.stdout.bytes).into_owned();
        text.trim().parse::<i64>().expect("KiB")
    });
    assert!(
        (warm - cold).abs() <= 1024,
        "warm {warm} KiB, cold {cold} KiB"
    );
}
