"""verl: reward managers that judge with codejury.

For verl 0.7 and newer (the reward loop: one response at a time, async)::

    reward.reward_manager.source=importlib
    reward.reward_manager.module.path=pkg://codejury.verl_reward_manager
    reward.reward_manager.name=CodejuryRewardManager

For older versions, whose managers get whole batches, import this module in the trainer (``VERL_USE_EXTERNAL_MODULES=
codejury.verl_reward_manager``) and say ``reward_model.reward_manager=codejury``.

Needs verl; everything else of this package does not.
"""

from collections import defaultdict
from typing import Any, Dict, List, Mapping, Optional

from codejury.verl import compute_score_async, compute_score_batch

try:
    from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase
except ImportError:  # verl before 0.7
    RewardManagerBase = None
try:
    from verl.workers.reward_manager import register
    from verl.workers.reward_manager.abstract import AbstractRewardManager
except ImportError:  # verl without the old managers
    AbstractRewardManager = None

if RewardManagerBase is None and AbstractRewardManager is None:
    raise ImportError("codejury.verl_reward_manager needs verl, and finds neither of its reward manager interfaces")

__all__ = ["BatchCodejuryRewardManager", "CodejuryRewardManager"]


def _kwargs_of(config: Any) -> Dict[str, Any]:
    """What ``reward.reward_kwargs`` says for us: ``reward``, ``compare``, ``limits``, ``url``, ``options``."""
    section = config.get("reward", {}) if config is not None else {}
    kwargs = section.get("reward_kwargs") or {}
    names = ("reward", "compare", "limits", "url", "options")
    return {name: kwargs[name] for name in names if kwargs.get(name) is not None}


if RewardManagerBase is not None:

    class CodejuryRewardManager(RewardManagerBase):  # type: ignore[misc]
        """Scores one response at a time, without a thread for each that waits."""

        def __init__(
            self,
            config: Any,
            tokenizer: Any,
            compute_score: Any = None,
            reward_router_address: Optional[str] = None,
            reward_model_tokenizer: Any = None,
        ) -> None:
            super().__init__(config, tokenizer, compute_score)
            self._kwargs = _kwargs_of(config)

        async def run_single(self, data: Any) -> Dict[str, Any]:
            """The score of the last response in ``data`` (multi-sequence outputs count by their last)."""
            item = data[-1:][0]
            response = item.batch["responses"]
            length = int(item.batch["attention_mask"][-response.shape[-1] :].sum())
            text = await self.loop.run_in_executor(
                None, lambda: self.tokenizer.decode(response[:length], skip_special_tokens=True)
            )
            fields = item.non_tensor_batch
            score = await compute_score_async(
                fields.get("data_source"),
                text,
                fields["reward_model"]["ground_truth"],
                fields.get("extra_info"),
                **self._kwargs,
            )
            assert isinstance(score, dict)
            return {"reward_score": score["score"], "reward_extra_info": score}


if AbstractRewardManager is not None:

    @register("codejury")
    class BatchCodejuryRewardManager(AbstractRewardManager):  # type: ignore[misc]
        """Scores a whole batch in one call (verl before the reward loop)."""

        def __init__(
            self,
            tokenizer: Any,
            num_examine: int = 0,
            compute_score: Any = None,
            reward_fn_key: str = "data_source",
            **reward_kwargs: Any,
        ) -> None:
            self.tokenizer = tokenizer
            self.num_examine = num_examine
            self.reward_fn_key = reward_fn_key
            self._kwargs = _kwargs_of({"reward": {"reward_kwargs": reward_kwargs}})

        def __call__(self, data: Any, return_dict: bool = False) -> Any:
            import torch

            known = self._extract_reward_from_rm_scores(data, return_dict)
            if known is not None:
                return known
            prompt_length = data.batch["prompts"].shape[-1]
            lengths = [int(n) for n in data.batch["attention_mask"][:, prompt_length:].sum(-1)]
            texts = [
                self.tokenizer.decode(response[:length], skip_special_tokens=True)
                for response, length in zip(data.batch["responses"], lengths)
            ]
            fields = data.non_tensor_batch
            scores = compute_score_batch(
                list(fields[self.reward_fn_key]),
                texts,
                [truth["ground_truth"] for truth in fields["reward_model"]],
                list(fields["extra_info"]) if "extra_info" in fields else None,
                **self._kwargs,
            )
            rewards = torch.zeros_like(data.batch["responses"], dtype=torch.float32)
            extra: Dict[str, List[Any]] = defaultdict(list)
            for row, (score, length) in enumerate(zip(scores, lengths)):
                assert isinstance(score, Mapping)
                rewards[row, length - 1] = score["score"]
                for name, value in score.items():
                    extra[name].append(value)
            for text, score in zip(texts[: self.num_examine], scores):
                print("[response]", text, "\n[score]", score)
            if return_dict:
                return {"reward_tensor": rewards, "reward_extra_info": extra}
            return rewards
