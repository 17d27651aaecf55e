"""TRL's GRPOTrainer takes our reward function for two steps of a tiny model on a CPU. Opt-in: torch is large.

    pip install trl torch tokenizers                    (any recent versions; no GPU is used)
    python tests/trl_two_steps.py

The model is made here, with random weights. Each of its tokens is a whole program, some right and some not,
so that what it writes is judged for good and for bad, rewards differ within a group, and weights move.
"""

import collections
import json
import sys
import tempfile

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from trl import GRPOConfig, GRPOTrainer

from codejury.trl import make_reward_func, reward_func

PROBLEM = {"problem_id": "three", "kind": "stdio", "tests": [{"stdin": "1 2", "expected": "3"}, {"stdin": "2 2", "expected": "4"}]}
PROGRAMS = {
    "print(sum(map(int,input().split())))": (1.0, 1.0),
    "print(3)": (0.0, 0.5),
    "print(1/0)": (0.0, 0.0),
    "print(": (0.0, 0.0),
}


def tiny_tokenizer():
    vocabulary = {token: index for index, token in enumerate(["<pad>", "<eos>", "<unk>", *PROGRAMS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left")
    fast.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    return fast


def tiny_model(tokenizer):
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=256, pad_token_id=0, eos_token_id=1, bos_token_id=1, tie_word_embeddings=True,
    )
    return Qwen2ForCausalLM(config)


def main():
    wrong = []
    judged = collections.Counter()

    def checked(prompts, completions, **columns):
        """Ours, held against what each program deserves."""
        rewards = reward_func(prompts=prompts, completions=completions, **columns)
        for completion, reward in zip(completions, rewards):
            text = completion[-1]["content"].strip()
            judged[text or "(nothing)"] += 1
            if reward != PROGRAMS.get(text, (0.0, 0.0))[0]:
                wrong.append((text, reward))
        return rewards

    checked.__name__ = "accepted"
    ratio = make_reward_func(reward="pass_ratio", name="pass_ratio", asynchronous=True)
    rows = [{"prompt": [{"role": "user", "content": "Add."}], "problem": json.dumps(PROBLEM)}] * 4
    tokenizer = tiny_tokenizer()
    model = tiny_model(tokenizer)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder, max_steps=2, per_device_train_batch_size=16, num_generations=8, max_completion_length=1,
            use_cpu=True, bf16=False, report_to=[], logging_steps=1, save_strategy="no", learning_rate=1e-2, seed=0,
        )
        trainer = GRPOTrainer(
            model=model, reward_funcs=[checked, ratio], args=config, train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )
        trainer.train()
        steps = [{key: value for key, value in row.items() if "reward" in key or key == "loss"} for row in trainer.state.log_history if "reward" in row]
    moved = any(not torch.equal(a, b.detach()) for a, b in zip(before, model.parameters()))
    for step in steps:
        print(json.dumps(step))
    print(f"{trainer.state.global_step} steps, judged {dict(judged)}, wrong {wrong}; weights {'moved' if moved else 'did not move'}")
    held = trainer.state.global_step == 2 and len(steps) == 2 and sum(judged.values()) == 32 and not wrong and moved
    print("held" if held else "NOT held")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
