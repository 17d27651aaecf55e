fn main() {
    let a: Vec<String> = std::env::args().collect();
    let out = wasm::snapshot::take(
        &std::fs::read(&a[1]).unwrap(),
        std::fs::read(&a[2]).unwrap().into(),
    )
    .unwrap_or_else(|e| panic!("{e}"));
    std::fs::write(&a[3], out).unwrap();
}
