//! A wasm worker as an executable of its own; see `wasm::worker`.

fn main() {
    wasm::worker::main(std::env::args_os().skip(1))
}
