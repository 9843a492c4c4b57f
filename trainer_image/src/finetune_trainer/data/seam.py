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
from os.path import commonprefix
from typing import Final

from finetune_trainer.data.encode import Encoder
from finetune_trainer.data.template import Exchange

_TAILS_KEPT: Final = 4096
"""A template has one or two tails; those of plain text differ from row to row."""

Pieces = tuple[list[int], list[int]]
"""Ids of a prompt and of its answer."""
_Tails = dict[str, list[int]]
"""Ids of each tail."""


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
    """Finds seams, in several threads if need be; remembers the tokens of tails."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._anchor: str = encoder.tokenizer.eos_token
        self._tails: _Tails = {}

    def split(self, rendered: Sequence[list[Exchange]]) -> list[Pieces]:
        """Ids of the prompt and the answer of every exchange, conversation after conversation."""
        cuts = self._cuts(rendered)
        tails = self._tails_of(cuts)
        prompts, behind = self._encode(cuts)
        answers = [_answer(*each, tails) for each in zip(cuts, prompts, behind, strict=True)]
        merged = [index for index, answer in enumerate(answers) if answer is None]
        rest = iter(
            self._merged_answers([cuts[index] for index in merged], [prompts[index] for index in merged], tails)
        )
        return [
            (prompt, next(rest) if answer is None else answer) for prompt, answer in zip(prompts, answers, strict=True)
        ]

    def _cuts(self, rendered: Sequence[list[Exchange]]) -> list[_Cut]:
        cuts: list[_Cut] = []
        tail = ""
        for exchanges in rendered:
            before = ""
            for exchange in exchanges:
                if tail and exchange.prompt.endswith(tail):  # nearly always, where there is a template
                    cuts.append(_Cut(exchange, before, tail, tail_is_put=False))
                else:
                    cuts.append(_Cut(exchange, before, *self._tail(exchange.prompt)))
                    tail = "" if cuts[-1].tail_is_put else cuts[-1].tail
                if exchange is not exchanges[-1]:
                    before = self._encoder.token_at_end(exchange.answer)
        return cuts

    def _tail(self, prompt: str) -> tuple[str, bool]:
        found = self._encoder.last_token(prompt)
        if found:
            return prompt[found[0] :], False
        words = prompt.rstrip()
        return self._anchor + prompt[max(words.rfind("\n") + 1, words.rfind(" "), 0) :], True

    def _tails_of(self, cuts: Sequence[_Cut]) -> _Tails:
        """Ids of the tails of some cuts, at least."""
        known = self._tails if len(self._tails) <= _TAILS_KEPT else {}
        new = [tail for tail in {cut.tail for cut in cuts} if tail not in known]
        known.update(zip(new, self._encoder.encode_all(new), strict=True))
        self._tails = known
        return known

    def _encode(self, cuts: Sequence[_Cut]) -> tuple[list[list[int]], list[list[int]]]:
        """Ids of the prompts, and of the answers behind their tails.

        The head that many conversations begin with is encoded once.
        """
        head, head_ids = self._shared_head([cut.exchange.prompt for cut in cuts if not cut.before])
        has_head = [bool(head) and not cut.before and cut.exchange.prompt.startswith(head) for cut in cuts]
        rests = [cut.exchange.prompt[len(head) * has :] for cut, has in zip(cuts, has_head, strict=True)]
        behind = [cut.tail + cut.exchange.answer for cut in cuts]
        # All in one call, so that the tokenizer's threads wait for each other once.
        encoded = self._encode_after([cut.before for cut in cuts] + [""] * len(cuts), rests + behind)
        prompts = [head_ids + ids if has else ids for ids, has in zip(encoded, has_head, strict=False)]
        return prompts, encoded[len(cuts) :]

    def _shared_head(self, prompts: Sequence[str]) -> tuple[str, list[int]]:
        """What two of the prompts begin with, a system message say, up to a special token; and its ids.

        Text before a special token and text from it on have the same tokens apart as together.
        """
        pair = [prompts[0], prompts[len(prompts) // 2]] if len(prompts) > 1 else [""]
        common = commonprefix(pair)  # noqa: RUF071  of texts, character by character
        start, token = self._encoder.last_token(common) or (0, "")
        if not start:
            return "", []
        *ids, last = self._encoder.encode(common[:start] + token)
        return (common[:start], ids) if last == self._encoder.special_ids[token] else ("", [])

    def _encode_after(self, tokens: Sequence[str], texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text as they are after a special token, or after nothing."""
        encoded = self._encoder.encode_all([token + text for token, text in zip(tokens, texts, strict=True)])
        for index, token in enumerate(tokens):
            if token and encoded[index][0] == self._encoder.special_ids[token]:
                del encoded[index][0]
            elif token:  # it counts as a token between spaces only
                encoded[index] = self._encoder.encode(texts[index])
        return encoded

    def _merged_answers(self, cuts: Sequence[_Cut], prompts: Sequence[list[int]], tails: _Tails) -> list[list[int]]:
        """Answers that do not stand apart from their tails.

        Where the prompt does end with the tail, the answer has changed the tail, and so the prompt.
        """
        if not cuts:
            return []
        found = self._encode_after([self._anchor] * len(cuts), [cut.exchange.answer for cut in cuts])
        torn = [index for index, cut in enumerate(cuts) if not _ends_with_tail(cut, prompts[index], tails)]
        wholes = self._encoder.encode_all([cuts[index].exchange.prompt + cuts[index].exchange.answer for index in torn])
        for index, whole in zip(torn, wholes, strict=True):
            size = len(prompts[index])
            if whole[:size] == prompts[index] and len(whole) > size:
                found[index] = whole[size:]
        return found


def _answer(cut: _Cut, prompt: list[int], behind_tail: list[int], tails: _Tails) -> list[int] | None:
    """The answer's own ids, or None where something is merged across an end of the tail."""
    tail = tails[cut.tail]
    if behind_tail[: len(tail)] != tail or not _ends_with_tail(cut, prompt, tails):
        return None
    return behind_tail[len(tail) :] or None


def _ends_with_tail(cut: _Cut, prompt: list[int], tails: _Tails) -> bool:
    inside = tails[cut.tail][cut.tail_is_put :]
    return prompt[len(prompt) - len(inside) :] == inside
