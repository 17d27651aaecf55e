//! `codejury handoff`: is a checkpoint whole, and the package that GRPO starts from.

use std::io;
use std::path::{Path, PathBuf};

use ::eval::handoff::{ExportRequest, State, Verified, ask_server, export, merge, verify};
use ::eval::{EvalConfig, ServerHome};
use anyhow::Context as _;
use serde_json::json;

use crate::eval_args::{ExportArgs, HandoffCommand, MergeArgs, VerifyArgs};
use crate::exit::{ExitCode, Failure};
use crate::output::{Align, Cell, Palette, Table, inline, print, say};

/// How much of an answer is shown.
const SHOWN_CHARS: usize = 200;

pub(crate) fn run(command: &HandoffCommand) -> anyhow::Result<ExitCode> {
    match command {
        HandoffCommand::Verify(args) => verify_checkpoint(args),
        HandoffCommand::Export(args) => export_checkpoint(args),
        HandoffCommand::Merge(args) => merge_checkpoint(args),
    }
}

/// The Hugging Face folder that was meant: the one named, or the one in `global_step_N`.
fn model_in(checkpoint: &Path, config: &EvalConfig) -> PathBuf {
    let mut inside = config
        .watch
        .subfolders
        .iter()
        .map(|sub| checkpoint.join(sub));
    inside
        .find(|path| {
            !checkpoint.join("config.json").is_file() && path.join("config.json").is_file()
        })
        .unwrap_or_else(|| checkpoint.to_owned())
}

fn verify_checkpoint(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let config = args.source.load()?;
    let mut verified = verify(&model_in(&args.checkpoint, &config))?;
    let mut answers = Vec::new();
    if args.no_server {
        verified.checks.push(skipped("--no-server"));
    } else if verified.holds() {
        let program = std::env::current_exe().context("cannot tell where codejury is")?;
        let home = ServerHome {
            guard: vec![program.to_string_lossy().into_owned(), "guard".into()],
            logs: config.out.join("handoff_server"),
        };
        say(
            "starting the model server of the settings; this takes minutes (--no-server leaves it out)\n",
        );
        answers = ask_server(&mut verified, &config, &home)?;
    } else {
        verified.checks.push(skipped("a check before it failed"));
    }
    if args.json {
        let answers: Vec<_> = answers
            .iter()
            .map(|(question, answer)| json!({"question": question, "answer": answer}))
            .collect();
        let object = json!({"holds": verified.holds(), "verified": verified, "answers": answers});
        print(serde_json::to_string_pretty(&object)? + "\n")?;
    } else {
        print(text(&verified, &answers, Palette::of(&io::stdout())))?;
    }
    Ok(exit_code(&verified))
}

fn skipped(why: &str) -> ::eval::handoff::Check {
    ::eval::handoff::Check {
        name: "server",
        state: State::Skipped,
        detail: why.to_owned(),
    }
}

fn exit_code(verified: &Verified) -> ExitCode {
    match verified.holds() {
        true => ExitCode::Done,
        false => ExitCode::CheckFailed,
    }
}

fn text(verified: &Verified, answers: &[(String, String)], palette: Palette) -> String {
    let mut facts = Table::new([Align::Left; 2]);
    let mut fact = |name: &str, value: String| {
        facts.row([Cell::painted(name, Palette::dim), value.into()]);
    };
    fact("model", verified.model.display().to_string());
    fact("architectures", verified.architectures.join(", "));
    fact("parameters", verified.parameters.to_string());
    let unknown = || "unknown".to_owned();
    fact(
        "vocabulary",
        verified.vocab_size.map_or_else(unknown, |n| n.to_string()),
    );
    fact("weights", verified.dtype.clone().unwrap_or_else(unknown));
    let mut table = Table::new([Align::Left; 3]);
    for check in &verified.checks {
        let state = match check.state {
            State::Pass => Cell::painted("pass", Palette::green),
            State::Caution => Cell::painted("caution", Palette::yellow),
            State::Fail => Cell::painted("FAIL", Palette::red),
            State::Skipped => Cell::painted("skipped", Palette::dim),
        };
        table.row([state, check.name.into(), (&check.detail).into()]);
    }
    let mut text = format!("{}\n{}", facts.render(palette), table.render(palette));
    for (question, answer) in answers {
        let shown: String = answer.chars().take(SHOWN_CHARS).collect();
        text += &format!(
            "\n  {}\n  {}\n",
            palette.bold(&inline(question)),
            inline(&shown)
        );
    }
    text += match verified.holds() {
        true => "\nit can be handed on\n",
        false => "\nit must not be handed on\n",
    };
    text
}

fn export_checkpoint(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let config = args.source.load()?;
    let verified = verify(&model_in(&args.checkpoint, &config))?;
    if !verified.holds() {
        print(text(&verified, &[], Palette::of(&io::stdout())))?;
        return Err(Failure::new(
            ExitCode::CheckFailed,
            "the checkpoint is not whole, so nothing was exported",
        )
        .into());
    }
    let exported = export(
        &ExportRequest {
            verified,
            out: args.to.clone(),
            rows: args.rows.clone(),
            exclude_ids: args.exclude_ids.clone(),
        },
        &config,
    )?;
    say(format!(
        "{} written\n",
        inline(&exported.manifest.display().to_string())
    ));
    for (path, rows, left_out) in &exported.rows {
        let excluded = match left_out {
            0 => String::new(),
            n => format!(", {n} excluded"),
        };
        say(format!(
            "{rows} rows in {}{excluded}\n",
            inline(&path.display().to_string())
        ));
    }
    Ok(ExitCode::Done)
}

fn merge_checkpoint(args: &MergeArgs) -> anyhow::Result<ExitCode> {
    let verified = merge(&args.checkpoint, &args.to, &args.python)?;
    print(text(&verified, &[], Palette::of(&io::stdout())))?;
    Ok(exit_code(&verified))
}
