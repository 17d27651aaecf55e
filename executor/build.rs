//! Builds the `codejury-cell` executable that the executor carries inside itself.
//!
//! A cell must start without knowing where codejury is installed, or whether the caller is the
//! command, a test or somebody's own program. Cargo cannot yet hand one package's executable to
//! another on a stable toolchain, so this script asks a second cargo for it, in a target folder of
//! its own.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let target = env::var("TARGET").expect("cargo sets TARGET");
    println!("cargo::rerun-if-changed=cell/src");
    println!("cargo::rerun-if-changed=cell/Cargo.toml");

    let target_dir = out.join("cell");
    let status = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "cell",
            "--bin",
            "codejury-cell",
        ])
        .args(["--profile", "cell", "--target", &target, "--target-dir"])
        .arg(&target_dir)
        // The outer cargo may run clippy or carry flags (coverage, sanitizers) meant for itself.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTFLAGS")
        // Static: nothing of the host's loader is mapped in the process that watches runs.
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .status()
        .expect("cargo can be started");
    assert!(status.success(), "building codejury-cell failed");

    let built = target_dir.join(target).join("cell").join("codejury-cell");
    std::fs::copy(built, out.join("codejury-cell")).expect("OUT_DIR can be written");
}
