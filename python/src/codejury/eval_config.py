"""The settings of evaluation, under the names that evaluation scripts import.

The same values as ``codejury eval`` has built in. Change none of them between two runs that are to be
compared.
"""

from typing import Any, Dict, List, Optional

__all__ = [
    "CONCURRENCY_CONFIGS",
    "DATASET_CONFIGS",
    "EVAL_CONSTANTS",
    "QA_SAMPLING",
    "TIERS",
    "get_concurrency_config",
    "get_sampling_params",
    "get_sandbox_config",
    "print_config_summary",
    "validate_config",
]

#: EVAL@1: greedy, one sample. Times in seconds, memory in MiB.
EVAL_CONSTANTS: Dict[str, Any] = {
    "temperature": 0.0,
    "top_p": 1.0,
    "max_new_tokens": 2048,
    "run_timeout": 30,
    "memory_limit_mb": 1024,
    # How rollouts in training are sampled; evaluation does not use these.
    "rollout_temperature": 0.7,
    "rollout_top_p": 0.95,
    "rollout_n": 5,
    # Above these shares a script should say so.
    "truncation_warning_threshold": 0.05,
    "timeout_warning_threshold": 0.10,
    # Above this share of failures of ours the numbers mean nothing.
    "max_api_error_rate": 0.02,
}

#: Datasets by the slugs of keys, files and flags.
DATASET_CONFIGS: Dict[str, Dict[str, Any]] = {
    "codecontests_valid": {"sandbox_dataset": "code_contests", "language": "python", "expected_problems": 117},
    "codecontests_valid_big": {"sandbox_dataset": "code_contests", "language": "python", "expected_problems": 500},
    "codecontests_test": {"sandbox_dataset": "code_contests", "language": "python", "expected_problems": 165},
    "codecontests_train": {"sandbox_dataset": "code_contests", "language": "python"},
    "humaneval": {"sandbox_dataset": "humaneval_python", "language": "python", "expected_problems": 164},
    "mbpp_reg": {
        "sandbox_dataset": "mbpp",
        "language": "python",
        "expected_problems": 200,
        "id_range": (11, 210),
    },
}
for _config in DATASET_CONFIGS.values():
    _config["run_timeout"] = EVAL_CONSTANTS["run_timeout"]

#: Which datasets are evaluated when: every N steps, or at the end.
TIERS: Dict[int, Dict[str, Any]] = {
    1: {"datasets": ("codecontests_valid", "mbpp_reg"), "every_steps": 500},
    2: {"datasets": ("codecontests_valid_big",), "every_steps": 2000},
    3: {"datasets": ("codecontests_test", "humaneval"), "every_steps": None},
}

#: How many answers of a dataset are kept for reading: in all, and at least of each error type.
QA_SAMPLING: Dict[str, Dict[str, int]] = {
    "codecontests_valid": {"sample_size": 30, "min_per_error_type": 5},
    "mbpp_reg": {"sample_size": 20, "min_per_error_type": 4},
    "codecontests_valid_big": {"sample_size": 50, "min_per_error_type": 10},
    "codecontests_test": {"sample_size": 50, "min_per_error_type": 10},
    "humaneval": {"sample_size": 30, "min_per_error_type": 6},
}

#: Requests to the model server at once, and problems a batch.
CONCURRENCY_CONFIGS: Dict[str, Dict[str, Any]] = {
    "single_4090": {"max_concurrent_requests": 32, "batch_size": 50},
    "single_a100": {"max_concurrent_requests": 64, "batch_size": 100},
    "multi_gpu": {"max_concurrent_requests": 128, "batch_size": 200},
}


def get_sampling_params(mode: str = "eval") -> Dict[str, Any]:
    """Sampling parameters for an OpenAI-style request: ``mode`` is ``eval`` or ``rollout``."""
    if mode == "eval":
        return {
            "temperature": EVAL_CONSTANTS["temperature"],
            "top_p": EVAL_CONSTANTS["top_p"],
            "max_tokens": EVAL_CONSTANTS["max_new_tokens"],
        }
    if mode == "rollout":
        return {
            "temperature": EVAL_CONSTANTS["rollout_temperature"],
            "top_p": EVAL_CONSTANTS["rollout_top_p"],
            "max_tokens": EVAL_CONSTANTS["max_new_tokens"],
            "n": EVAL_CONSTANTS["rollout_n"],
        }
    raise ValueError(f"mode is eval or rollout, not {mode!r}")


def get_sandbox_config(dataset_key: Optional[str] = None) -> Dict[str, Any]:
    """``run_timeout`` in seconds and ``memory_limit_mb``, as a dataset has them."""
    own = DATASET_CONFIGS.get(dataset_key or "", {})
    return {
        "run_timeout": own.get("run_timeout", EVAL_CONSTANTS["run_timeout"]),
        "memory_limit_mb": own.get("memory_limit_mb", EVAL_CONSTANTS["memory_limit_mb"]),
    }


def get_concurrency_config(gpu_type: str = "single_4090") -> Dict[str, Any]:
    """Concurrency for a kind of machine; unknown kinds get the smallest."""
    return CONCURRENCY_CONFIGS.get(gpu_type, CONCURRENCY_CONFIGS["single_4090"])


def validate_config() -> List[str]:
    """What speaks against the constants as they stand now; empty if nothing does."""
    warnings = []
    if EVAL_CONSTANTS["temperature"] != 0.0:
        warnings.append(f"temperature is {EVAL_CONSTANTS['temperature']}, but EVAL@1 is greedy (0.0)")
    if not 10 <= EVAL_CONSTANTS["run_timeout"] <= 120:
        warnings.append(f"run_timeout is {EVAL_CONSTANTS['run_timeout']} s; results compare badly outside 10 to 120 s")
    if EVAL_CONSTANTS["memory_limit_mb"] < 256:
        warnings.append(f"memory_limit_mb is {EVAL_CONSTANTS['memory_limit_mb']}; many honest programs need 256")
    return warnings


def print_config_summary() -> None:
    """Prints the constants, and what speaks against them."""
    width = max(map(len, EVAL_CONSTANTS))
    print("Evaluation settings")
    for name, value in EVAL_CONSTANTS.items():
        print(f"  {name:<{width}}  {value}")
    for warning in validate_config():
        print(f"  warning: {warning}")
