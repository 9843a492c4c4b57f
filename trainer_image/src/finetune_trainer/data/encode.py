"""From text to tokens: what the user wrote can't forge a turn, and training sees the prompt exactly as generation does.

*Control tokens.* A row may contain `<|im_end|>` as text. Before a template is rendered each such string in the row is
replaced by a private-use placeholder; when the rendered text is encoded, the template's own control tokens become
single ids and the placeholders become the string's ordinary characters (`split_special_tokens`).

*The seam.* Prompt and answer are encoded together, as they are when a server renders a finished conversation. Where
a merge across the seam would change the prompt's own tokens they are encoded apart, because generation starts from
the prompt's tokens.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from finetune_trainer.data.problems import RowError, Source
from finetune_trainer.data.rows import Turn
from finetune_trainer.data.template import Exchange

_OPEN: Final = "\ue000"
_CLOSE: Final = "\ue001"
_PLACEHOLDER: Final = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")


@dataclass(frozen=True, slots=True)
class Tokenized:
    """One row as the model sees it."""

    token_ids: Sequence[int]
    weights: Sequence[float]
    """What the loss on each token counts, 0 to 1; 0 is not learnt. As long as `token_ids`."""
    source: Source

    @property
    def targets(self) -> int:
        """Supervised tokens that can be predicted: all but a supervised first one, which has nothing before it."""
        return sum(weight > 0 for weight in self.weights[1:])

    @property
    def target_weight(self) -> float:
        """Summed weights of the same tokens."""
        return float(sum(self.weights[1:]))


class Encoder:
    """A fast tokenizer that knows which strings are control tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder.values()
        self.special_tokens = frozenset(
            {token.content for token in added if token.special} | set(tokenizer.all_special_tokens)
        )
        self._strings = [*sorted(self.special_tokens), _OPEN]
        # Longest first, so that a token that contains another is taken whole.
        longest_first = sorted(self._strings, key=len, reverse=True)
        self._control = re.compile("|".join(re.escape(string) for string in longest_first))

    def escape(self, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
        """The turns with every control string replaced by a placeholder."""
        return tuple(Turn(turn.role, self._escape(turn.content), self._escape(turn.context)) for turn in turns)

    def encode(self, text: str) -> list[int]:
        """Ids of rendered text; nothing is added to it, no second beginning-of-sequence token either."""
        ids: list[int] = []
        # re.split with one group alternates: text, number of a placeholder, text, ...
        for index, piece in enumerate(_PLACEHOLDER.split(text)):
            forged = index % 2 == 1
            plain = self._strings[int(piece)] if forged else piece
            if plain:
                ids += self.tokenizer(plain, add_special_tokens=False, split_special_tokens=forged)["input_ids"]
        return ids

    def encode_exchange(self, exchange: Exchange) -> tuple[list[int], list[int]]:
        """Ids of prompt and answer."""
        prompt = self.encode(exchange.prompt)
        joint = self.encode(exchange.prompt + exchange.answer)
        if joint[: len(prompt)] == prompt and len(joint) > len(prompt):
            return prompt, joint[len(prompt) :]
        return prompt, self.encode(exchange.answer)

    def encode_exchanges(self, exchanges: list[Exchange], source: Source) -> Tokenized:
        """A whole conversation, supervised on its answers."""
        ids: list[int] = []
        weights: list[float] = []
        for exchange in exchanges:
            prompt, answer = self.encode_exchange(exchange)
            ids += prompt + answer
            weights += [0.0] * len(prompt) + [1.0] * len(answer)
        return Tokenized(ids, weights, source)

    def shorten(self, row: Tokenized, max_tokens: int) -> Tokenized:
        """The row without the start of its prompt where it is too long; a beginning-of-sequence token stays.

        Raises:
            RowError: the answer alone does not fit, so that cutting would leave nothing to answer to.

        """
        excess = len(row.token_ids) - max_tokens
        if excess <= 0:
            return row
        kept = list(row.token_ids[:1]) if row.token_ids[0] == self.tokenizer.bos_token_id else []
        start = excess + len(kept)
        answer = len(row.weights) - _start_of_last_answer(row.weights)
        if answer + len(kept) >= max_tokens:
            raise RowError(
                f"the answer has {answer} tokens and leaves no room for its prompt in data.maxTokens = {max_tokens}",
                "shorten the answer or raise data.maxTokens",
            )
        weights = [0.0] * len(kept) + list(row.weights[start:])
        return Tokenized(kept + list(row.token_ids[start:]), weights, row.source)

    def _escape(self, text: str) -> str:
        return self._control.sub(lambda match: f"{_OPEN}{self._strings.index(match[0])}{_CLOSE}", text)


def _start_of_last_answer(weights: Sequence[float]) -> int:
    start = len(weights)
    while start > 0 and weights[start - 1] > 0:
        start -= 1
    return start
