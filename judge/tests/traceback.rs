//! What `classify_traceback` makes of recorded stderr.
//!
//! The texts stand in `traceback/*.txt`, most of them as CPython 3.8 to 3.13 wrote them. A text
//! begins below a line `=== name [context] -> error_type class line`, or `-> nothing`; the
//! context is `check`, `asserts`, `harness` or left out, a line that is not known is `-`.

use std::path::Path;

use judge::{Classified, ErrorType, TracebackContext, TracebackKind, classify_traceback};
use proptest::prelude::*;

struct Case {
    name: String,
    context: TracebackContext,
    expected: Option<Classified>,
    stderr: Vec<u8>,
}

fn context(word: &str) -> TracebackContext {
    let (kind, compiled_by_harness) = match word {
        "" => (TracebackKind::Program, false),
        "check" => (TracebackKind::Check, false),
        "asserts" => (TracebackKind::Asserts, false),
        "harness" => (TracebackKind::Program, true),
        other => panic!("no such context: {other}"),
    };
    TracebackContext {
        kind,
        compiled_by_harness,
    }
}

fn expectation(text: &str) -> Option<Classified> {
    if text == "nothing" {
        return None;
    }
    let [error_type, class, line] = text.split(' ').collect::<Vec<_>>()[..] else {
        panic!("not `error_type class line`: {text}");
    };
    let error_type = ErrorType::ALL
        .into_iter()
        .find(|known| known.as_str() == error_type);
    Some(Classified {
        error_type: error_type.expect("an error_type"),
        class: class.to_owned(),
        line: (line != "-").then(|| line.parse().expect("a line number")),
    })
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::<Case>::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traceback");
    let mut files: Vec<_> = folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for path in files {
        for line in std::fs::read(&path)
            .unwrap()
            .split_inclusive(|&byte| byte == b'\n')
        {
            if let Some(head) = line.strip_prefix(b"=== ") {
                let head = std::str::from_utf8(head).unwrap().trim_end();
                let (name, expected) = head.split_once(" -> ").expect(head);
                let word = name
                    .split_once('[')
                    .map_or("", |(_, word)| word.trim_end_matches(']'));
                cases.push(Case {
                    name: format!("{}: {name}", path.file_stem().unwrap().display()),
                    context: context(word),
                    expected: expectation(expected),
                    stderr: Vec::new(),
                });
            } else {
                cases
                    .last_mut()
                    .expect("a head line")
                    .stderr
                    .extend_from_slice(line);
            }
        }
    }
    cases
}

#[test]
fn recorded_texts() {
    let cases = cases();
    assert!(cases.len() >= 100, "only {} texts found", cases.len());
    let wrong: Vec<_> = cases
        .iter()
        .flat_map(|case| {
            let trimmed = case.stderr.strip_suffix(b"\n").unwrap_or(&case.stderr);
            [&case.stderr[..], trimmed].map(|stderr| (case, stderr))
        })
        .filter_map(|(case, stderr)| {
            let found = classify_traceback(stderr, case.context);
            (found != case.expected).then(|| {
                format!(
                    "{}\n  found    {found:?}\n  expected {:?}",
                    case.name, case.expected
                )
            })
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the executor keeps of a long stderr: its first and its last 64 KiB.
fn kept(stderr: &[u8]) -> Vec<u8> {
    const HALF: usize = 64 * 1024;
    if stderr.len() <= 2 * HALF {
        return stderr.to_vec();
    }
    [&stderr[..HALF], &stderr[stderr.len() - HALF..]].concat()
}

fn program(stderr: &str) -> Option<(ErrorType, String, Option<u32>)> {
    let found = classify_traceback(&kept(stderr.as_bytes()), TracebackContext::default())?;
    Some((found.error_type, found.class, found.line))
}

const HEADER: &str = "Traceback (most recent call last):\n";

fn frame(line: u32, function: &str) -> String {
    format!("  File \"main.py\", line {line}, in {function}\n    {function}(n + 1)\n")
}

fn runtime_error(class: &str, line: u32) -> Option<(ErrorType, String, Option<u32>)> {
    Some((ErrorType::RuntimeError, class.to_owned(), Some(line)))
}

#[test]
fn noise_of_four_megabytes_hides_nothing() {
    let noise = "note: still running\n".repeat(200_000);
    let traceback = format!("{HEADER}{}KeyError: 'k'\n", frame(7, "solve"));
    assert_eq!(
        program(&format!("{noise}{traceback}")),
        runtime_error("KeyError", 7)
    );
    assert_eq!(
        program(&format!("{traceback}{noise}")),
        runtime_error("KeyError", 7)
    );
    assert_eq!(program(&noise), None);
    let other = format!("{HEADER}{}ValueError: x\n", frame(3, "handled"));
    let handled = other.repeat(50_000);
    assert_eq!(
        program(&format!("{handled}{traceback}")),
        runtime_error("KeyError", 7)
    );
}

#[test]
fn a_traceback_may_lose_its_middle() {
    // Mutual recursion: the frames are not alike, so CPython prints a thousand of them.
    let frames = format!("{}{}", frame(12, "even_numbers"), frame(14, "odd_numbers")).repeat(1000);
    let stderr = format!(
        "{HEADER}{}{frames}RecursionError: too deep\n",
        frame(20, "<module>")
    );
    assert!(stderr.len() > 128 * 1024);
    assert_eq!(program(&stderr), runtime_error("RecursionError", 14));
    // Even if what is kept of the head has a whole traceback of something handled before.
    let handled = format!("{HEADER}{}ValueError: x\n", frame(3, "handled"));
    assert_eq!(
        program(&format!("{handled}{stderr}")),
        runtime_error("RecursionError", 14)
    );
}

#[test]
fn a_message_may_lose_its_middle() {
    let message = "word: word\n  File \"x\n    y\n".repeat(20_000);
    let stderr = format!("{HEADER}{}ValueError: {message}", frame(5, "solve"));
    assert_eq!(program(&stderr), runtime_error("ValueError", 5));
}

#[test]
fn long_names_are_cut() {
    let stderr = format!("{HEADER}{}{}: x\n", frame(1, "f"), "é".repeat(1000));
    assert_eq!(program(&stderr), runtime_error(&"é".repeat(256), 1));
}

#[test]
fn serialises_as_one_object() {
    let stderr = format!("{HEADER}{}json.decoder.JSONDecodeError: x\n", frame(2, "f"));
    let found = classify_traceback(stderr.as_bytes(), TracebackContext::default());
    assert_eq!(
        serde_json::to_string(&found).unwrap(),
        r#"{"error_type":"runtime_error","class":"JSONDecodeError","line":2}"#
    );
}

/// Lines on which a step that is not linear would not come to an end.
#[test]
fn long_texts_take_linear_time() {
    const SIZE: usize = 1 << 20;
    let shapes = [
        "\n",
        "    \n",
        "Name\n",
        "Name: \n",
        "Name: Traceback (most recent call last):\n",
        "    x\nName: Traceback (most recent call last):\n",
        "  File \"a\", line 1, in f\n",
        "  File \"a\", line 1, in f\nName: Traceback (most recent call last):\n",
        "  File \"a\", line 1\nSyntaxError: x\n",
        "Traceback (most recent call last):\n  File \"a\", line 1, in f\nE\n\nDuring handling of \
         the above exception, another exception occurred:\n\n",
        "Exception ignored in: x\nTraceback (most recent call last):\n  File \"a\", line 1, in f\nE\n",
        "  |   File \"a\", line 1, in f\n  | E\n",
        "  File \"",
        "\", line 1",
        "a.",
        "\x1b[",
        "\x1b[1;31mE\x1b[0m\n",
    ];
    for shape in shapes {
        let text = shape.repeat(SIZE / shape.len());
        let once = classify_traceback(text.as_bytes(), TracebackContext::default());
        let twice = classify_traceback(text.repeat(2).as_bytes(), TracebackContext::default());
        assert_eq!(once, twice, "{shape:?}");
    }
}

fn likely_lines() -> impl Strategy<Value = Vec<u8>> {
    const LINES: [&str; 16] = [
        "Traceback (most recent call last):",
        "  File \"main.py\", line 3, in <module>",
        "  File \"main.py\", line 4, in check",
        "  File \"main.py\", line 5",
        "    x = 1",
        "    ^^^^^",
        "  [Previous line repeated 9 more times]",
        "AssertionError",
        "SyntaxError: invalid syntax",
        "a.b.<locals>.C: d: e",
        "During handling of the above exception, another exception occurred:",
        "Exception ignored in: <x>",
        "",
        "  + Exception Group Traceback (most recent call last):",
        "  |   File \"main.py\", line 6, in f",
        "  | ExceptionGroup: x (1 sub-exception)",
    ];
    prop::collection::vec(prop::sample::select(&LINES[..]), 0..12)
        .prop_map(|lines| lines.join("\n").into_bytes())
}

fn any_context() -> impl Strategy<Value = TracebackContext> {
    prop::sample::select(&["", "check", "asserts", "harness"][..]).prop_map(context)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_panics(
        context in any_context(),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        lines in likely_lines(),
        at in any::<prop::sample::Index>(),
    ) {
        classify_traceback(&bytes, context);
        classify_traceback(&lines, context);
        let mut broken = lines.clone();
        let at = at.index(lines.len() + 1);
        broken.splice(at..at, bytes);
        classify_traceback(&broken, context);
        classify_traceback(&lines[..at], context);
        classify_traceback(&lines[at..], context);
    }

    #[test]
    fn the_context_decides_the_type_only(lines in likely_lines(), context in any_context()) {
        let plain = classify_traceback(&lines, TracebackContext::default());
        let found = classify_traceback(&lines, context);
        prop_assert_eq!(
            plain.as_ref().map(|found| &found.class),
            found.as_ref().map(|found| &found.class)
        );
        match found.map(|found| (found.error_type, found.class)) {
            None | Some((ErrorType::RuntimeError, _)) => {}
            Some((ErrorType::SyntaxError, class)) => prop_assert_eq!(class, "SyntaxError"),
            Some((ErrorType::WrongAnswer, class)) => {
                prop_assert_eq!(class, "AssertionError");
                prop_assert_ne!(context.kind, TracebackKind::Program);
            }
            Some((other, _)) => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn noise_before_and_after_changes_nothing(
        message in "[ -~]{1,20}", before in "([a-z ]{0,9}\n){0,5}", after in "([a-z ]{0,9}\n){0,5}",
    ) {
        let text = format!("{before}{HEADER}{}ValueError: {message}\n{after}", frame(9, "f"));
        prop_assert_eq!(program(&text), runtime_error("ValueError", 9));
    }
}
