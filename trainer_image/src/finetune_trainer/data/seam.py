"""The seam between prompt and answer: where it is among the tokens, for many exchanges at a time.

Generation starts from the tokens of the prompt alone. A merge across the seam ("a:" + "b" as one token "a:b") would
train on a prompt that generation never sees. So the prompt is encoded by itself, and the answer with the *tail* of its
prompt before it, whose tokens are then taken off: merges and white space inside the answer come out as they do in the
finished conversation. The tail begins with the prompt's last special token, because tokenizers cut text there before
anything is merged; where there is none, with the prompt's last word, put behind a special token.

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
    """Special token that the previous answer ends with: the prompt is encoded as it is after it."""
    tail: str
    """Begins with a special token, which is part of the prompt unless `tail_is_put` behind one."""
    tail_is_put: bool


class Seams:
    """Finds seams; remembers the tokens of tails."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._anchor: str = encoder.tokenizer.eos_token
        self._tails: dict[str, list[int]] = {}
        self._last_tail = ""

    def split(self, rendered: Sequence[list[Exchange]]) -> list[Pieces]:
        """Ids of the prompt and the answer of every exchange, conversation after conversation."""
        cuts = [cut for exchanges in rendered for cut in self._cuts(exchanges)]
        self._learn_tails(cuts)
        prompts = self._encode_after([cut.before for cut in cuts], [cut.exchange.prompt for cut in cuts])
        behind = self._encoder.encode_all([cut.tail + cut.exchange.answer for cut in cuts])
        answers = [self._answer(*each) for each in zip(cuts, prompts, behind, strict=True)]
        merged = [index for index, answer in enumerate(answers) if answer is None]
        rest = iter(self._merged_answers([cuts[index] for index in merged], [prompts[index] for index in merged]))
        return [
            (prompt, next(rest) if answer is None else answer) for prompt, answer in zip(prompts, answers, strict=True)
        ]

    def _cuts(self, exchanges: list[Exchange]) -> list[_Cut]:
        cuts: list[_Cut] = []
        before = ""
        for exchange in exchanges:
            if cuts:
                before = self._encoder.token_at_end(cuts[-1].exchange.answer)
            cuts.append(_Cut(exchange, before, *self._tail(exchange.prompt)))
        return cuts

    def _tail(self, prompt: str) -> tuple[str, bool]:
        tail = self._last_tail
        if tail and prompt.endswith(tail):
            return tail, False
        start = self._encoder.last_token(prompt)
        if start is not None:
            self._last_tail = prompt[start:]
            return prompt[start:], False
        words = prompt.rstrip()
        return self._anchor + prompt[max(words.rfind("\n") + 1, words.rfind(" "), 0) :], True

    def _learn_tails(self, cuts: list[_Cut]) -> None:
        known = self._tails if len(self._tails) <= _TAILS_KEPT else {}
        wanted = {cut.tail for cut in cuts}
        new = list(wanted - known.keys())
        known |= zip(new, self._encoder.encode_all(new), strict=True)
        self._tails = known

    def _encode_after(self, tokens: Sequence[str], texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text as they are after a special token, or after nothing."""
        encoded = self._encoder.encode_all([token + text for token, text in zip(tokens, texts, strict=True)])
        for index, token in enumerate(tokens):
            if token and encoded[index][0] == self._encoder.special_ids[token]:
                del encoded[index][0]
            elif token:  # it counts as a token between spaces only
                encoded[index] = self._encoder.encode(texts[index])
        return encoded

    def _answer(self, cut: _Cut, prompt: list[int], behind_tail: list[int]) -> list[int] | None:
        """The answer's own ids, or None where something is merged across an end of the tail."""
        tail = self._tails[cut.tail]
        if behind_tail[: len(tail)] != tail or not self._ends_with_tail(cut, prompt):
            return None
        return behind_tail[len(tail) :] or None

    def _ends_with_tail(self, cut: _Cut, prompt: list[int]) -> bool:
        inside = self._tails[cut.tail][cut.tail_is_put :]
        return prompt[len(prompt) - len(inside) :] == inside

    def _merged_answers(self, cuts: Sequence[_Cut], prompts: Sequence[list[int]]) -> list[list[int]]:
        """Answers that do not stand apart from their tails.

        Where the prompt does end with the tail, the answer has changed the tail, and so the prompt.
        """
        if not cuts:
            return []
        found = self._encode_after([self._anchor] * len(cuts), [cut.exchange.answer for cut in cuts])
        torn = [index for index, cut in enumerate(cuts) if not self._ends_with_tail(cut, prompts[index])]
        wholes = self._encoder.encode_all([cuts[index].exchange.prompt + cuts[index].exchange.answer for index in torn])
        for index, whole in zip(torn, wholes, strict=True):
            size = len(prompts[index])
            if whole[:size] == prompts[index] and len(whole) > size:
                found[index] = whole[size:]
        return found
