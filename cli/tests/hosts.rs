//! Hosts that give less, made from this one: a user namespace that allows no further one, and an
//! ordinary user to whom no cgroup is delegated.

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use support::{Ended, Folder, end_of};

/// An id that no account of a usual host has.
const ORDINARY_UID: &str = "64801";

/// The command where an ordinary user can start it, with a program to run.
fn folder() -> Folder {
    let folder = Folder::new();
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), everybody).expect("a folder of ours");
    let copied = std::fs::copy(env!("CARGO_BIN_EXE_codejury"), folder.join("codejury"));
    copied.expect("a copy of the command");
    folder.file("ok.py", "print('ok')\n");
    folder
}

/// An interpreter that every user may start.
fn python() -> PathBuf {
    std::env::var_os("CODEJURY_TEST_PYTHON").map_or_else(|| "/usr/bin/python3".into(), Into::into)
}

/// Runs a shell line as an ordinary user, and under a limit of no namespaces if asked to.
fn run(folder: &Folder, without_namespaces: bool, line: &str) -> Ended {
    let mut words: Vec<&str> = Vec::new();
    if nix::unistd::geteuid().is_root() {
        words.extend([
            "setpriv",
            "--reuid",
            ORDINARY_UID,
            "--regid",
            ORDINARY_UID,
            "--clear-groups",
        ]);
    }
    let limited = format!("echo 0 > /proc/sys/user/max_user_namespaces && {line}");
    if without_namespaces {
        words.extend(["unshare", "--user", "--map-root-user", "sh", "-c", &limited]);
    } else {
        words.extend(["sh", "-c", line]);
    }
    let child = Command::new(words[0])
        .args(&words[1..])
        .current_dir(folder.path())
        .env("NO_COLOR", "1")
        .env("PYTHON", python())
        .env("HOME", folder.path())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("setpriv and unshare are there (util-linux)");
    end_of(child)
}

#[test]
fn without_user_namespaces_the_doctor_names_the_remedy_and_nothing_weaker_is_taken_unasked() {
    let folder = folder();
    let doctor = run(&folder, true, "./codejury doctor --python $PYTHON");
    assert_eq!(doctor.code, 1, "{}", doctor.stderr);
    let failed: Vec<&str> = doctor
        .stdout
        .lines()
        .filter(|l| l.contains("FAIL"))
        .collect();
    assert_eq!(failed.len(), 1, "{}", doctor.stdout);
    assert!(
        failed[0].contains("namespaces") && failed[0].contains("failed: "),
        "{}",
        failed[0]
    );
    assert!(
        doctor
            .stdout
            .contains("user.max_user_namespaces is reached or 0: raise it with sysctl"),
        "{}",
        doctor.stdout
    );

    let refused = run(&folder, true, "./codejury run --python $PYTHON ok.py");
    assert_eq!((refused.code, refused.stdout.as_str()), (3, ""));
    assert!(
        refused.stderr.contains("isolation layer `namespaces`"),
        "{}",
        refused.stderr
    );
    assert!(
        refused.stderr.contains("max_user_namespaces"),
        "{}",
        refused.stderr
    );

    for level in ["restricted", "best-available"] {
        let line = format!("./codejury run --python $PYTHON --isolation {level} --json ok.py");
        let weaker = run(&folder, true, &line);
        assert_eq!(weaker.code, 0, "{}", weaker.stderr);
        let report: serde_json::Value = serde_json::from_str(&weaker.stdout).expect("a report");
        assert_eq!(report["stdout"], "ok\n");
        assert_eq!(report["isolation"], "restricted", "{level}");
    }
}

#[test]
fn without_a_cgroup_the_doctor_says_what_counts_memory_instead() {
    let folder = folder();
    let doctor = run(&folder, false, "./codejury doctor --python $PYTHON");
    assert_eq!(doctor.code, 0, "{}{}", doctor.stdout, doctor.stderr);
    let line = doctor
        .stdout
        .lines()
        .find(|line| line.contains("cgroups"))
        .expect("a line about cgroups");
    // A developer's desktop may delegate them; this suite's user has none.
    if nix::unistd::geteuid().is_root() {
        assert!(
            line.contains("caution") && line.contains("a watcher adds processes up"),
            "{line}"
        );
        assert!(doctor.stdout.contains("Delegate=yes"), "{}", doctor.stdout);
    }
    let run = run(
        &folder,
        false,
        "./codejury run --python $PYTHON --json ok.py",
    );
    let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("a report");
    assert_eq!(report["isolation"], "namespaces");
}
