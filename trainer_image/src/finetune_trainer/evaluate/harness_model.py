"""The model in memory as lm-eval asks models: likelihoods of continuations, and greedy answers.

What lm-eval's own adapter for transformers does is kept where it decides scores: how context and continuation are
tokenized, what starts a sequence, and that a prompt too long for the model loses its start. Batches are filled by
tokens, and only the positions of continuations go through the head.
"""

from collections.abc import Sequence
from typing import Any, Final

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from torch import Tensor

from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.problems import Source
from finetune_trainer.evaluate.examiner import Bench
from finetune_trainer.evaluate.generate import generate
from finetune_trainer.evaluate.score import in_batches
from finetune_trainer.loss import Batch, collate, hidden_states
from finetune_trainer.model import causal_lm, decoder_and_head

_CHUNK: Final = 1024
"""Positions whose logits exist at once."""
_LONGEST: Final = 2048
"""Tokens of the longest sequence where the model's config does not say, as lm-eval has it."""


class HarnessModel(TemplateLM):  # type: ignore[misc]  # lm-eval is untyped here
    """One causal language model with its tokenizer."""

    def __init__(self, model: Any, bench: Bench) -> None:
        super().__init__()
        self.tokenizer = bench.tokenizer
        self._model, self._bench = model, bench
        self._longest: int = getattr(causal_lm(model).config, "max_position_embeddings", None) or _LONGEST

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a continuation without a context."""
        first = self.tokenizer.bos_token_id
        return self.eot_token_id if first is None else int(first)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids, with what the tokenizer puts before a text unless that is there already."""
        begins = self.tokenizer.bos_token
        if add_special_tokens is None and begins and string.startswith(begins):
            add_special_tokens = False
        options = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return list(self.tokenizer.encode(string, **options))

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[tuple[str, str], list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        rows = [self._row(context, continuation) for _, context, continuation in requests]
        device = next(self._model.parameters()).device
        found = in_batches(
            self._model,
            rows,
            self._bench.batch_tokens,
            lambda batch: likelihoods(self._model, collate(batch, device)),
            self._bench.watch.batch,
        )
        return [(total, missed == 0) for total, missed in found.tolist()]

    def _row(self, context: Sequence[int], continuation: Sequence[int]) -> Tokenized:
        token_ids = [*context, *continuation][-self._longest :]
        weights = [0.0] * len(token_ids)
        weights[-len(continuation) :] = [1.0] * min(len(continuation), len(token_ids))
        return Tokenized(token_ids, weights, Source("benchmark"))

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:  # noqa: ARG002
        """Greedy answers, cut at the first of the strings that end them. Requests of one task ask for the same."""
        settings = normalize_gen_kwargs(requests[0].args[1])
        room = settings["max_gen_toks"]
        contexts = [self.tok_encode(request.args[0])[-max(1, self._longest - room) :] for request in requests]
        answers = generate(
            self._model,
            contexts,
            max_new_tokens=room,
            stop_ids=frozenset({self.eot_token_id}),
            batch_size=self._bench.evaluation.batch_size,
            on_batch=self._bench.watch.batch,
            on_token=self._bench.watch.check,
        )
        ends = handle_stop_sequences(settings["until"], eos=self.tokenizer.eos_token)
        texts = (self.tokenizer.decode(answer.token_ids, skip_special_tokens=True) for answer in answers)
        return [str(postprocess_generated_text(text, ends, None)) for text in texts]

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """Not needed: tasks of that type are refused before."""
        raise NotImplementedError(f"{len(requests)} rolling requests, {disable_tqdm=}")


def likelihoods(model: Any, batch: Batch) -> Tensor:
    """Of each row's supervised tokens: summed log p, and how many are not the likeliest; float64 [rows, 2]."""
    _, head = decoder_and_head(model)
    states = hidden_states(model, batch)[batch.positions]
    parts = [
        _token_likelihoods(head(some).float(), targets)
        for some, targets in zip(torch.split(states, _CHUNK), torch.split(batch.targets, _CHUNK), strict=True)
    ]
    tokens = torch.cat(parts)
    return torch.zeros(batch.size, 2, dtype=tokens.dtype, device=tokens.device).index_add(0, batch.rows, tokens)


def _token_likelihoods(logits: Tensor, targets: Tensor) -> Tensor:
    """Log p of each target and whether another token is likelier, float64 [n, 2], from logits [n, v]."""
    chosen = logits.log_softmax(-1).gather(1, targets[:, None]).squeeze(1)
    return torch.stack([chosen.double(), (logits.argmax(-1) != targets).double()], dim=1)
