//! Builds the two parts that the executor carries inside itself: the `codejury-cell` executable and
//! the zygote's library.
//!
//! A cell must start without knowing where codejury is installed, or whether the caller is the
//! command, a test or somebody's own program. Cargo cannot yet hand one package's executable to
//! another on a stable toolchain, so this script asks a second cargo for it, in a target folder of
//! its own.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for watched in [
        "cell/src",
        "cell/Cargo.toml",
        "zygote/src",
        "zygote/Cargo.toml",
    ] {
        println!("cargo::rerun-if-changed={watched}");
    }
    // Static: nothing of the host's loader is mapped in the process that watches runs.
    let cell = ["--package", "cell", "--bin", "codejury-cell"];
    build(
        &out,
        "cell",
        &cell,
        "-Ctarget-feature=+crt-static",
        "codejury-cell",
    );
    let zygote = ["--package", "zygote", "--lib"];
    build(&out, "zygote", &zygote, "", "libcodejury_zygote.so");
}

fn build(out: &Path, folder: &str, what: &[&str], flags: &str, file: &str) {
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let target_dir = out.join(folder);
    let status = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"))
        .args(["build", "--quiet", "--locked"])
        .args(what)
        .args(["--profile", "cell", "--target", &target, "--target-dir"])
        .arg(&target_dir)
        // The outer cargo may run clippy or carry flags (coverage, sanitizers) meant for itself.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .status()
        .expect("cargo can be started");
    assert!(status.success(), "building {file} failed");

    let built = target_dir.join(target).join("cell").join(file);
    std::fs::copy(built, out.join(file)).expect("OUT_DIR can be written");
}
