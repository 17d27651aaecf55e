"""TRL's GRPOTrainer takes our reward function for two steps of a tiny model on a CPU. Opt-in: torch is large.

    pip install trl torch tokenizers                    (any recent versions; no GPU is used)
    python tests/trl_two_steps.py

The model is made here, with random weights and a tokenizer over bytes: what it writes is noise, so each
reward is that of a program that does not work. What is shown is that the trainer calls the function with its
arguments, gets one reward a completion (and a missing one where the sandbox failed), and trains on.
"""

import json
import sys
import tempfile

import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from trl import GRPOConfig, GRPOTrainer

from codejury.trl import areward_func, make_reward_func, reward_func

PROBLEM = {"problem_id": "add", "kind": "stdio", "tests": [{"stdin": "1 2\n", "expected": "3\n"}, {"stdin": "2 2\n", "expected": "4\n"}]}
#: A problem that any program that prints nothing solves half: so that some rewards are not 0.
SILENT = {"problem_id": "silent", "kind": "stdio", "tests": [{"stdin": "", "expected": ""}, {"stdin": "", "expected": "1\n"}]}


def tiny_tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<pad>", "<eos>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", padding_side="left")
    fast.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    return fast


def tiny_model(tokenizer):
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=256, pad_token_id=0, eos_token_id=1, bos_token_id=1, tie_word_embeddings=True,
    )
    return Qwen2ForCausalLM(config)


def main():
    seen = []

    def recorded(prompts, completions, **columns):
        """Ours, and a note of what the trainer gave it and got."""
        rewards = reward_func(prompts=prompts, completions=completions, **columns)
        seen.append((len(completions), rewards))
        return rewards

    recorded.__name__ = "codejury"
    ratio = make_reward_func(reward="pass_ratio", name="codejury_pass_ratio")
    rows = [{"prompt": [{"role": "user", "content": "Add two numbers."}], "problem": json.dumps(PROBLEM)},
            {"prompt": [{"role": "user", "content": "Print nothing."}], "problem": json.dumps(SILENT)}]
    tokenizer = tiny_tokenizer()
    model = tiny_model(tokenizer)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder, max_steps=2, per_device_train_batch_size=4, num_generations=2, max_completion_length=16,
            use_cpu=True, bf16=False, report_to=[], logging_steps=1, save_strategy="no", learning_rate=1e-2, seed=0,
        )
        trainer = GRPOTrainer(
            model=model, reward_funcs=[recorded, ratio, areward_func], args=config, train_dataset=Dataset.from_list(rows * 4),
            processing_class=tokenizer,
        )
        trainer.train()
        steps = [{key: value for key, value in row.items() if "reward" in key or key == "loss"} for row in trainer.state.log_history if "reward" in row]
    moved = any(not torch.equal(a, b.detach()) for a, b in zip(before, model.parameters()))
    for step in steps:
        print(json.dumps(step))
    print(f"{trainer.state.global_step} steps; the reward function was called {len(seen)} times: {seen}; weights {'moved' if moved else 'did not move'}")
    held = trainer.state.global_step == 2 and len(seen) >= 2 and all(n == len(r) for n, r in seen) and len(steps) == 2
    print("held" if held else "NOT held")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
