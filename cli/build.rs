//! Notes for `--version` what this binary was built with. Nothing of the source tree's state.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = env::var_os("RUSTC").expect("cargo names the compiler");
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .expect("the compiler runs")
        .stdout;
    println!(
        "cargo::rustc-env=CODEJURY_RUSTC={}",
        String::from_utf8_lossy(&version).trim()
    );
    for (name, variable) in [
        ("CODEJURY_TARGET", "TARGET"),
        ("CODEJURY_PROFILE", "PROFILE"),
    ] {
        println!(
            "cargo::rustc-env={name}={}",
            env::var(variable).expect("cargo sets it")
        );
    }
}
