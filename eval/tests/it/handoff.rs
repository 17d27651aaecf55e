//! `handoff verify`: a whole model passes, each planted fault is found and named.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray as _;
use eval::EvalConfig;
use eval::handoff::{ExportRequest, State, export, verify};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A Qwen2 model of one layer with a byte-level tokenizer, in a folder with blanks and umlauts.
struct Model {
    _folder: TempDir,
    path: PathBuf,
    tensors: BTreeMap<String, (String, Vec<u64>)>,
}

const HIDDEN: u64 = 8;
const FFN: u64 = 16;
const VOCAB: u64 = 260;

impl Model {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("phase_1_ SFT – größer/huggingface");
        fs::create_dir_all(&path).expect("made");
        let mut tensors = BTreeMap::new();
        let mut put = |name: &str, shape: &[u64]| {
            tensors.insert(name.to_owned(), ("BF16".to_owned(), shape.to_vec()));
        };
        put("model.embed_tokens.weight", &[VOCAB, HIDDEN]);
        put("lm_head.weight", &[VOCAB, HIDDEN]);
        put("model.norm.weight", &[HIDDEN]);
        for name in ["input_layernorm.weight", "post_attention_layernorm.weight"] {
            put(&format!("model.layers.0.{name}"), &[HIDDEN]);
        }
        for (name, out) in [("q", 8), ("k", 4), ("v", 4)] {
            put(
                &format!("model.layers.0.self_attn.{name}_proj.weight"),
                &[out, HIDDEN],
            );
            put(
                &format!("model.layers.0.self_attn.{name}_proj.bias"),
                &[out],
            );
        }
        put("model.layers.0.self_attn.o_proj.weight", &[HIDDEN, 8]);
        put("model.layers.0.mlp.gate_proj.weight", &[FFN, HIDDEN]);
        put("model.layers.0.mlp.up_proj.weight", &[FFN, HIDDEN]);
        put("model.layers.0.mlp.down_proj.weight", &[HIDDEN, FFN]);
        let model = Self {
            _folder: folder,
            path,
            tensors,
        };
        model.json(
            "config.json",
            &json!({
                "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": HIDDEN,
                "intermediate_size": FFN, "num_hidden_layers": 1, "num_attention_heads": 2,
                "num_key_value_heads": 1, "vocab_size": VOCAB, "tie_word_embeddings": false,
                "torch_dtype": "bfloat16", "eos_token_id": 257,
            }),
        );
        model.json(
            "generation_config.json",
            &json!({"eos_token_id": [257, 256]}),
        );
        model.json("special_tokens_map.json", &json!({}));
        model.json("vocab.json", &json!({}));
        model.json("tokenizer.json", &tokenizer());
        model.json(
            "tokenizer_config.json",
            &json!({
                "eos_token": "<|im_end|>",
                "added_tokens_decoder": {"257": {"content": "<|im_end|>"}},
                "chat_template": "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'].strip() }}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
            }),
        );
        model.write_weights();
        model
    }

    fn json(&self, name: &str, value: &Value) {
        fs::write(self.path.join(name), value.to_string()).expect("written");
    }

    fn edit(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let text = fs::read(self.path.join(name)).expect("there");
        let mut value: Value = serde_json::from_slice(&text).expect("JSON");
        change(&mut value);
        self.json(name, &value);
    }

    /// Two shards and their index.
    fn write_weights(&self) {
        let names: Vec<&String> = self.tensors.keys().collect();
        let (first, second) = names.split_at(names.len() / 2);
        let mut map = serde_json::Map::new();
        for (number, names) in [(1, first), (2, second)] {
            let file = format!("model-0000{number}-of-00002.safetensors");
            for name in names {
                map.insert((*name).clone(), file.clone().into());
            }
            fs::write(self.path.join(file), self.shard(names)).expect("written");
        }
        self.json(
            "model.safetensors.index.json",
            &json!({"metadata": {}, "weight_map": map}),
        );
    }

    fn shard(&self, names: &[&String]) -> Vec<u8> {
        let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
        for name in names {
            let (dtype, shape) = &self.tensors[*name];
            let count: u64 = shape.iter().product();
            let start = data.len();
            for i in 0..count {
                match dtype.as_str() {
                    // 1.0 and a little more.
                    "BF16" => data.extend((0x3f80_u16 + (i % 7) as u16).to_le_bytes()),
                    _ => data.extend(1.0_f32.to_le_bytes()),
                }
            }
            let offsets = [start, data.len()];
            header.insert(
                (*name).clone(),
                json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}),
            );
        }
        let header = Value::Object(header).to_string();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(data);
        file
    }

    fn shard_path(&self, number: u32) -> PathBuf {
        self.path
            .join(format!("model-0000{number}-of-00002.safetensors"))
    }
}

/// GPT-2's letters for bytes, no merges: every text is a sequence of its bytes.
fn tokenizer() -> Value {
    let mut vocab = serde_json::Map::new();
    let mut next = 256;
    for byte in 0..=255_u32 {
        let printable = (33..=126).contains(&byte)
            || (161..=172).contains(&byte)
            || (174..=255).contains(&byte);
        let letter = if printable {
            byte
        } else {
            next += 1;
            next - 1
        };
        vocab.insert(
            char::from_u32(letter).expect("a letter").to_string(),
            byte.into(),
        );
    }
    let added = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [added(256, "<|endoftext|>"), added(257, "<|im_end|>")],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []},
    })
}

/// The checks that failed, with what they say.
fn failed(path: &Path) -> BTreeMap<&'static str, String> {
    let verified = verify(path).expect("a folder");
    let failed = verified
        .checks
        .into_iter()
        .filter(|check| check.state == State::Fail);
    failed.map(|check| (check.name, check.detail)).collect()
}

#[test]
fn a_whole_model_passes() {
    let model = Model::new();
    let verified = verify(&model.path).expect("a folder");
    let others: Vec<_> = verified
        .checks
        .iter()
        .filter(|check| check.state != State::Pass)
        .collect();
    assert!(verified.holds() && others.is_empty(), "{others:#?}");
    assert_eq!(verified.architectures, ["Qwen2ForCausalLM"]);
    assert_eq!(verified.vocab_size, Some(VOCAB));
    assert_eq!(verified.dtype.as_deref(), Some("BF16"));
    let expected: u64 = model
        .tensors
        .values()
        .map(|(_, shape)| shape.iter().product::<u64>())
        .sum();
    assert_eq!(verified.parameters, expected);
}

#[test]
fn each_planted_fault_is_found() {
    type Fault = (&'static str, fn(&mut Model), &'static str, &'static str);
    let faults: [Fault; 15] = [
        (
            "missing shard",
            |model| fs::remove_file(model.shard_path(2)).expect("removed"),
            "weights",
            "1 of 2 weight files are missing: model-00002-of-00002.safetensors",
        ),
        (
            "truncated file",
            |model| {
                let text = fs::read(model.shard_path(1)).expect("read");
                fs::write(model.shard_path(1), &text[..text.len() - 3]).expect("written");
            },
            "weights",
            "bytes long, but its header describes",
        ),
        (
            "no weights",
            |model| {
                for name in [
                    model.shard_path(1),
                    model.shard_path(2),
                    model.path.join("model.safetensors.index.json"),
                ] {
                    fs::remove_file(name).expect("removed");
                }
            },
            "weights",
            "holds no weights",
        ),
        (
            "FSDP shards only",
            |model| {
                for name in [
                    model.shard_path(1),
                    model.shard_path(2),
                    model.path.join("model.safetensors.index.json"),
                ] {
                    fs::remove_file(name).expect("removed");
                }
                let beside = model.path.parent().expect("a parent");
                fs::write(beside.join("model_world_size_2_rank_0.pt"), "").expect("written");
            },
            "weights",
            "codejury handoff merge",
        ),
        (
            "NaN",
            |model| poke(model, 0x7fc0),
            "values",
            "1 NaN and 0 infinite values in",
        ),
        (
            "infinity",
            |model| poke(model, 0xff80),
            "values",
            "0 NaN and 1 infinite values in",
        ),
        (
            "wrong dtype",
            |model| {
                model.tensors.get_mut("model.norm.weight").expect("there").0 = "F32".into();
                model.write_weights();
            },
            "dtype",
            "config.json says BF16, the weights are 14 × BF16, 1 × F32",
        ),
        (
            "wrong shape",
            |model| {
                model
                    .tensors
                    .get_mut("model.layers.0.mlp.up_proj.weight")
                    .expect("there")
                    .1 = vec![FFN + 1, HIDDEN];
                model.write_weights();
            },
            "shapes",
            "model.layers.0.mlp.up_proj.weight is [17, 8], not [16, 8]",
        ),
        (
            "missing tensor",
            |model| {
                model.tensors.remove("model.layers.0.mlp.up_proj.weight");
                model.write_weights();
            },
            "shapes",
            "missing: model.layers.0.mlp.up_proj.weight",
        ),
        (
            "layers that the configuration does not know",
            |model| {
                let name = "model.layers.1.input_layernorm.weight";
                model
                    .tensors
                    .insert(name.into(), ("BF16".into(), vec![HIDDEN]));
                model.write_weights();
            },
            "shapes",
            "beyond 1 layers: model.layers.1.input_layernorm.weight",
        ),
        (
            "LoRA names",
            |model| {
                let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
                model
                    .tensors
                    .insert(name.into(), ("BF16".into(), vec![4, HIDDEN]));
                model.write_weights();
            },
            "lora",
            "the adapter is not merged",
        ),
        (
            "tokenizer of another model",
            |model| {
                model.edit("tokenizer.json", |json| {
                    json["added_tokens"][1]["id"] = 300.into();
                });
            },
            "vocabulary",
            "has no row: the embeddings have 260",
        ),
        (
            "other end of text",
            |model| {
                model.edit("tokenizer_config.json", |json| {
                    json["eos_token"] = "<|stop|>".into()
                })
            },
            "vocabulary",
            "eos_token \"<|stop|>\" is no token of tokenizer.json",
        ),
        (
            "broken chat template",
            |model| {
                model.edit("tokenizer_config.json", |json| {
                    json["chat_template"] = "{% for m in messages %}{{ m.content }".into();
                });
            },
            "chat_template",
            "it does not render",
        ),
        (
            "no chat template",
            |model| {
                model.edit("tokenizer_config.json", |json| {
                    json.as_object_mut()
                        .expect("an object")
                        .remove("chat_template");
                });
            },
            "chat_template",
            "neither chat_template.jinja nor tokenizer_config.json has one",
        ),
    ];
    for (name, plant, check, said) in faults {
        let mut model = Model::new();
        plant(&mut model);
        let failed = failed(&model.path);
        let detail = failed
            .get(check)
            .unwrap_or_else(|| panic!("{name} was not found: {failed:#?}"));
        assert!(detail.contains(said), "{name}: {detail}");
    }
}

/// Puts one value into the middle of the weights.
fn poke(model: &Model, value: u16) {
    let path = model.shard_path(2);
    let mut file = fs::read(&path).expect("read");
    let at = file.len() - 40;
    file[at..at + 2].copy_from_slice(&value.to_le_bytes());
    fs::write(&path, file).expect("written");
}

#[test]
fn a_single_file_and_a_template_of_its_own_pass_too() {
    let model = Model::new();
    let names: Vec<&String> = model.tensors.keys().collect();
    fs::write(model.path.join("model.safetensors"), model.shard(&names)).expect("written");
    for name in [
        model.shard_path(1),
        model.shard_path(2),
        model.path.join("model.safetensors.index.json"),
    ] {
        fs::remove_file(name).expect("removed");
    }
    model.edit("tokenizer_config.json", |json| {
        json.as_object_mut()
            .expect("an object")
            .remove("chat_template");
    });
    let template = "{%- for message in messages %}\n    {{- message.content }}\n{%- endfor %}\n";
    fs::write(model.path.join("chat_template.jinja"), template).expect("written");
    assert_eq!(failed(&model.path), BTreeMap::new());
}

#[test]
fn templates_are_read_as_transformers_reads_them() {
    let chat = "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}BODY{% else %}\
                {{ m.content }}{% endif %}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}";
    let cases = [
        (
            "what is trained on is marked",
            chat.replace(
                "BODY",
                "{% generation %}{{ m.content }}{%- endgeneration -%}",
            ),
            State::Pass,
            "renders; ends with",
        ),
        (
            "nothing opens the answer",
            chat.replace("BODY", "{{ m.content }}")
                .replace("<|assistant|>\n", ""),
            State::Caution,
            "renders, but nothing opens the answer",
        ),
        (
            "a broken one is named on one line",
            chat.replace("BODY", "{{ m.content }"),
            State::Fail,
            "it does not render: syntax error",
        ),
    ];
    for (name, template, state, said) in cases {
        let model = Model::new();
        model.edit("tokenizer_config.json", |json| {
            json["chat_template"] = template.into();
        });
        let verified = verify(&model.path).expect("a folder");
        let check = verified
            .checks
            .iter()
            .find(|check| check.name == "chat_template");
        let check = check.expect("made");
        assert_eq!(check.state, state, "{name}: {}", check.detail);
        assert!(check.detail.starts_with(said), "{name}: {}", check.detail);
        assert!(!check.detail.contains('\n'), "{name}: {}", check.detail);
    }
}

/// What the trainer reads of an exported row: the ground truth, and how texts are searched.
fn rewards(parquet: &Path) -> Vec<(Value, String)> {
    let file = File::open(parquet).expect("written");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("parquet");
    let batches = reader.build().expect("parquet");
    let mut rewards = Vec::new();
    for batch in batches {
        let batch: RecordBatch = batch.expect("rows");
        let text = |column: &str, field: &str, row: usize| {
            let column = batch.column_by_name(column).expect(column).as_struct();
            let field = column.column_by_name(field).expect(field);
            field.as_string::<i32>().value(row).to_owned()
        };
        for row in 0..batch.num_rows() {
            let truth = text("reward_model", "ground_truth", row);
            let truth = serde_json::from_str(&truth).expect("a native row");
            rewards.push((truth, text("extra_info", "extract", row)));
        }
    }
    rewards
}

#[test]
fn an_exported_row_holds_what_the_configuration_said() {
    let model = Model::new();
    let folder = model.path.parent().expect("a folder").to_owned();
    let rows = |name: &str, rows: &[Value]| {
        let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
        fs::write(folder.join(name), text).expect("written");
    };
    let tests = json!([{"stdin": "", "expected": "1"}]);
    rows(
        "a.jsonl",
        &[
            json!({"problem_id": "a/0", "kind": "stdio", "prompt": "x", "tests": tests,
                   "source_limits": {"memory_bytes": 99_000_000, "wall_time_ms": 500}}),
            json!({"problem_id": "a/1", "kind": "stdio", "prompt": "x", "tests": tests,
                   "compare": "exact", "limits": {"wall_time_ms": 900, "tasks": 7}}),
            json!({"problem_id": "a/2", "kind": "stdio", "prompt": "x", "tests": tests}),
        ],
    );
    rows(
        "b.jsonl",
        &[
            json!({"problem_id": "b/0", "kind": "stdio", "prompt": "x", "tests": tests, "compare": "exact"}),
        ],
    );
    fs::write(folder.join("exclude.txt"), "a/2\n").expect("written");
    let config = "[judging]\nmemory_limit_mb = 256\nlimits = \"source\"\nmax_timeouts = 0\n\
                  [server]\nmax_model_len = 5000\n\
                  [datasets.a]\nfiles = [\"a.jsonl\"]\n\
                  [datasets.b]\nfiles = [\"b.jsonl\"]\nstyle = \"completion\"\ncompare = \"lines\"\n\
                  limits = { stdout_bytes = 1000 }\n";
    fs::write(folder.join("eval.toml"), config).expect("written");
    let config = EvalConfig::load(Some(&folder.join("eval.toml")), &[]).expect("settings");
    let out = folder.join("package");
    let request = ExportRequest {
        verified: verify(&model.path).expect("a folder"),
        out: out.clone(),
        rows: vec!["a".into(), "b".into()],
        exclude_ids: Some(folder.join("exclude.txt")),
    };
    let exported = export(&request, &config).expect("exported");
    let counts: Vec<(u64, u64)> = exported.rows.iter().map(|(_, n, out)| (*n, *out)).collect();
    assert_eq!(counts, [(2, 1), (1, 0)]);

    let a = rewards(&out.join("a.parquet"));
    let limits = |row: &(Value, String)| row.0["limits"].clone();
    // A flag, then the row's own, then its source's.
    assert_eq!(
        limits(&a[0]),
        json!({"wall_time_ms": 500, "memory_bytes": 256 << 20})
    );
    assert_eq!(
        limits(&a[1]),
        json!({"wall_time_ms": 900, "memory_bytes": 256 << 20, "tasks": 7})
    );
    assert_eq!(
        (&a[0].0["compare"], &a[1].0["compare"]),
        (&Value::Null, &json!("exact"))
    );
    assert_eq!((a[0].1.as_str(), a[1].1.as_str()), ("chat", "chat"));
    let b = rewards(&out.join("b.parquet"));
    assert_eq!(b[0].0["compare"], "lines");
    assert_eq!(b[0].0["limits"]["stdout_bytes"], 1000);
    assert_eq!(b[0].1, "completion");

    // In verl's present words: `reward.custom_reward_function`, and `model.path` of its SFT trainer.
    let yaml = fs::read_to_string(out.join("verl_grpo.yaml")).expect("written");
    let settings = "reward:\n  custom_reward_function:\n    path: pkg://codejury.verl\n    name: compute_score\n    \
                    reward_kwargs:\n      options: {\"aggregate\":\"first\",\"max_timeouts\":0,\"integrity\":\"auto\"}\n";
    assert!(yaml.ends_with(settings), "{yaml}");
    assert!(
        yaml.contains("  max_prompt_length: 2952\n  max_response_length: 2048\n"),
        "{yaml}"
    );
    let yaml = fs::read_to_string(out.join("verl_sft.yaml")).expect("written");
    let quoted = json!(fs::canonicalize(&model.path).expect("there")).to_string();
    assert!(
        yaml.ends_with(&format!("model:\n  path: {quoted}\n")),
        "{yaml}"
    );
}
