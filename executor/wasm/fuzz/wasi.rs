//! The WASI calls under libFuzzer: what it sends becomes calls of a guest, whose pointers, lengths and
//! structures are anything. `scripts/fuzz-wasi` builds and runs it.
//!
//! Any panic, crash or difference between two runs of the same calls is a find.

#![no_main]

mod guest;

use std::sync::OnceLock;

use guest::{CALLS, DATA, PAGES, PARAMETERS, STORE, guest};
use libfuzzer_sys::fuzz_target;
use wasm::fuzzing::Target;

fuzz_target!(|input: &[u8]| {
    static TARGET: OnceLock<Target> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let module = wat::parse_str(guest()).expect("the guest is well-formed");
        Target::new(&module).expect("the guest compiles")
    });
    let script = script(input);
    let once = target.run(&script);
    let again = target.run(&script);
    assert_eq!(once, again, "the same calls, another end");
});

/// Records for the guest. A byte for the call, then a byte for each parameter: a small number, a
/// place that means something, an edge, or the eight bytes that follow.
fn script(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.iter().copied();
    let mut script = Vec::new();
    // Descriptor 4 is a file, before anything else.
    let open = [u64::MAX >> 34, u64::MAX >> 34];
    record(
        &mut script,
        number_of("path_open"),
        &[3, 1, 1024, 6, 1, open[0], open[1], 0, 3000],
    );
    while let Some(call) = bytes.next() {
        let call = usize::from(call) % (CALLS.len() + 8);
        let (number, parameters) = match CALLS.get(call) {
            Some((_, parameters)) => (call as u64, parameters.len()),
            None => (STORE, 2),
        };
        let mut values = [0; PARAMETERS];
        for value in &mut values[..parameters] {
            *value = match bytes.next() {
                None => return script,
                Some(small @ 0..64) => u64::from(small),
                Some(place @ 64..96) => DATA[usize::from(place) % DATA.len()].0 as u64,
                Some(place @ 96..160) => 2000 + 64 * u64::from(place - 96),
                Some(edge @ 160..176) => u64::from(PAGES) * 65536 + 8 - u64::from(edge - 160),
                Some(edge @ 176..240) => 1_u64.rotate_left(u32::from(edge - 176)).wrapping_sub(1),
                Some(240..) => {
                    let eight = std::array::from_fn(|_| bytes.next().unwrap_or(0));
                    u64::from_le_bytes(eight)
                }
            };
        }
        record(&mut script, number, &values);
    }
    script
}

fn number_of(name: &str) -> u64 {
    let at = CALLS.iter().position(|(known, _)| *known == name);
    at.expect("it is a call") as u64
}

fn record(script: &mut Vec<u8>, number: u64, parameters: &[u64; PARAMETERS]) {
    script.extend(number.to_le_bytes());
    script.extend(parameters.iter().flat_map(|value| value.to_le_bytes()));
}
