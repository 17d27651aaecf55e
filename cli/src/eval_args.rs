//! What can be typed after `eval`, `watch` and their kin.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::args::{ReadingArgs, SandboxArgs};
use crate::units;

/// Evaluate a checkpoint: prompts, completions, verdicts, metrics, QA logs
///
/// Starts the model server with the command of the configuration, generates, judges while it
/// generates, writes every file and stops the server. Started again after an interruption of any
/// kind, it goes on from what is there.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  codejury eval --config eval.toml --checkpoint-dir outputs/sft --step 500
  codejury eval --config eval.toml --model Qwen2.5-Coder-7B-Instruct        the baseline, all tiers
  codejury eval --config eval.toml --checkpoint-dir outputs/sft --step 3000 --final
  codejury eval --generator openai --base-url http://127.0.0.1:8000/v1 --only humaneval \\
      --dataset humaneval=HumanEval.jsonl.gz
  codejury eval --generator reference --only mbpp_reg --dataset mbpp_reg=mbpp.jsonl

Results: OUT/eval_step_N, OUT/eval_final or OUT/eval_baseline, each with metrics.json, summary.json,
run.json, completions/, verdicts/ and qa_logs/; OUT/metrics.jsonl and OUT/best_checkpoint.json.")]
pub(crate) struct EvalArgs {
    /// The training run: the folder that holds global_step_N
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    pub(crate) checkpoint_dir: Option<PathBuf>,

    /// The training step
    #[arg(long, value_name = "N")]
    pub(crate) step: Option<u64>,

    /// A Hugging Face model folder instead; without --step the baseline
    #[arg(long, value_name = "PATH")]
    pub(crate) model: Option<PathBuf>,

    /// The end of training: all tiers, into OUT/eval_final
    #[arg(long = "final")]
    pub(crate) is_final: bool,

    /// Which tiers, rather than those that are due at the step
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub(crate) tier: Vec<String>,

    /// Which datasets, rather than those of the tiers
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) only: Vec<String>,

    /// Which stages: prompts, completions, verdicts, metrics [default: all]
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub(crate) stages: Vec<StageChoice>,

    /// Go on from the results in the folder; refuses those made with other settings (the default)
    #[arg(long, conflicts_with = "fresh")]
    pub(crate) resume: bool,

    /// Discard the results in the folder
    #[arg(long)]
    pub(crate) fresh: bool,

    #[command(flatten)]
    pub(crate) common: CampaignArgs,
}

/// Evaluate the checkpoints of a training run as they become ready
///
/// Looks at DIR again and again; each global_step_N that is whole is evaluated with the tiers that
/// are due at its step, then best_checkpoint.json and metrics.jsonl are brought up to date. The
/// trainer may delete old checkpoints meanwhile. Ctrl-C ends it.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The folder that holds global_step_N
    #[arg(value_name = "DIR")]
    pub(crate) checkpoint_dir: PathBuf,

    /// Evaluate what is ready now, then end
    #[arg(long)]
    pub(crate) once: bool,

    /// End when this step was evaluated
    #[arg(long, value_name = "N")]
    pub(crate) until_step: Option<u64>,

    #[command(flatten)]
    pub(crate) common: CampaignArgs,
}

/// Settings, wherever they come from.
#[derive(Debug, Args)]
pub(crate) struct ConfigSource {
    /// Settings that differ from the defaults, which `codejury config` prints
    #[arg(long, value_name = "FILE", help_heading = "Settings")]
    pub(crate) config: Option<PathBuf>,

    /// One setting, by its dotted name: --set sampling.temperature=0.8
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting, help_heading = "Settings")]
    pub(crate) settings: Vec<(String, toml::Value)>,

    /// Where results go [default: outputs]
    #[arg(long, value_name = "DIR", help_heading = "Settings")]
    pub(crate) out: Option<PathBuf>,

    /// The file of a dataset; may be given several times
    #[arg(long, value_name = "NAME=FILE", value_parser = named_file, help_heading = "Settings")]
    pub(crate) dataset: Vec<(String, PathBuf)>,

    /// Where completions come from [default: vllm]
    #[arg(long, value_name = "KIND", help_heading = "Settings")]
    pub(crate) generator: Option<GeneratorChoice>,

    /// openai: the server's address up to and including /v1
    #[arg(long, value_name = "URL", help_heading = "Settings")]
    pub(crate) base_url: Option<String>,

    /// replay: a file, or a folder with <dataset>.jsonl; {step} stands for the step
    #[arg(long, value_name = "FILE|DIR", help_heading = "Settings")]
    pub(crate) completions: Option<PathBuf>,

    /// The model's name in requests and results [default: step-N, or the folder's name]
    #[arg(long, value_name = "NAME", help_heading = "Settings")]
    pub(crate) model_name: Option<String>,
}

/// What `eval` and `watch` share.
#[derive(Debug, Args)]
pub(crate) struct CampaignArgs {
    #[command(flatten)]
    pub(crate) source: ConfigSource,

    /// Leave out problems without a recorded completion or solution, rather than refuse to start
    #[arg(long, help_heading = "Settings")]
    pub(crate) allow_missing: bool,

    /// The trainer's log (JSON lines, or verl's console lines), for its validation loss
    #[arg(long, value_name = "FILE", help_heading = "Settings")]
    pub(crate) trainer_log: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,

    /// How many runs go on at once [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096), help_heading = "Sandbox")]
    pub(crate) workers: Option<u16>,

    /// Print one JSON event a line on standard output, and nothing else there
    #[arg(long)]
    pub(crate) json: bool,
}

/// Compare two evaluations: what training has changed, and whether it is more than noise
///
/// Everything is paired on the problems that both have judged. Prints how good both are, how they
/// fail, which problems changed, and alarms with their likely cause.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  codejury compare outputs/eval_baseline outputs/eval_final
  codejury compare outputs/eval_baseline outputs/eval_final --format markdown --write report.md
  codejury compare outputs/eval_baseline outputs/eval_step_500 --fail-on-alarm --trainer-log train.log")]
pub(crate) struct CompareArgs {
    /// The results folder that is compared with
    #[arg(value_name = "BASE")]
    pub(crate) base: PathBuf,

    /// The results folder in question
    #[arg(value_name = "NEW")]
    pub(crate) new: PathBuf,

    /// How it is written
    #[arg(long, value_name = "HOW", default_value = "table")]
    pub(crate) format: CompareFormat,

    /// Write to a file, rather than to standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,

    /// End with exit code 1 if there is an alarm
    #[arg(long)]
    pub(crate) fail_on_alarm: bool,

    /// The trainer's log (JSON lines, or verl's console lines), for its validation loss
    #[arg(long, value_name = "FILE")]
    pub(crate) trainer_log: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) source: ConfigSource,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompareFormat {
    Table,
    Markdown,
    Json,
}

/// Check a checkpoint and hand it on to reinforcement learning
#[derive(Debug, Subcommand)]
pub(crate) enum HandoffCommand {
    Verify(Box<VerifyArgs>),
    Export(Box<ExportArgs>),
    Merge(MergeArgs),
}

/// Check that a checkpoint is whole: without torch, then in the real server
///
/// Reads the configuration, every header and every value of the weights, the tokenizer and the chat
/// template, then starts the model server of the settings and asks a few questions. The exit code
/// is 1 if a check fails.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// A Hugging Face folder, or global_step_N
    #[arg(value_name = "CKPT")]
    pub(crate) checkpoint: PathBuf,

    /// Do not start the server
    #[arg(long)]
    pub(crate) no_server: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) source: ConfigSource,
}

/// Write the package that GRPO training starts from
///
/// handoff.json (sha256 of every file, settings of the reward), verl_grpo.yaml, verl_sft.yaml, prompt
/// templates, and training rows as parquet whose reward means what the evaluation's verdict meant.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// A Hugging Face folder, or global_step_N
    #[arg(value_name = "CKPT")]
    pub(crate) checkpoint: PathBuf,

    /// Where the package goes
    #[arg(long = "to", value_name = "DIR")]
    pub(crate) to: PathBuf,

    /// A dataset of the settings that becomes training rows; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) rows: Vec<String>,

    /// Ids that stay out of training, one a line (`dataset manifest --exclude-list` writes them)
    #[arg(long, value_name = "FILE")]
    pub(crate) exclude_ids: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) source: ConfigSource,
}

/// Make a Hugging Face folder of FSDP shards, with verl's own merger, and check it
#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// global_step_N, or its actor folder
    #[arg(value_name = "CKPT")]
    pub(crate) checkpoint: PathBuf,

    /// Where the model goes
    #[arg(long = "to", value_name = "DIR")]
    pub(crate) to: PathBuf,

    /// An interpreter with verl installed
    #[arg(long, value_name = "PATH", default_value = "python3")]
    pub(crate) python: PathBuf,
}

/// Write the metrics of a training run for a tracker
///
/// OUT/metrics.jsonl stays the truth; this makes a copy that the tracker reads.
#[derive(Debug, Subcommand)]
pub(crate) enum TrackCommand {
    /// TensorBoard event files, written natively
    Tensorboard(TensorboardArgs),
    /// A W&B offline run, through the `wandb` package; `wandb sync` uploads it later
    Wandb(TrackerArgs),
    /// An MLflow run in a local database, through the `mlflow` package
    Mlflow(TrackerArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TensorboardArgs {
    /// The folder with metrics.jsonl
    #[arg(value_name = "OUT", default_value = "outputs")]
    pub(crate) out: PathBuf,

    /// Where event files go [default: OUT/tensorboard]
    #[arg(long = "to", value_name = "DIR")]
    pub(crate) to: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct TrackerArgs {
    /// The folder with metrics.jsonl
    #[arg(value_name = "OUT", default_value = "outputs")]
    pub(crate) out: PathBuf,

    /// Where the tracker's files go [default: OUT/wandb or OUT/mlflow]
    #[arg(long = "to", value_name = "DIR")]
    pub(crate) to: Option<PathBuf>,

    /// Project or experiment
    #[arg(long, value_name = "NAME", default_value = "codejury")]
    pub(crate) project: String,

    /// The run's name [default: the folder's]
    #[arg(long, value_name = "NAME")]
    pub(crate) run: Option<String>,

    /// An interpreter with the package installed
    #[arg(long, value_name = "PATH", default_value = "python3")]
    pub(crate) python: PathBuf,
}

/// Write which problems a dataset holds, with the sha256 of each row
///
/// DIR/<name>_manifest.jsonl and DIR/<name>_manifest.meta.json; with --check, compares instead: the
/// exit code is 1 if a row is missing, new or changed.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  codejury dataset manifest valid-*.parquet --name codecontests_valid
  codejury dataset manifest train-*.parquet --select hash:500 --name codecontests_valid_big --exclude-list
  codejury dataset manifest mbpp.jsonl --numbers 11..210 --name mbpp_reg --check data/manifests/mbpp_reg_manifest.jsonl")]
pub(crate) struct ManifestArgs {
    /// Its files, in order, or the name of a bundled dataset
    #[arg(value_name = "NAME|FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) reading: ReadingArgs,

    /// The dataset's name in results [default: from its rows or its file's name]
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// Where the manifest goes
    #[arg(long = "to", value_name = "DIR", default_value = "data/manifests")]
    pub(crate) to: PathBuf,

    /// Also write the ids alone, which must stay out of training
    #[arg(long)]
    pub(crate) exclude_list: bool,

    /// Compare with this manifest instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to", "exclude_list"])]
    pub(crate) check: Option<PathBuf>,
}

/// Print the settings of an evaluation
///
/// Without flags: the defaults, as a commented file to start from.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Print what holds once defaults, file and flags are put together
    #[arg(long)]
    pub(crate) effective: bool,

    #[command(flatten)]
    pub(crate) source: ConfigSource,
}

/// Start a command and end it when standard input ends (what `eval` starts servers with)
#[derive(Debug, Args)]
pub(crate) struct GuardArgs {
    /// Between SIGTERM and SIGKILL
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::duration)]
    pub(crate) grace: Duration,

    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StageChoice {
    Prompts,
    Completions,
    Verdicts,
    Metrics,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GeneratorChoice {
    /// A vLLM server that is started and stopped
    Vllm,
    /// A server that runs already and speaks the OpenAI protocol
    Openai,
    /// Recorded completions
    Replay,
    /// The dataset's own solutions
    Reference,
}

/// `KEY=VALUE`, the value as TOML where it is one, else a text.
fn setting(text: &str) -> Result<(String, toml::Value), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("expected KEY=VALUE, for example sampling.temperature=0.8")?;
    let parsed = format!("x = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut table| table.remove("x"));
    let value = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));
    Ok((key.trim().to_owned(), value))
}

fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text
        .split_once('=')
        .ok_or("expected NAME=FILE, for example humaneval=HumanEval.jsonl.gz")?;
    Ok((name.to_owned(), file.into()))
}
