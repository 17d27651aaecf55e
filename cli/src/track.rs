//! `codejury export`: the metrics of a training run for a tracker.

use std::path::{Path, PathBuf};

use ::eval::track::{Tracker, read_metrics, replay_with_python, write_events};

use crate::eval_args::{TrackCommand, TrackerArgs};
use crate::exit::ExitCode;
use crate::output::{inline, say};

pub(crate) fn run(command: &TrackCommand) -> anyhow::Result<ExitCode> {
    match command {
        TrackCommand::Tensorboard(args) => {
            let steps = read_metrics(&args.out.join("metrics.jsonl"))?;
            let to = args
                .to
                .clone()
                .unwrap_or_else(|| args.out.join("tensorboard"));
            let path = write_events(&steps, &to)?;
            say(format!(
                "{} steps written to {}; tensorboard --logdir '{}' shows them\n",
                steps.len(),
                inline(&path.display().to_string()),
                inline(&to.display().to_string())
            ));
        }
        TrackCommand::Wandb(args) => {
            let (run, steps) = replay(args, Tracker::Wandb, "wandb")?;
            say(format!(
                "{steps} steps in an offline run; upload it where there is network: wandb sync '{}'\n",
                inline(&run)
            ));
        }
        TrackCommand::Mlflow(args) => {
            let (run, steps) = replay(args, Tracker::Mlflow, "mlflow")?;
            say(format!("{steps} steps in run {}\n", inline(&run)));
        }
    }
    Ok(ExitCode::Done)
}

fn replay(args: &TrackerArgs, tracker: Tracker, name: &str) -> anyhow::Result<(String, usize)> {
    let steps = read_metrics(&args.out.join("metrics.jsonl"))?;
    let to: PathBuf = args.to.clone().unwrap_or_else(|| args.out.join(name));
    let run = args.run.clone().unwrap_or_else(|| name_of(&args.out));
    let made = replay_with_python(tracker, &steps, &to, &args.project, &run, &args.python)?;
    Ok((made, steps.len()))
}

fn name_of(out: &Path) -> String {
    let path = std::fs::canonicalize(out).unwrap_or_else(|_| out.to_owned());
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
