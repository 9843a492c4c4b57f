"""The seam between prompt and answer: where it is among the tokens, for many exchanges at a time.

Generation starts from the tokens of the prompt alone. A merge across the seam ("a:" + "b" as one token "a:b") would
train on a prompt that generation never sees. So the prompt is encoded by itself, and the answer with the *tail* of its
prompt before it, whose tokens are then taken off: merges and white space inside the answer come out as they do in the
finished conversation. The tail begins with the prompt's last control token, because tokenizers cut text there before
anything is merged; where there is none, with the prompt's last line.

Where the tail has other tokens by itself than at the end of the prompt or before the answer, something is merged
across its ends. Prompt and answer are then encoded together, and only if that changes the prompt, apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from finetune_trainer.data.encode import Encoder
from finetune_trainer.data.template import Exchange

_TAILS_KEPT: Final = 4096
"""A template has one or two tails; those of plain text differ from row to row."""

Pieces = tuple[list[int], list[int]]
"""Ids of a prompt and of its answer."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """An exchange whose seam is looked for."""

    exchange: Exchange
    before: str
    """Control token that the previous answer ends with: the prompt is encoded as it is after it."""
    tail: str

    @property
    def texts(self) -> tuple[str, str]:
        return self.before + self.exchange.prompt, self.tail + self.exchange.answer


class Seams:
    """Finds seams; remembers the tokens of tails."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._tails: dict[str, list[int]] = {}

    def split(self, rendered: Sequence[list[Exchange]]) -> list[Pieces]:
        """Ids of the prompt and the answer of every exchange, conversation after conversation."""
        cuts = [cut for exchanges in rendered for cut in self._cuts(exchanges)]
        self._learn_tails(cuts)
        encoded = self._encoder.encode_all([text for cut in cuts for text in cut.texts])
        found = [self._pieces(cut, *encoded[2 * index : 2 * index + 2]) for index, cut in enumerate(cuts)]
        merged = [index for index, pieces in enumerate(found) if pieces is None]
        for index, pieces in zip(merged, self._split_merged([cuts[index].exchange for index in merged]), strict=True):
            found[index] = pieces
        return [pieces for pieces in found if pieces is not None]

    def _cuts(self, exchanges: list[Exchange]) -> list[_Cut]:
        cuts, before = [], ""
        for exchange in exchanges:
            cuts.append(_Cut(exchange, before, self._tail(exchange.prompt)))
            before = self._encoder.token_at_end(exchange.answer)
        return cuts

    def _tail(self, prompt: str) -> str:
        start = self._encoder.last_token(prompt)
        if start is None:
            start = prompt.rstrip().rfind("\n") + 1
        return prompt[start:]

    def _learn_tails(self, cuts: list[_Cut]) -> None:
        if len(self._tails) > _TAILS_KEPT:
            self._tails.clear()
        new = list({cut.tail for cut in cuts} - self._tails.keys())
        self._tails.update(zip(new, self._encoder.encode_all(new), strict=True))

    def _pieces(self, cut: _Cut, prompt: list[int], answer: list[int]) -> Pieces | None:
        """None where something is merged across an end of the tail."""
        tail = self._tails[cut.tail]
        if cut.before:
            if prompt[:1] != [self._encoder.special_ids.get(cut.before)]:
                return None
            prompt = prompt[1:]
        size = len(tail)
        if answer[:size] != tail or len(answer) == size or prompt[len(prompt) - size :] != tail:
            return None
        return prompt, answer[size:]

    def _split_merged(self, exchanges: list[Exchange]) -> list[Pieces]:
        prompts = self._encoder.encode_all([each.prompt for each in exchanges])
        wholes = self._encoder.encode_all([each.prompt + each.answer for each in exchanges])
        answers = self._encoder.encode_all([each.answer for each in exchanges])
        pieces = []
        for prompt, whole, answer in zip(prompts, wholes, answers, strict=True):
            size = len(prompt)
            pieces.append((prompt, whole[size:] if whole[:size] == prompt and len(whole) > size else answer))
        return pieces
