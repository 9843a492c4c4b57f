"""Greedy answers in batches: the same decoding for every model that is compared.

All settings are given here: a model directory's own generation_config.json may ask for sampling or a repetition
penalty, which would make base and tuned incomparable between base models.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from finetune_trainer.data.plan import Step
from finetune_trainer.evaluate.batches import NOT_RECORDED, Numbers, Recording, run_batches
from finetune_trainer.model import causal_lm


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model wrote."""

    token_ids: Sequence[int]
    """Without the token that ended it."""
    finished: bool
    """It ended by itself, not at the limit."""


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop_ids: frozenset[int],
    batch_size: int,
    on_batch: Callable[[int], None],
    on_token: Callable[[], None],
    recording: Recording = NOT_RECORDED,
) -> list[Answer]:
    """Greedy answers to `prompts` in their order.

    `on_batch` is called with the number of answers of each finished batch, `on_token` between two tokens; either may
    raise to stop.
    """
    plan = _plan(prompts, batch_size)

    def compute(batch: Step) -> list[Numbers]:
        asked = [prompts[index] for index in batch]
        answers = _generate_batch(model, asked, max_new_tokens, stop_ids, on_token)
        return [[int(answer.finished), *answer.token_ids] for answer in answers]

    was_training = model.training
    model.eval()
    settings = {"max_new_tokens": max_new_tokens, "stop_ids": sorted(stop_ids)}
    try:
        with recording.open("answers", prompts, plan, settings) as tape:
            found = run_batches(plan, compute, on_batch, tape, recording.ranks)
    finally:
        model.train(was_training)
    return [Answer([int(token) for token in tokens], finished=bool(finished)) for finished, *tokens in found]


def _plan(prompts: Sequence[Sequence[int]], batch_size: int) -> list[Step]:
    """Batches of prompts of like length, the longest first, so that memory runs out at the start or not at all."""
    by_length = sorted(range(len(prompts)), key=lambda index: (-len(prompts[index]), index))
    return [tuple(by_length[start : start + batch_size]) for start in range(0, len(by_length), batch_size)]


@torch.inference_mode()
def _generate_batch(
    model: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop_ids: frozenset[int],
    on_token: Callable[[], None],
) -> list[Answer]:
    model = causal_lm(model)
    length = max(map(len, prompts))
    token_ids = torch.zeros(len(prompts), length, dtype=torch.int64)
    mask = torch.zeros_like(token_ids)
    for index, prompt in enumerate(prompts):
        # On the left, so that every row's next token comes right after its prompt.
        token_ids[index, length - len(prompt) :] = torch.tensor(prompt)
        mask[index, length - len(prompt) :] = 1
    ends = sorted(stop_ids)
    model.generation_config = _greedy(max_new_tokens, ends)
    output = model.generate(
        input_ids=token_ids.to(model.device),
        attention_mask=mask.to(model.device),
        stopping_criteria=StoppingCriteriaList([_EachToken(on_token)]),
    )
    return [_to_answer(row[length:], stop_ids) for row in output.tolist()]


def _greedy(max_new_tokens: int, ends: list[int]) -> GenerationConfig:
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        eos_token_id=ends,
        pad_token_id=ends[0],
        repetition_penalty=1.0,
        use_cache=True,
    )


def _to_answer(token_ids: list[int], stop_ids: frozenset[int]) -> Answer:
    for index, token in enumerate(token_ids):
        if token in stop_ids:
            return Answer(token_ids[:index], finished=True)
    return Answer(token_ids, finished=False)


class _EachToken(StoppingCriteria):  # type: ignore[misc]  # transformers is untyped here
    """Calls back between two tokens; never stops a row itself."""

    def __init__(self, on_token: Callable[[], None]) -> None:
        self._on_token = on_token

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ARG002
        self._on_token()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
