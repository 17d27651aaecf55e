//! `codejury doctor`: the executor's checks as a table or as JSON.

use std::io;

use executor::{Check, Status};

use crate::args::DoctorArgs;
use crate::exit::ExitCode;
use crate::output::{self, Align, Cell, Palette, Table};
use crate::wasm;

pub(crate) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let mut checks = executor::doctor(args.python.as_deref());
    checks.push(wasm::check());
    output::print(if args.json {
        json(&checks)?
    } else {
        text(&checks, Palette::of(&io::stdout()))
    })?;
    Ok(exit_code(&checks))
}

fn count(checks: &[Check], status: Status) -> usize {
    checks.iter().filter(|check| check.status == status).count()
}

fn exit_code(checks: &[Check]) -> ExitCode {
    if count(checks, Status::Fail) > 0 {
        ExitCode::CheckFailed
    } else {
        ExitCode::Done
    }
}

fn json(checks: &[Check]) -> anyhow::Result<String> {
    let ok = exit_code(checks) == ExitCode::Done;
    let report = serde_json::json!({ "schema": "codejury.doctor/1", "ok": ok, "checks": checks });
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}

fn text(checks: &[Check], palette: Palette) -> String {
    let mut table = Table::new([Align::Left; 3]);
    for check in checks {
        let status = match check.status {
            Status::Pass => Cell::painted("pass", Palette::green),
            Status::Caution => Cell::painted("caution", Palette::yellow),
            Status::Fail => Cell::painted("FAIL", Palette::red),
        };
        table.row([status, check.name.into(), Cell::from(&check.detail)]);
        if !check.remedy.is_empty() {
            let remedy = format!("→ {}", check.remedy);
            table.row(["".into(), "".into(), Cell::painted(remedy, Palette::dim)]);
        }
    }
    let failed = count(checks, Status::Fail);
    let cautions = count(checks, Status::Caution);
    let verdict = match (failed, cautions) {
        (0, 0) => "Everything that isolates a run is in place.".to_owned(),
        (0, n) => format!("Runs are isolated by every layer; {n} to know about (caution)."),
        (n, _) => {
            let instead = match checks.iter().find(|check| check.name == wasm::CHECK) {
                Some(check) if check.status == Status::Pass => " `--backend wasm` works without.",
                _ => "",
            };
            format!(
                "{n} failed: runs stop with an error, unless --isolation accepts what this host gives.{instead}"
            )
        }
    };
    format!("{}\n{verdict}\n", table.render(palette))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, status: Status, detail: &str, remedy: &str) -> Check {
        Check {
            name,
            status,
            detail: detail.into(),
            remedy: remedy.into(),
        }
    }

    fn host(with_namespaces: bool) -> Vec<Check> {
        let remedy = "ask for kernel.unprivileged_userns_clone=1";
        vec![
            check("kernel", Status::Pass, "Linux 6.12 x86_64", ""),
            check(
                "landlock",
                Status::Caution,
                "this kernel\x1b[2J has none",
                "namespaces do without",
            ),
            if with_namespaces {
                check("namespaces", Status::Pass, "user, mount, pid", "")
            } else {
                check(
                    "namespaces",
                    Status::Fail,
                    "creating namespaces failed: EPERM",
                    remedy,
                )
            },
        ]
    }

    #[test]
    fn the_table_shows_each_layer_with_its_remedy() {
        insta::assert_snapshot!("doctor_good", text(&host(true), Palette::plain()));
        insta::assert_snapshot!("doctor_bad", text(&host(false), Palette::plain()));
        insta::assert_snapshot!("doctor_json", json(&host(false)).expect("plain data"));
    }

    #[test]
    fn only_a_missing_layer_fails() {
        assert_eq!(exit_code(&host(true)), ExitCode::Done);
        assert_eq!(exit_code(&host(false)), ExitCode::CheckFailed);
    }
}
