//! A whole training run, told with recorded completions: checkpoints appear and are deleted, `watch`
//! evaluates them, the best one is chosen, `compare` says what training has changed.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Folder, wait_until};

/// Problems of each dataset.
const VALID: usize = 40;
const OTHER: usize = 12;
const STEPS: [u64; 6] = [500, 1000, 1500, 2000, 2500, 3000];

fn stdio_problems(dataset: &str, count: usize) -> String {
    let row = |i| {
        json!({
            "problem_id": format!("{dataset}/{i}"), "dataset": dataset, "kind": "stdio",
            "prompt": format!("Print {i}."), "tests": [{"stdin": "", "expected": format!("{i}\n")}],
        })
        .to_string()
    };
    (0..count).map(|i| row(i) + "\n").collect()
}

fn function_problems(dataset: &str, count: usize) -> String {
    let row = |i| {
        json!({
            "problem_id": format!("{dataset}/{i}"), "dataset": dataset, "kind": "asserts",
            "prompt": format!("Write a function f that returns {i}."),
            "tests": [format!("assert f() == {i}")], "entry_point": "f",
        })
        .to_string()
    };
    (0..count).map(|i| row(i) + "\n").collect()
}

/// What a model in this state answers: the first so many problems fail to compile, and so on.
struct Skill {
    syntax: usize,
    crash: usize,
    wrong: usize,
}

impl Skill {
    fn answer(&self, i: usize, good: &str, bad: &str) -> String {
        // Spread over the problems, so that no two steps differ in one block only.
        let at = (i * 7) % VALID;
        let code = if at < self.syntax {
            "print(".to_owned()
        } else if at < self.syntax + self.crash {
            format!("boom_{i}")
        } else if at < self.syntax + self.crash + self.wrong {
            bad.to_owned()
        } else {
            good.to_owned()
        };
        format!("Here it is.\n```python\n{code}\n```\n")
    }

    fn write(&self, folder: &Folder, name: &str) {
        let to = folder.join(format!("recorded/{name}"));
        fs::create_dir_all(&to).expect("made");
        let row = |dataset: &str, i: usize, text: String| {
            json!({"problem_id": format!("{dataset}/{i}"), "sample": 0, "completion": text,
                   "gen_tokens": 20 + i, "gen_time": 0.5, "finish_reason": "stop"})
            .to_string()
                + "\n"
        };
        for (dataset, count) in [
            ("codecontests_valid", VALID),
            ("codecontests_valid_big", OTHER),
            ("codecontests_test", OTHER),
        ] {
            let text: String = (0..count)
                .map(|i| {
                    row(
                        dataset,
                        i,
                        self.answer(i, &format!("print({i})"), "print('no')"),
                    )
                })
                .collect();
            fs::write(to.join(format!("{dataset}.jsonl")), text).expect("written");
        }
        for dataset in ["mbpp_reg", "humaneval"] {
            let text: String = (0..OTHER)
                .map(|i| {
                    let good = format!("def f():\n    return {i}");
                    row(dataset, i, format!("```python\n{good}\n```"))
                })
                .collect();
            fs::write(to.join(format!("{dataset}.jsonl")), text).expect("written");
        }
    }
}

/// From a model that mostly fails to compile to one that runs; 3000 is a little worse than 2500.
fn skills() -> [(String, Skill); 7] {
    let skill = |syntax, crash, wrong| Skill {
        syntax,
        crash,
        wrong,
    };
    [
        ("base".into(), skill(16, 12, 8)),
        ("500".into(), skill(12, 10, 12)),
        ("1000".into(), skill(10, 8, 16)),
        ("1500".into(), skill(8, 6, 18)),
        ("2000".into(), skill(6, 5, 20)),
        ("2500".into(), skill(3, 3, 22)),
        ("3000".into(), skill(4, 4, 20)),
    ]
}

const CONFIG: &str = "\
[generator]
kind = \"replay\"
completions = \"recorded/{step}\"
[judging]
cache = \"cache\"
[watch]
poll_s = 0.2
[datasets.codecontests_valid]
files = [\"codecontests_valid.jsonl\"]
format = \"native\"
count = 40
[datasets.codecontests_valid_big]
files = [\"codecontests_valid_big.jsonl\"]
format = \"native\"
select = \"\"
count = 12
[datasets.codecontests_test]
files = [\"codecontests_test.jsonl\"]
format = \"native\"
count = 12
[datasets.mbpp_reg]
files = [\"mbpp_reg.jsonl\"]
format = \"native\"
numbers = \"\"
count = 12
prompt = \"mbpp_chat\"
style = \"chat\"
few_shot = []
[datasets.humaneval]
files = [\"humaneval.jsonl\"]
format = \"native\"
count = 12
prompt = \"plain\"
style = \"chat\"
";

fn setup() -> Folder {
    let folder = Folder::new();
    folder.file("eval.toml", CONFIG);
    for (dataset, count) in [
        ("codecontests_valid", VALID),
        ("codecontests_valid_big", OTHER),
        ("codecontests_test", OTHER),
    ] {
        folder.file(&format!("{dataset}.jsonl"), stdio_problems(dataset, count));
    }
    for dataset in ["mbpp_reg", "humaneval"] {
        folder.file(
            &format!("{dataset}.jsonl"),
            function_problems(dataset, OTHER),
        );
    }
    for (name, skill) in skills() {
        skill.write(&folder, &name);
    }
    folder
}

/// What verl writes, in its order: the folder, the weights, at last the number.
fn save_checkpoint(run: &Path, step: u64) {
    let model = run.join(format!("global_step_{step}/huggingface"));
    fs::create_dir_all(&model).expect("made");
    fs::write(model.join("config.json"), "{}").expect("written");
    let header = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    fs::write(model.join("model.safetensors"), &file).expect("written");
    std::thread::sleep(Duration::from_millis(50));
    file.extend((step as f32).to_le_bytes());
    fs::write(model.join("model.safetensors"), &file).expect("written");
    fs::write(
        run.join("latest_checkpointed_iteration.txt"),
        step.to_string(),
    )
    .expect("written");
}

/// Measured values out of a document, so that the rest can be compared byte by byte.
fn without_times(text: &str) -> String {
    let measured = ["avg_judge_time", "wall_clock_time", "throughput"];
    let kept = text
        .lines()
        .filter(|line| !measured.iter().any(|key| line.contains(key)));
    kept.map(|line| format!("{line}\n")).collect()
}

#[test]
fn six_checkpoints_are_watched_chosen_from_and_compared() {
    let folder = setup();
    let run = folder.join("phase_1_ SFT – größer");
    fs::create_dir_all(&run).expect("made");
    let log = "step:500 - val/loss:0.52\nstep:1000 - val/loss:0.48\nstep:1500 - val/loss:0.45\n\
               step:2000 - val/loss:0.43\nstep:2500 - val/loss:0.42\nstep:3000 - val/loss:0.41\n";
    folder.file("train.log", log);

    // The untrained model first.
    let base = folder.run("eval --config eval.toml --completions recorded/base");
    assert_eq!(base.code, 0, "{}", base.stderr);

    let mut watch = folder.command([
        "watch",
        run.to_str().expect("UTF-8"),
        "--config",
        "eval.toml",
        "--until-step",
        "3000",
        "--trainer-log",
        "train.log",
    ]);
    let watch = watch.spawn().expect("starts");
    for (i, step) in STEPS.into_iter().enumerate() {
        save_checkpoint(&run, step);
        // The next one comes when this one is being evaluated; then the trainer keeps only two.
        wait_until("its evaluation begins", || {
            folder
                .join(format!("outputs/eval_step_{step}/run.json"))
                .exists()
        });
        if i >= 1 {
            let _ = fs::remove_dir_all(run.join(format!("global_step_{}", STEPS[i - 1])));
        }
    }
    let ended = support::end_of(watch);
    assert_eq!(ended.code, 0, "{}", ended.stderr);

    // Tier 2 is due at 2000 only.
    for step in STEPS {
        let verdicts = folder.join(format!("outputs/eval_step_{step}/verdicts"));
        assert!(verdicts.join("codecontests_valid.jsonl").exists());
        assert!(verdicts.join("mbpp_reg.jsonl").exists());
        assert_eq!(
            verdicts.join("codecontests_valid_big.jsonl").exists(),
            step == 2000
        );
        assert!(!verdicts.join("humaneval.jsonl").exists());
    }

    // The end: all tiers.
    let line = "eval --config eval.toml --step 3000 --final --trainer-log train.log";
    let last = folder.run(line);
    assert_eq!(last.code, 0, "{}", last.stderr);
    assert!(
        folder
            .join("outputs/eval_final/verdicts/humaneval.jsonl")
            .exists()
    );

    let best: Value =
        serde_json::from_str(&folder.read("outputs/best_checkpoint.json")).expect("JSON");
    assert_eq!(best["best_step"], 2500);
    assert_eq!(best["best_exec_success_rate"], 34.0 / 40.0);
    assert_eq!(best["all_checkpoints"]["500"]["val_loss"], 0.52);
    let tie: Vec<u64> =
        serde_json::from_value(best["not_significantly_worse"].clone()).expect("numbers");
    assert!(tie.contains(&3000) && !tie.contains(&500), "{tie:?}");
    insta::with_settings!({ filters => vec![(r"/tmp/\.tmp[A-Za-z0-9]+", "[FOLDER]")] }, {
        insta::assert_snapshot!("best_checkpoint", folder.read("outputs/best_checkpoint.json"));
        insta::assert_snapshot!(
            "summary_step_2500",
            without_times(&folder.read("outputs/eval_step_2500/summary.json"))
        );
    });
    let lines = folder.read("outputs/metrics.jsonl");
    // Baseline 5 datasets, six steps of 2, one of them 3, the end 5.
    assert_eq!(lines.lines().count(), 5 + 6 * 2 + 1 + 5);

    // What the hand-off report shows.
    let compare = "compare outputs/eval_baseline outputs/eval_final --config eval.toml --trainer-log train.log";
    let table = folder.run(compare);
    assert_eq!(table.code, 0, "{}", table.stderr);
    assert_transcript!("compare_table", table.stdout);
    let markdown = folder.run(&format!("{compare} --format markdown"));
    assert_transcript!("compare_markdown", markdown.stdout);
    let json = folder.run(&format!("{compare} --format json --write comparison.json"));
    assert_eq!(json.code, 0, "{}", json.stderr);

    // The other way round: what makes a choice doubtful is said here too.
    let back = folder.run("compare outputs/eval_step_2500 outputs/eval_step_500");
    let guard = "warning: accepted_at_1 on codecontests_valid fell from 30.0 % to 15.0 %";
    assert!(back.stdout.contains(guard), "{}", back.stdout);

    // A run compared with itself: nothing changed, and that is an alarm.
    let same = folder
        .run("compare outputs/eval_final outputs/eval_final --config eval.toml --fail-on-alarm");
    assert_eq!(same.code, 1);
    assert!(same.stdout.contains("nothing_changed"), "{}", same.stdout);

    // Everything again: nothing is left to do, and the best checkpoint stays.
    let before = folder.read("outputs/best_checkpoint.json");
    let summary = folder.read("outputs/eval_final/summary.json");
    let again = folder.run(line);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert_eq!(folder.read("outputs/best_checkpoint.json"), before);
    // With what was measured when there was something to do.
    assert!(!summary.contains("\"wall_clock_time\": null"), "{summary}");
    assert_eq!(folder.read("outputs/eval_final/summary.json"), summary);

    let exported = folder.run("export tensorboard outputs");
    assert_eq!(exported.code, 0, "{}", exported.stderr);
    let manifest = folder.run("dataset manifest humaneval.jsonl --to manifests --exclude-list");
    assert_eq!(manifest.code, 0, "{}", manifest.stderr);
    every_file_follows_its_schema(&folder);
}

/// Validates every document and row below the folder against the schema of its kind.
fn every_file_follows_its_schema(folder: &Folder) {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../eval/schemas");
    let validator = |name: &str| {
        let text = fs::read_to_string(schemas.join(format!("{name}.schema.json"))).expect(name);
        let schema: Value = serde_json::from_str(&text).expect("JSON");
        jsonschema::validator_for(&schema).expect("a schema")
    };
    let mut checked: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    let mut files: Vec<PathBuf> = vec![folder.join("comparison.json")];
    let mut folders = vec![folder.join("outputs"), folder.join("manifests")];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder").flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => files.push(path),
            }
        }
    }
    for path in files {
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let parent = path
            .parent()
            .and_then(Path::file_name)
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let kind = match (parent.as_str(), name.as_str()) {
            (_, "run.json") => "run",
            (_, "summary.json") => "summary",
            (_, "metrics.json") => "metrics",
            (_, "metrics.jsonl") => "metrics_line",
            (_, "best_checkpoint.json") => "best_checkpoint",
            (_, "comparison.json") => "comparison",
            (_, "qa_summary.json") => "qa_summary",
            ("qa_logs", _) => "qa",
            ("prompts", _) => "prompt",
            ("completions", _) => "completion",
            ("verdicts", _) => "verdict",
            ("manifests", name) if name.ends_with(".meta.json") => "manifest_meta",
            ("manifests", name) if name.ends_with(".jsonl") => "manifest",
            _ => continue,
        };
        let validator = validator(kind);
        let text = fs::read_to_string(&path).expect("text");
        let documents: Vec<&str> = match name.ends_with(".jsonl") {
            true => text.lines().collect(),
            false => vec![&text],
        };
        for document in documents {
            let document: Value = serde_json::from_str(document).expect("JSON");
            if let Err(error) = validator.validate(&document) {
                panic!(
                    "{} as {kind}: {error} at {}",
                    path.display(),
                    error.instance_path()
                );
            }
            *checked.entry(kind).or_default() += 1;
        }
    }
    assert_eq!(checked.len(), 13, "{checked:?}");
}

#[test]
fn a_checkpoint_that_is_deleted_too_early_is_left_out_and_the_others_go_on() {
    let folder = setup();
    let run = folder.join("run");
    fs::create_dir_all(&run).expect("made");
    save_checkpoint(&run, 500);
    // One that is never complete: the trainer was killed in the middle.
    let half = run.join("global_step_1000/huggingface");
    fs::create_dir_all(&half).expect("made");
    fs::write(half.join("config.json"), "{}").expect("written");
    fs::write(
        half.join("model.safetensors"),
        [200, 0, 0, 0, 0, 0, 0, 0, b'{'],
    )
    .expect("written");
    let ended = folder.run("watch run --config eval.toml --once");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(folder.join("outputs/eval_step_500/summary.json").exists());
    assert!(!folder.join("outputs/eval_step_1000").exists());
    // Nor is a server started for it.
    let ended = folder
        .run("eval --config eval.toml --generator vllm --checkpoint-dir run --step 1000 --tier 1");
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("cut off in its header"),
        "{}",
        ended.stderr
    );
    // No server: tried again in each round, and no success at the end.
    let line = "watch run --config eval.toml --once --out other --base-url http://127.0.0.1:1/v1 \
                --set generator.retries=0";
    let ended = folder.run(line);
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    assert!(
        ended
            .stderr
            .contains("steps that could not be evaluated: 500"),
        "{}",
        ended.stderr
    );
    assert!(!folder.join("other/best_checkpoint.json").exists());
}

#[test]
fn what_is_wrong_is_named_before_anything_runs() {
    let folder = setup();
    let mut text = String::new();
    for line in [
        "eval --config none.toml --step 500",
        "eval --config bad.toml --step 500",
        "eval --config eval.toml --step 750",
        "eval --config eval.toml --step 500 --tier 9",
        "eval --config eval.toml --step 500 --only humanevil",
        "eval --config eval.toml --step 500 --set sampling.temperatur=1",
        "eval --config eval.toml --step 500 --set sampling.samples=4",
        "eval --config eval.toml --step 500 --set judging.run_timeout_s=0",
        "eval --config eval.toml --step 500 --set judging.memory_limit_mb=99999999999",
        "eval --config eval.toml --step 500 --set datasets.mbpp_reg.limits.wall_time_ms=0",
        "eval --config eval.toml --step 500 --set datasets.mbpp_reg.count=7",
        "eval --config eval.toml --step 777 --tier 1",
        "eval --config eval.toml --step 500 --completions recorded/500/mbpp_reg.jsonl",
        "eval --config eval.toml --generator vllm --step 500",
        "eval --config eval.toml --generator vllm --checkpoint-dir run --step 500",
        "eval --config eval.toml --generator vllm --model run/global_step_1000/huggingface",
        "eval --config eval.toml --step 500 --set datasets.mbpp_reg.prompt=mbpp_chatt",
        "eval --config eval.toml --step 500 --stages metrics",
        "compare outputs/eval_baseline outputs/eval_step_500",
        "eval --config eval.toml --step 500 --set selection.metric=exec_sucess_rate",
        "eval --config eval.toml --step 500 --set compare.mbpp=mbpp",
        "eval --config eval.toml --step 500 --set server.ready_timeout_s=-1",
        "eval --config eval.toml --step 500 --set tiers.1.every_steps=-5",
        "watch nowhere --config eval.toml --once",
        "watch run --config eval.toml --until-step 750",
        "handoff verify nowhere",
        "handoff verify run/global_step_1000/huggingface --no-server",
        "export tensorboard nowhere",
    ] {
        folder.file("bad.toml", "[sampling]\ntemprature = 0.2\n");
        let run = folder.join("run/global_step_1000/huggingface");
        fs::create_dir_all(&run).expect("made");
        fs::write(run.join("config.json"), "{}").expect("written");
        let ended = folder.run(line);
        assert!(
            matches!(ended.code, 1 | 2),
            "{line}: {} {}",
            ended.code,
            ended.stderr
        );
        text += &format!("$ codejury {line}\n{}{}\n", ended.stderr, ended.stdout);
    }
    assert_transcript!("mistakes", text);
}

#[test]
fn a_folder_belongs_to_one_evaluation_and_to_one_set_of_settings() {
    let folder = setup();
    let line = "eval --config eval.toml --step 500 --only mbpp_reg";
    assert_eq!(folder.run(line).code, 0);
    // A dataset that is added later is welcome.
    assert_eq!(
        folder
            .run("eval --config eval.toml --step 500 --only humaneval")
            .code,
        0
    );
    let summary: Value =
        serde_json::from_str(&folder.read("outputs/eval_step_500/summary.json")).expect("JSON");
    assert_eq!(summary["datasets"].as_object().expect("datasets").len(), 2);
    // One that has changed is not.
    folder.file(
        "mbpp_reg.jsonl",
        function_problems("mbpp_reg", OTHER).replace("== 3", "== 4"),
    );
    let changed = folder.run(line);
    assert_eq!(changed.code, 2, "{}", changed.stderr);
    assert!(
        changed.stderr.contains("datasets.mbpp_reg.sha256"),
        "{}",
        changed.stderr
    );
    assert_eq!(folder.run(&format!("{line} --fresh")).code, 0);
    // Two at once.
    let slow = json!({"problem_id": "slow/0", "dataset": "slow", "kind": "stdio", "prompt": "",
        "tests": [{"stdin": "", "expected": ""}], "reference": "import time\ntime.sleep(20)"});
    folder.file("slow.jsonl", format!("{slow}\n"));
    let line = "eval --generator reference --step 9 --only slow --dataset slow=slow.jsonl --set judging.run_timeout_s=25";
    let mut first = folder
        .command(line.split_whitespace())
        .spawn()
        .expect("starts");
    wait_until("it has begun", || {
        folder.join("outputs/eval_step_9/run.json").exists()
    });
    let begun = Instant::now();
    let second = folder.run(line);
    assert_eq!(second.code, 2, "{}", second.stderr);
    assert!(
        second.stderr.contains("is in use by another codejury"),
        "{}",
        second.stderr
    );
    assert!(begun.elapsed() < Duration::from_secs(30));
    let _ = first.kill();
    let _ = first.wait();
}

#[test]
fn stages_run_alone_and_give_the_same_files() {
    let folder = setup();
    let line = "eval --config eval.toml --step 500 --only codecontests_valid";
    assert_eq!(folder.run(line).code, 0);
    let whole = folder.read("outputs/eval_step_500/completions/codecontests_valid.jsonl");
    for stage in ["prompts", "completions", "verdicts", "metrics"] {
        let ended = folder.run(&format!("{line} --out alone --stages {stage}"));
        assert_eq!(ended.code, 0, "{stage}: {}", ended.stderr);
    }
    assert_eq!(
        folder.read("alone/eval_step_500/completions/codecontests_valid.jsonl"),
        whole
    );
    let numbers =
        |out: &str| without_times(&folder.read(&format!("{out}/eval_step_500/summary.json")));
    assert_eq!(numbers("alone"), numbers("outputs"));
    let qa = |out: &str| folder.read(&format!("{out}/eval_step_500/qa_logs/qa_summary.json"));
    assert_eq!(qa("alone"), qa("outputs"));
}
