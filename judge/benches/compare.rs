//! Each comparison mode on 1 MiB of tokens: outputs that match but not byte for byte, and outputs
//! that are the same bytes.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use judge::Compare;

const SIZE: usize = 1 << 20;

const MODES: [&str; 12] = [
    "exact",
    "rstrip_nl",
    "lines",
    "tokens",
    "tokens_ci",
    "float(1e-6,1e-9)",
    "codecontests",
    "unordered_lines",
    "compat:deepmind",
    "compat:sandboxfusion",
    "compat:livecodebench",
    "compat:prime_code",
];

/// Lines of one number each, integers and reals in turn.
fn numbers() -> String {
    let mut text = String::with_capacity(SIZE + 32);
    let mut state = 1_u64;
    while text.len() < SIZE {
        // Numerical Recipes' generator: the bench must not depend on a seed of the day.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let number = state >> 40;
        if state & 1 == 0 {
            text.push_str(&format!("{number}\n"));
        } else {
            text.push_str(&format!("{}.{:06}\n", number % 1000, number % 1_000_000));
        }
    }
    text
}

fn compare(criterion: &mut Criterion) {
    let expected = numbers();
    // As far from the expected bytes as a mode allows: `1.5` is printed as `1.50`.
    let more_digits: String = expected
        .lines()
        .map(|line| {
            if line.contains('.') {
                format!("{line}0\n")
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    let more_blanks = expected.replace('\n', " \n");
    let more_newlines = format!("{expected}\n");
    for word in MODES {
        let mode: Compare = word.parse().expect("a mode");
        let candidates = [&more_digits, &more_blanks, &more_newlines, &expected];
        let actual = candidates
            .into_iter()
            .find(|actual| mode.matches(actual.as_bytes(), expected.as_bytes()))
            .expect("every mode accepts the expected output");
        let mut group = criterion.benchmark_group(format!("compare/{word}"));
        group.throughput(Throughput::Bytes(SIZE as u64));
        for (name, actual) in [("equivalent", actual), ("same bytes", &expected)] {
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    mode.matches(black_box(actual.as_bytes()), black_box(expected.as_bytes()))
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, compare);
criterion_main!(benches);
