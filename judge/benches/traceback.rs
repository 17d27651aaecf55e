//! `classify_traceback` on a typical stderr, and on the 128 KiB that are kept of a long one.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use judge::{TracebackContext, classify_traceback};

const HEADER: &str = "Traceback (most recent call last):\n";
const FRAMES: &str = "  File \"main.py\", line 40, in <module>\n    main()\n    ~~~~^^\n  File \
                      \"main.py\", line 31, in main\n    print(solve(read()))\n";

fn traceback(criterion: &mut Criterion) {
    const KEPT: usize = 128 * 1024;
    let typical = format!("{HEADER}{FRAMES}ValueError: not enough values to unpack\n");
    let recursion = format!(
        "{HEADER}{}RecursionError: maximum recursion depth exceeded\n",
        FRAMES.repeat(KEPT / FRAMES.len())
    );
    let noise = format!("{}{typical}", "debug: step done\n".repeat(KEPT / 17));
    let nothing = "debug: step done\n".repeat(KEPT / 17);

    let mut group = criterion.benchmark_group("classify_traceback");
    for (name, text) in [
        ("typical", &typical),
        ("128 KiB of frames", &recursion),
        ("128 KiB of noise before", &noise),
        ("128 KiB of noise alone", &nothing),
    ] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                classify_traceback(black_box(text.as_bytes()), TracebackContext::default())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, traceback);
criterion_main!(benches);
