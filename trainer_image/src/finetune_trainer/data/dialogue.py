"""Conversations as token ids, many at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np

from finetune_api.spec.data import Template
from finetune_trainer.data.encode import Encoder, TokenIds, Tokenized, Weights
from finetune_trainer.data.problems import RowError, Source
from finetune_trainer.data.rows import Turn
from finetune_trainer.data.seam import Pieces, Seams
from finetune_trainer.data.template import Exchange, chat_template_source, make_render

Supervise = Literal["assistant", "last-turn", "all"]


@dataclass(frozen=True, slots=True)
class Said:
    """One conversation as token ids."""

    token_ids: TokenIds
    weights: Weights
    answer: int
    """Tokens of the last answer, at the end."""

    def tokenized(self, source: Source) -> Tokenized:
        """The same as a sequence to learn from."""
        return Tokenized(self.token_ids, self.weights, source)

    def shortened(self, max_tokens: int, bos_id: int | None, room: int = 0) -> "Said":
        """Without the start of its prompt where it is too long; a beginning-of-sequence token stays.

        The prompt is made to fit with an answer of `room` tokens, if that is longer than the conversation's own.

        Raises:
            RowError: the answer alone does not fit, or nothing that is left would be learnt.

        """
        answer = max(self.answer, room)
        cut = len(self.token_ids) - self.answer + answer - max_tokens
        if cut <= 0:
            return self
        kept = int(self.token_ids[0] == bos_id)
        if answer + kept >= max_tokens:
            raise answer_too_long(answer, max_tokens)
        short = self.without(kept, cut)
        if not short.weights[1:].any():
            raise RowError(
                f"only its earlier answers are learnt, and data.maxTokens = {max_tokens} cuts them off",
                "give the last answer a weight above 0, shorten the row or raise data.maxTokens",
            )
        return short

    def without(self, start: int, count: int) -> "Said":
        """Without `count` tokens from `start` on, which all belong to the prompt of the last answer."""
        gone = slice(start, start + count)
        return Said(np.delete(self.token_ids, gone), np.delete(self.weights, gone), self.answer)


def answer_too_long(tokens: int, max_tokens: int) -> RowError:
    """An answer that cutting would leave without a prompt."""
    return RowError(
        f"the answer has {tokens} tokens and leaves no room for its prompt in data.maxTokens = {max_tokens}",
        "shorten the answer or raise data.maxTokens",
    )


class Dialogue:
    """Renders and encodes conversations as `spec.data.template` says."""

    def __init__(self, template: Template, tokenizer: Any) -> None:
        """Take a fast tokenizer of transformers.

        Raises:
            SettingsError: the tokenizer lacks what the template needs, or the user's own cannot be used.

        """
        source, _ = chat_template_source(template, tokenizer)
        self.encoder = Encoder(tokenizer, source or "")
        self.bos_id: int | None = tokenizer.bos_token_id
        self._render = make_render(template, self.encoder)
        self._supervise = template.supervise
        self._seams = Seams(self.encoder)

    def encode(self, conversations: Sequence[tuple[Turn, ...]]) -> list[Said | RowError]:
        """Each conversation as the model sees it, supervised as the template says; or why it cannot be used."""
        return self._encode(conversations, self._supervise)

    def encode_last(self, conversations: Sequence[tuple[Turn, ...]]) -> list[Said | RowError]:
        """The same, always supervised on the last answer alone."""
        return self._encode(conversations, "last-turn")

    def _encode(self, conversations: Sequence[tuple[Turn, ...]], supervise: Supervise) -> list[Said | RowError]:
        rendered = [self._try_to_render(turns, last_only=supervise == "last-turn") for turns in conversations]
        good = [exchanges for exchanges in rendered if not isinstance(exchanges, RowError)]
        pieces = iter(self._seams.split(good))
        return [
            each if isinstance(each, RowError) else _join(each, list(islice(pieces, len(each))), supervise == "all")
            for each in rendered
        ]

    def _try_to_render(self, turns: tuple[Turn, ...], *, last_only: bool) -> list[Exchange] | RowError:
        try:
            return self._render(self.encoder.escape(turns), last_only)
        except RowError as error:
            return error


def _join(exchanges: list[Exchange], pieces: list[Pieces], learns_all: bool) -> Said:
    ids: list[int] = []
    answers = []
    for exchange, (prompt, answer) in zip(exchanges, pieces, strict=True):
        ids += prompt
        answers.append((len(ids), len(ids) + len(answer), exchange.weight))
        ids += answer
    weights = (np.ones if learns_all else np.zeros)(len(ids), np.float32)
    if not learns_all:
        for start, end, weight in answers:
            weights[start:end] = weight
    return Said(np.array(ids, np.int32), weights, len(pieces[-1][1]))
