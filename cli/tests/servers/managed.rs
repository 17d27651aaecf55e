//! Servers that codejury starts itself: started, watched, started again, and ended with all they started.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::{Folder, end_of, wait_until};
use crate::{FAKE, plan, rows, setup, summary};

/// Settings whose server is the fake one, and a model folder that looks like one.
fn managed(folder: &Folder, plan: &Value, more: &str) {
    folder.file("plan.json", plan.to_string());
    let model = folder.join("run/global_step_500/huggingface");
    fs::create_dir_all(&model).expect("made");
    fs::write(model.join("config.json"), "{}").expect("written");
    fs::write(model.join("model.safetensors"), tiny_safetensors()).expect("written");
    let text = folder.read("eval.toml")
        + &format!(
            "[server]\ncommand = [\"python3\", {:?}, \"serve\", \"{{model}}\", \"--served-model-name\", \
             \"{{name}}\", \"--port\", \"{{port}}\", \"--plan\", {:?}]\nstop_grace_s = 2\n{more}\n",
            FAKE,
            folder.join("plan.json")
        );
    folder.file("eval.toml", text);
}

fn tiny_safetensors() -> Vec<u8> {
    let header = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend([0, 0, 128, 63]);
    file
}

const MANAGED: &str = "eval --config eval.toml --checkpoint-dir run --step 500";

/// Processes whose command line names this folder.
fn left(folder: &Folder) -> Vec<i32> {
    let needle = folder.path().to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(&needle) {
            found.push(pid);
        }
    }
    found
}

#[test]
fn a_server_is_started_used_and_ended_with_all_its_processes() {
    let folder = setup(5, "completion");
    let mut plan = plan(&folder, 5, json!([]));
    plan["worker"] = json!(true);
    managed(&folder, &plan, "replicas = 2");
    let ended = folder.run(MANAGED);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(summary(&folder)["accepted_at_1"], 1.0);
    assert_eq!(left(&folder), [0; 0]);
    for replica in 0..2 {
        let log = folder.read(&format!(
            "outputs/eval_step_500/server/server_{replica}.log"
        ));
        assert!(log.contains("listening on"), "{log}");
        let engine = log.split_once("engine ").expect("its engine").1;
        let engine: i32 = engine
            .split_whitespace()
            .next()
            .expect("a pid")
            .parse()
            .expect("a pid");
        assert!(
            kill(Pid::from_raw(engine), None).is_err(),
            "the engine outlived its server"
        );
    }
    assert!(folder.join("outputs/.hold/eval_step_500").is_dir());
    assert!(!folder.join("outputs/.hold/eval_step_500/model").exists());
}

#[test]
fn a_server_that_dies_is_started_again_and_its_samples_lose_nothing() {
    let cases = [
        ("die", ""),
        // Another server may still answer.
        ("die", "replicas = 2"),
        // Its process lives, and says that its engine does not.
        ("engine_dead", ""),
        // It was told to end: whoever waits for an answer would wait for ever.
        ("sigterm", ""),
    ];
    for (fault, more) in cases {
        let folder = setup(8, "chat");
        let patient = folder
            .read("eval.toml")
            .replace("silence_timeout_s = 1.0", "silence_timeout_s = 600.0");
        folder.file("eval.toml", patient);
        let mut plan = plan(
            &folder,
            8,
            json!([{"match": "<3>", "times": 1, "do": fault}]),
        );
        plan["start"] = json!("once");
        plan["worker"] = json!(true);
        managed(&folder, &plan, more);
        let ended = folder.run(MANAGED);
        assert_eq!(ended.code, 0, "{fault}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("starting it again"),
            "{fault}: {}",
            ended.stderr
        );
        assert_eq!(summary(&folder)["accepted_at_1"], 1.0, "{fault}");
        assert_eq!(summary(&folder)["api_error_rate"], 0.0, "{fault}");
        assert_eq!(left(&folder), [0; 0], "{fault}");
    }
}

#[test]
fn a_server_that_keeps_dying_ends_the_evaluation() {
    let folder = setup(8, "chat");
    let plan = plan(
        &folder,
        8,
        json!([{"match": "<3>", "times": 99, "do": "die"}]),
    );
    managed(&folder, &plan, "restarts = 1");
    let ended = folder.run(MANAGED);
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("the model server died 2 times"),
        "{}",
        ended.stderr
    );
    assert!(!folder.join("outputs/best_checkpoint.json").exists());
    assert_eq!(left(&folder), [0; 0]);
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let cases = [
        (
            "out_of_memory",
            "ready_timeout_s = 60",
            "the model server ended",
            // Far above the end of the log.
            "  | (EngineCore pid=104) ERROR 11-30 11:45:44 [core.py:1510] torch.OutOfMemoryError: CUDA out of memory.",
            Some("the accelerator's memory is full"),
        ),
        (
            "context_too_long",
            "ready_timeout_s = 60",
            "the model server ended",
            "  |   Value error, User-specified max_model_len (6144)",
            Some("the model's context is shorter than server.max_model_len"),
        ),
        (
            "never_ready",
            // Long enough for a busy machine to start an interpreter.
            "ready_timeout_s = 10",
            "was not ready after 10 s",
            "  | INFO still loading, for ever",
            None,
        ),
    ];
    for (start, more, said, line, hint) in cases {
        let folder = setup(2, "chat");
        let mut plan = plan(&folder, 2, json!([]));
        plan["start"] = json!(start);
        managed(&folder, &plan, more);
        let ended = folder.run(MANAGED);
        assert_eq!(ended.code, 4, "{}", ended.stderr);
        assert!(ended.stderr.contains(said), "{start}: {}", ended.stderr);
        // The end of its log is shown, and what it said first.
        assert!(
            ended.stderr.lines().any(|shown| shown.starts_with(line)),
            "{start}: {}",
            ended.stderr
        );
        let hints: Vec<&str> = ended
            .stderr
            .lines()
            .filter_map(|line| line.trim().strip_prefix("hint: "))
            .collect();
        match hint {
            Some(hint) => assert!(hints.concat().starts_with(hint), "{start}: {hints:?}"),
            None => assert_eq!(hints, [""; 0], "{start}"),
        }
        assert_eq!(left(&folder), [0; 0]);
    }
}

#[test]
fn a_server_that_cannot_do_what_is_asked_says_so_before_anything_is_asked() {
    let cases = [
        ("refuse_chat", json!(true), "needs a chat template"),
        // Its health was good, and the first token kills its engine.
        ("ready", json!("die"), "the first generation failed"),
    ];
    for (key, value, said) in cases {
        let folder = setup(2, "chat");
        let mut plan = plan(&folder, 2, json!([]));
        plan[key] = value;
        managed(&folder, &plan, "");
        let ended = folder.run(MANAGED);
        assert_eq!(ended.code, 4, "{key}: {}", ended.stderr);
        assert!(ended.stderr.contains(said), "{key}: {}", ended.stderr);
        assert!(!folder.join("requests.jsonl").exists());
        assert_eq!(left(&folder), [0; 0]);
    }
    let folder = setup(2, "chat");
    managed(&folder, &plan(&folder, 2, json!([])), "");
    let nameless = folder.read("eval.toml").replace("\"{name}\"", "\"other\"");
    folder.file("eval.toml", nameless);
    let ended = folder.run(MANAGED);
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("does not offer \"step-500\""),
        "{}",
        ended.stderr
    );
    assert_eq!(left(&folder), [0; 0]);
    // One without a page for its health is ready when it generates.
    let folder = setup(2, "chat");
    let mut plan = plan(&folder, 2, json!([]));
    plan["health"] = json!(false);
    managed(&folder, &plan, "ready_timeout_s = 30");
    // Its folder is named by one without a name of its own.
    fs::create_dir(folder.join("run/global_step_500/huggingface/sub")).expect("made");
    let model = "run/global_step_500/huggingface/sub/..";
    let ended = folder.run(&format!("eval --config eval.toml --model {model}"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let summary: Value =
        serde_json::from_str(&folder.read("outputs/eval_baseline/summary.json")).expect("JSON");
    assert_eq!(summary["evaluation"]["model"], "huggingface");
}

#[test]
fn whatever_ends_a_start_leaves_no_server() {
    let folder = setup(2, "chat");
    let mut plan = plan(&folder, 2, json!([]));
    plan["start"] = json!("never_ready");
    managed(&folder, &plan, "replicas = 2");
    let log = |replica| {
        let name = format!("outputs/eval_step_500/server/server_{replica}.log");
        fs::read_to_string(folder.join(name)).unwrap_or_default()
    };
    for (signal, code) in [
        (Signal::SIGINT, Some(130)),
        (Signal::SIGTERM, Some(130)),
        (Signal::SIGKILL, None),
    ] {
        let _ = fs::remove_dir_all(folder.join("outputs"));
        let child = folder
            .command(MANAGED.split_whitespace())
            .spawn()
            .expect("starts");
        wait_until("both load", || {
            (0..2).all(|replica| log(replica).contains("still loading"))
        });
        let second = folder.run(MANAGED);
        assert_eq!(second.code, 2, "{}", second.stderr);
        assert!(
            second
                .stderr
                .contains("eval_step_500 is in use by another codejury (process "),
            "{}",
            second.stderr
        );
        kill(Pid::from_raw(child.id() as i32), signal).expect("killed");
        let output = child.wait_with_output().expect("ended");
        assert_eq!(output.status.code(), code, "{signal}");
        if code.is_some() {
            assert_eq!(left(&folder), [0; 0], "{signal}");
        }
        wait_until("nothing is left", || left(&folder).is_empty());
    }
}

#[test]
fn a_guard_that_is_told_to_end_ends_its_server() {
    let folder = setup(2, "chat");
    let mut plan = plan(&folder, 2, json!([]));
    plan["worker"] = json!(true);
    managed(&folder, &plan, "");
    let plan = folder.join("plan.json");
    let mut command = folder.command([
        "guard", "--grace", "2s", "--", "python3", FAKE, "serve", "m",
    ]);
    let mut guard = command
        .args(["--port", &crate::free_port().to_string(), "--plan"])
        .arg(plan)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("starts");
    // The guard, the server, and its engine.
    wait_until("all run", || left(&folder).len() == 3);
    kill(Pid::from_raw(guard.id() as i32), Signal::SIGTERM).expect("told");
    guard.wait().expect("ended");
    assert_eq!(left(&folder), [0; 0]);
}

#[test]
fn a_guard_that_is_killed_leaves_no_server() {
    // The server goes on meanwhile, or it has to be started again.
    for fault in [None, Some("die")] {
        let folder = setup(8, "chat");
        let faults = fault.map(|fault| json!({"match": "<3>", "times": 1, "do": fault}));
        let mut plan = plan(&folder, 8, json!(Vec::from_iter(faults)));
        plan["start"] = json!("once");
        plan["worker"] = json!(true);
        plan["delay_s"] = json!(0.3);
        managed(&folder, &plan, "");
        let mut child = folder
            .command(MANAGED.split_whitespace())
            .spawn()
            .expect("starts");
        wait_until("it generates", || {
            !rows(&folder.join("requests.jsonl")).is_empty()
        });
        let is_guard = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).nth(1) == Some(b"guard")
        };
        let guard = left(&folder).into_iter().find(is_guard).expect("a guard");
        kill(Pid::from_raw(guard), Signal::SIGKILL).expect("killed");
        assert!(child.wait().expect("ended").success(), "{fault:?}");
        assert_eq!(summary(&folder)["accepted_at_1"], 1.0, "{fault:?}");
        assert_eq!(left(&folder), [0; 0], "{fault:?}");
    }
}

#[test]
fn watching_ends_and_says_which_steps_failed() {
    for (until, tries) in [("--once", 1), ("--until-step 500", 3)] {
        let folder = setup(2, "chat");
        let mut plan = plan(&folder, 2, json!([]));
        plan["start"] = json!("out_of_memory");
        managed(&folder, &plan, "[watch]\npoll_s = 0.1");
        let ended = folder.run(&format!("watch run --config eval.toml {until}"));
        assert_eq!(ended.code, 4, "{until}: {}", ended.stderr);
        let said = |text: &str| {
            ended
                .stderr
                .lines()
                .filter(|line| line.contains(text))
                .count()
        };
        assert_eq!(
            said("step 500: the model server ended"),
            tries,
            "{}",
            ended.stderr
        );
        assert_eq!(said("torch.OutOfMemoryError"), tries, "{}", ended.stderr);
        assert_eq!(said("hint: the accelerator's memory is full"), tries);
        assert_eq!(said("steps that could not be evaluated: 500"), 1);
        assert_eq!(left(&folder), [0; 0]);
    }
}

#[test]
fn a_port_in_use_and_a_missing_program_are_named() {
    let folder = setup(2, "chat");
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("bound").port();
    managed(
        &folder,
        &plan(&folder, 2, json!([])),
        &format!("port = {port}"),
    );
    let ended = folder.run(MANAGED);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(
        ended
            .stderr
            .contains(&format!("port {port} cannot be used")),
        "{}",
        ended.stderr
    );

    let folder = setup(2, "chat");
    managed(&folder, &plan(&folder, 2, json!([])), "");
    let text = folder
        .read("eval.toml")
        .replace("[\"python3\"", "[\"no-such-program\"");
    folder.file("eval.toml", text);
    let ended = folder.run(MANAGED);
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("cannot start \"no-such-program\""),
        "{}",
        ended.stderr
    );
}

#[test]
fn whoever_kills_codejury_kills_its_server() {
    let folder = setup(40, "chat");
    let mut plan = plan(&folder, 40, json!([]));
    plan["worker"] = json!(true);
    plan["delay_s"] = json!(0.2);
    managed(&folder, &plan, "");
    for signal in [Signal::SIGKILL, Signal::SIGINT] {
        let mut child = folder
            .command(MANAGED.split_whitespace())
            .spawn()
            .expect("starts");
        let asked = || rows(&folder.join("requests.jsonl")).len();
        let before = asked();
        wait_until("it generates", || asked() > before + 3);
        kill(Pid::from_raw(child.id() as i32), signal).expect("killed");
        let status = child.wait().expect("ended");
        if signal == Signal::SIGINT {
            assert_eq!(status.code(), Some(130));
        }
        wait_until("nothing is left", || left(&folder).is_empty());
    }
    let ended = folder.run(MANAGED);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(summary(&folder)["accepted_at_1"], 1.0);
    let requests = rows(&folder.join("requests.jsonl"));
    // Under one path each time: a real server's fingerprint hangs on it, and its compiled kernels.
    assert!(
        requests
            .iter()
            .all(|row| row["model"] == requests[0]["model"])
    );
    assert!(!folder.join("outputs/.hold/eval_step_500/model").exists());
    let asked = requests.len();
    assert!(asked <= 40 + 2 * 4, "{asked} requests for 40 samples");
}

/// The pipeline's own command against the real vLLM, on Tier 1 data; takes minutes.
///
/// `CODEJURY_VLLM` is the `vllm` program, `CODEJURY_MODEL` a Hugging Face folder it can load. Run with
/// `cargo test -p cli --test servers -- --ignored against_the_real_server`.
#[test]
#[ignore = "needs a real vLLM; says how"]
fn against_the_real_server() {
    let vllm = std::env::var("CODEJURY_VLLM").expect("CODEJURY_VLLM names the vllm program");
    let model = std::env::var("CODEJURY_MODEL").expect("CODEJURY_MODEL names a model folder");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/datasets");
    let folder = Folder::new();
    let checkpoint = folder.join("phase_1_ SFT – größer/global_step_500");
    fs::create_dir_all(&checkpoint).expect("made");
    std::os::unix::fs::symlink(model, checkpoint.join("huggingface")).expect("linked");
    folder.file(
        "eval.toml",
        format!(
            "[server]\ncommand = [{vllm:?}, \"serve\", \"{{model}}\", \"--served-model-name\", \"{{name}}\", \
             \"--host\", \"127.0.0.1\", \"--port\", \"{{port}}\", \"--dtype\", \"bfloat16\", \
             \"--max-model-len\", \"{{max_model_len}}\", \"--gpu-memory-utilization\", \"0.85\", \
             \"--tensor-parallel-size\", \"1\", \"--generation-config\", \"vllm\", \"--enforce-eager\"]\n\
             [server.env]\nVLLM_CPU_KVCACHE_SPACE = \"1\"\n[sampling]\nmax_new_tokens = 64\n\
             [datasets.codecontests_valid]\nfiles = [{:?}]\nselect = \"hash:117\"\n\
             [datasets.mbpp_reg]\nfiles = [{:?}]\n",
            data.join("codecontests/codecontests_python3.jsonl.gz"),
            data.join("mbpp/mbpp.jsonl"),
        ),
    );
    let run = folder.join("phase_1_ SFT – größer");
    let line = [
        "eval",
        "--config",
        "eval.toml",
        "--step",
        "500",
        "--checkpoint-dir",
    ];
    let mut command = folder.command(line);
    let ended = end_of(command.arg(run).spawn().expect("starts"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let out = folder.join("outputs/eval_step_500");
    for (dataset, count) in [("codecontests_valid", 117), ("mbpp_reg", 200)] {
        let texts = rows(&out.join(format!("completions/{dataset}.jsonl")));
        assert_eq!(texts.len(), count);
        for row in &texts {
            assert!(row["completion"].is_string(), "{row}");
            assert!(row["gen_tokens"].as_u64().expect("counted") <= 64);
            assert!(row["system_fingerprint"].is_string());
        }
        assert_eq!(
            rows(&out.join(format!("verdicts/{dataset}.jsonl"))).len(),
            count
        );
        assert!(out.join(format!("qa_logs/{dataset}_qa.jsonl")).exists());
    }
    assert!(folder.join("outputs/best_checkpoint.json").exists());
    assert_eq!(left(&folder), [0; 0]);
}
