//! Generated odd programs on both paths: same outcome, same bytes. Each is made of parts of
//! `fragments.txt` and `odd_programs.txt` by a seed, so that a number names a program for good.
//!
//! The long form: `CODEJURY_PROGRAMS=0..2500 cargo test --release -p executor --test generated --
//! --ignored --nocapture`. One program, printed: `CODEJURY_PROGRAMS=17..18`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use executor::Path;

include!("both/alike.rs");

/// A small generator of numbers (splitmix64): the same for a seed on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    fn one_of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

type Texts = Vec<(String, String)>;

/// What programs are made of.
struct Parts {
    statements: Texts,
    wrappers: Texts,
    endings: Texts,
}

impl Parts {
    fn read() -> Self {
        let texts = |file| {
            let texts = named_texts(file).into_iter();
            texts.map(|(name, text)| (name, String::from_utf8(text).expect("UTF-8")))
        };
        let mut kinds: BTreeMap<String, Texts> = BTreeMap::new();
        for (name, text) in texts(include_str!("fragments.txt")) {
            let (kind, name) = name.split_once(": ").expect("KIND: NAME");
            kinds
                .entry(kind.to_owned())
                .or_default()
                .push((name.to_owned(), text));
        }
        let mut take = |kind| kinds.remove(kind).expect("some of each kind");
        let mut statements: Texts = take("statement");
        // These wait for a second or two, or fill memory: fine once, not in hundreds.
        let slow = [
            "memory in steps",
            "big thread stack",
            "large output",
            "many lines",
        ];
        let odd = texts(include_str!("odd_programs.txt"));
        statements.extend(odd.filter(|(name, _)| !slow.contains(&name.as_str())));
        Self {
            statements,
            wrappers: take("wrapper"),
            endings: take("ending"),
        }
    }

    /// Program `number`: its parts' names, its bytes, its input.
    fn program(&self, number: u64) -> (String, Vec<u8>, Vec<u8>) {
        let mut dice = Dice(number);
        let mut names = Vec::new();
        let mut body = String::new();
        for _ in 0..1 + dice.below(3) {
            let (name, text) = dice.one_of(&self.statements);
            names.push(name.clone());
            body += text;
            if !body.ends_with('\n') {
                body.push('\n');
            }
        }
        let (wrapper, template) = dice.one_of(&self.wrappers);
        let (ending, last) = dice.one_of(&self.endings);
        let mut text = String::new();
        for line in template.split_inclusive('\n') {
            if line.trim() == "BODY" {
                let indent = &line[..line.len() - line.trim_start().len()];
                for line in body.split_inclusive('\n') {
                    text += indent;
                    text += line;
                }
            } else {
                text += &line.replace("TEXT", &literal(&body));
            }
        }
        text += last;
        let (form, source) = in_form(dice.below(24), text);
        let inputs: [(&str, Vec<u8>); 10] = [
            ("lines", b"first line\nsecond\n\xc3\xa9\n".to_vec()),
            ("numbers", b"3\n1 2 3\n".to_vec()),
            ("nothing", Vec::new()),
            ("an empty line", b"\n".to_vec()),
            ("no last newline", b"one\ntwo".to_vec()),
            ("CRLF", b"one\r\ntwo\r\n".to_vec()),
            ("CR", b"one\rtwo\r".to_vec()),
            ("bad UTF-8", b"ok\n\xff\xfe\n\xc3".to_vec()),
            ("NUL and BOM", b"\xef\xbb\xbfa\0b\n\x1a\n".to_vec()),
            ("200,000 bytes", b"0123456789\n".repeat(18_182)),
        ];
        let (input, stdin) = dice.one_of(&inputs);
        let name = format!(
            "{number}: {}; {wrapper}; {ending}; {form}; input: {input}",
            names.join(" + ")
        );
        (name, source, stdin.clone())
    }
}

/// A Python literal of this text.
fn literal(text: &str) -> String {
    let mut out = "'".to_owned();
    for c in text.chars() {
        match c {
            '\\' => out += "\\\\",
            '\'' => out += "\\'",
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\0' => out += "\\0",
            _ => out.push(c),
        }
    }
    out + "'"
}

/// The text as bytes of a file: mostly UTF-8 as it is, sometimes not.
fn in_form(form: usize, text: String) -> (&'static str, Vec<u8>) {
    let latin = |text: &str| -> Vec<u8> {
        text.chars()
            .map(|c| u8::try_from(c).unwrap_or(b'?'))
            .collect()
    };
    match form {
        0 => ("BOM", [b"\xef\xbb\xbf", text.as_bytes()].concat()),
        1 => ("CRLF", text.replace('\n', "\r\n").into_bytes()),
        2 => ("CR", text.replace('\n', "\r").into_bytes()),
        3 => (
            "latin-1",
            latin(&format!(
                "# -*- coding: latin-1 -*-\nprint(ascii('\u{e9}'))\n{text}"
            )),
        ),
        4 => (
            "latin-1 undeclared",
            latin(&format!("x = '\u{e9}'\n{text}")),
        ),
        5 => ("no last newline", text.trim_end().as_bytes().to_vec()),
        6 => (
            "shebang",
            format!("#!/usr/bin/env python3\n# coding=utf-8\n\n{text}").into_bytes(),
        ),
        7 => (
            "docstring and future",
            format!("'''doc é'''\nfrom __future__ import annotations\n{text}").into_bytes(),
        ),
        8 => ("form feed", format!("\x0c\n{text}\x0c\n").into_bytes()),
        9 => (
            "unknown coding",
            format!("# coding: nonsense\n{text}").into_bytes(),
        ),
        10 => (
            "BOM against coding",
            [b"\xef\xbb\xbf# coding: latin-1\n", text.as_bytes()].concat(),
        ),
        11 => ("NUL at the end", format!("{text}\0").into_bytes()),
        12 => (
            "continued",
            format!("x = 1 + \\\n    2\n{text}").into_bytes(),
        ),
        _ => ("UTF-8", text.into_bytes()),
    }
}

/// The known differences that a program may show: the reason, and the program without its cause.
fn explained(source: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    include_str!("explained.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let [texts, instead, reason] = line.split(" => ").collect::<Vec<_>>()[..] else {
                panic!("explained.txt: TEXT => INSTEAD => REASON, not {line:?}");
            };
            let (cause, others) = texts.split_once(" & ").unwrap_or((texts, ""));
            let others: Vec<&str> = others
                .split(" & ")
                .filter(|text| !text.is_empty())
                .collect();
            let all = std::iter::once(&cause).chain(&others);
            all.clone()
                .all(|text| find(source, text.as_bytes()).is_some())
                .then(|| {
                    let without = replaced(source, cause.as_bytes(), instead.as_bytes());
                    (reason, without)
                })
        })
        .collect()
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn replaced(mut text: &[u8], part: &[u8], instead: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(at) = find(text, part) {
        out.extend_from_slice(&text[..at]);
        out.extend_from_slice(instead);
        text = &text[at + part.len()..];
    }
    out.extend_from_slice(text);
    out
}

/// How a program ends on both paths; `None`: it ends so one time and otherwise another time, on
/// either path. An error is a difference between the paths.
fn compare(
    warm: &Sandbox,
    cold: &Sandbox,
    request: &mut RunRequest,
    with_code: bool,
) -> Result<Option<String>, String> {
    let run = |sandbox: &Sandbox, request: &RunRequest, path| {
        let report = sandbox.run(request).expect("a run");
        assert_eq!(report.path, path);
        facts(&report)
    };
    if with_code {
        request.code = compiled(warm, request);
    }
    let (a, b) = (
        run(warm, request, Path::Warm),
        run(cold, request, Path::Cold),
    );
    // How far a program came until its limit is the machine's doing.
    if a == b || a.0 == b.0 && a.0.starts_with("LimitExceeded") {
        return Ok(Some(a.0));
    }
    // Is it the path, or does the program end one way today and another way tomorrow?
    let (mut warms, mut colds) = (vec![a], vec![b]);
    for _ in 0..9 {
        warms.push(run(warm, request, Path::Warm));
        colds.push(run(cold, request, Path::Cold));
        if warms.iter().any(|a| colds.contains(a)) {
            return Ok(None);
        }
    }
    Err(format!("warm {:?}\ncold {:?}", warms[0], colds[0]))
}

fn all_end_alike(numbers: Range<u64>) {
    let parts = Parts::read();
    let (warm, cold) = (sandbox(PathRequest::Warm), sandbox(PathRequest::Cold));
    let next = AtomicU64::new(numbers.start);
    let (different, unsteady) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let known = Mutex::new(BTreeMap::<&str, usize>::new());
    let outcomes = Mutex::new(BTreeMap::<String, usize>::new());
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                return;
            }
            let (name, source, stdin) = parts.program(number);
            if numbers.end - numbers.start == 1 {
                println!("== {name}\n{}", String::from_utf8_lossy(&source));
            }
            let ends = |source: &[u8]| {
                let mut request = RunRequest::python(source);
                request.stdin = stdin.clone().into();
                request.limits.wall_time = Duration::from_secs(15);
                request.limits.memory_bytes = 512 * executor::MIB;
                compare(&warm, &cold, &mut request, number.is_multiple_of(4))
            };
            match ends(&source) {
                Ok(Some(outcome)) => *lock(&outcomes).entry(outcome).or_default() += 1,
                Ok(None) => lock(&unsteady).push(name),
                Err(how) => {
                    // Only if the rest of the program ends alike has the difference this reason.
                    let why = explained(&source);
                    match why.iter().find(|(_, without)| ends(without).is_ok()) {
                        Some((reason, _)) => *lock(&known).entry(reason).or_default() += 1,
                        None => lock(&different).push(format!("== {name}\n{how}")),
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..std::thread::available_parallelism().map_or(1, usize::from))
            .map(|_| scope.spawn(work))
            .collect();
        for worker in workers {
            worker.join().expect("no run fails");
        }
    });
    let (different, unsteady) = (lock(&different), lock(&unsteady));
    println!(
        "{} programs: {} different, explained {:?}, unsteady on both paths {unsteady:#?}\noutcomes {:#?}",
        numbers.end - numbers.start,
        different.len(),
        lock(&known),
        lock(&outcomes)
    );
    assert!(different.is_empty(), "{}", different.join("\n"));
    let share = unsteady.len() as u64 * 50;
    assert!(
        share <= (numbers.end - numbers.start).max(50),
        "too many programs that differ by themselves"
    );
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}

#[test]
fn a_sample_of_generated_programs_ends_alike() {
    all_end_alike(0..100);
}

#[test]
#[ignore = "minutes: see the top of this file"]
fn generated_programs_end_alike() {
    let text = std::env::var("CODEJURY_PROGRAMS").unwrap_or("0..2500".to_owned());
    let (from, to) = text.split_once("..").expect("FROM..TO");
    all_end_alike(from.parse().expect("a number")..to.parse().expect("a number"));
}
