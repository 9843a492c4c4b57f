"""From text to token ids: what the user wrote can't forge a turn, and many texts are encoded in one call.

A row may contain `<|im_end|>` as text. Before a template is rendered each such string in the row is replaced by a
private-use placeholder; when the rendered text is encoded, the template's own control tokens become single ids and the
placeholders become the string's ordinary characters.

Texts go straight to the Rust tokenizer inside the one of transformers, whose own call costs half as much again.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finetune_trainer.data.problems import Source
from finetune_trainer.data.rows import Turn

TokenIds = NDArray[np.int32]
Weights = NDArray[np.float32]

_OPEN: Final = "\ue000"
_CLOSE: Final = "\ue001"
_PLACEHOLDER: Final = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")


@dataclass(frozen=True, slots=True, init=False, eq=False)
class Tokenized:
    """One sequence as the model sees it."""

    token_ids: TokenIds
    """int32 [tokens]."""
    weights: Weights
    """float32 [tokens]: what the loss on each token counts, 0 to 1; 0 is not learnt."""
    source: Source

    def __init__(self, token_ids: ArrayLike, weights: ArrayLike, source: Source) -> None:
        object.__setattr__(self, "token_ids", np.asarray(token_ids, dtype=np.int32))
        object.__setattr__(self, "weights", np.asarray(weights, dtype=np.float32))
        object.__setattr__(self, "source", source)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tokenized):
            return NotImplemented
        same = np.array_equal(self.token_ids, other.token_ids) and np.array_equal(self.weights, other.weights)
        return same and self.source == other.source

    __hash__ = None  # type: ignore[assignment]  # arrays can change

    @property
    def targets(self) -> int:
        """Supervised tokens that can be predicted: all but a supervised first one, which has nothing before it."""
        return int(np.count_nonzero(self.weights[1:]))

    @property
    def target_weight(self) -> float:
        """Summed weights of the same tokens."""
        return float(self.weights[1:].sum(dtype=np.float64))


class Encoder:
    """A fast tokenizer that knows which strings are control tokens."""

    def __init__(self, tokenizer: Any, template: str = "") -> None:
        """`template` is the chat template in use: an added token that it writes is a control token too."""
        self.tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        added = tokenizer.added_tokens_decoder.values()
        special = {token.content for token in added if token.special} | set(tokenizer.all_special_tokens)
        written = {token.content for token in added if token.content in template and _is_mark(token.content)}
        self.special_tokens = frozenset(special)
        """Tokens that only templates write."""
        self.control_tokens = frozenset(special | written)
        """The same, and ordinary added tokens that the template gives a meaning, such as `<think>`."""
        self.special_ids = {token: tokenizer.convert_tokens_to_ids(token) for token in special}
        self.control_ids = frozenset(map(tokenizer.convert_tokens_to_ids, self.control_tokens))
        self._strings = [*sorted(self.control_tokens), _OPEN]
        self._special = _any_of(special)
        self._longest_special = max(map(len, special), default=1)
        self._in_answers = _any_of([*special, _OPEN])
        self._elsewhere = _any_of(self._strings)
        self._starts = {string[0] for string in self._strings}
        self._forged = {string: self._as_characters(string) for string in self._strings}
        """Ids of control strings as ordinary characters. Made once, because the last way of making them switches a
        setting of the tokenizer that other threads use."""

    @property
    def adds_bos(self) -> bool:
        """Whether the tokenizer puts its beginning-of-sequence token before text by itself."""
        return self.tokenizer.bos_token_id is not None and self.added_around()[0] == [self.tokenizer.bos_token_id]

    def added_around(self) -> tuple[list[int], list[int]]:
        """Ids that the tokenizer puts before and after text by itself."""
        whole: list[int] = self.tokenizer("a")["input_ids"]
        bare = self.encode("a")
        start = next(place for place in range(len(whole)) if whole[place : place + len(bare)] == bare)
        return whole[:start], whole[start + len(bare) :]

    def escape(self, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
        """The turns with every control string replaced by a placeholder.

        Answers keep tokens that are not special: a model that reasons learns to write `<think>`.
        """
        return tuple(map(self._escape_turn, turns))

    def escape_text(self, text: str) -> str:
        """Text with every control string replaced by a placeholder."""
        return self._elsewhere.sub(self._placeholder, text)

    def last_token(self, text: str) -> tuple[int, str] | None:
        """Where the last special token of rendered text starts, and which it is."""
        found = [(match.start(), match[0]) for match in self._special.finditer(text)]
        return found[-1] if found else None

    def token_at_end(self, text: str) -> str:
        """The special token that rendered text ends with, or nothing."""
        found = self.last_token(text[-self._longest_special :])
        return found[1] if found and text.endswith(found[1]) else ""

    def encode(self, text: str) -> list[int]:
        """Ids of one text; see `encode_all`."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of rendered texts; nothing is added to them, no second beginning-of-sequence token either."""
        plain = [index for index, text in enumerate(texts) if _OPEN not in text]
        if len(plain) == len(texts):
            return self._encode_plain(texts)
        encoded = [[] if _OPEN not in text else self._encode_with_placeholders(text) for text in texts]
        for index, ids in zip(plain, self._encode_plain([texts[index] for index in plain]), strict=True):
            encoded[index] = ids
        return encoded

    def _encode_plain(self, texts: Sequence[str]) -> list[list[int]]:
        # Calls of the wrapping tokenizer leave these set.
        backend = self._backend
        if backend.truncation is not None:
            backend.no_truncation()
        if backend.padding is not None:
            backend.no_padding()
        if backend.encode_special_tokens:
            backend.encode_special_tokens = False
        return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]

    def _encode_with_placeholders(self, text: str) -> list[int]:
        ids: list[int] = []
        # re.split with one group alternates: text, number of a placeholder, text, ...
        for index, piece in enumerate(_PLACEHOLDER.split(text)):
            if index % 2:
                ids += self._forged[self._strings[int(piece)]]
            elif piece:
                ids += self._continued(piece) if index else self._encode_plain([piece])[0]
        return ids

    def _continued(self, text: str) -> list[int]:
        """Ids of text inside a text: some tokenizers put a space before the first word, which is not wanted here."""
        line_end, ids = self._encode_plain(["\n", f"\n{text}"])
        return ids[len(line_end) :] if ids[: len(line_end)] == line_end else self._encode_plain([text])[0]

    def _as_characters(self, string: str) -> list[int]:
        """Ids of a control string as ordinary characters: cut in two, it is no token."""
        if string not in self.control_tokens:
            return self._continued(string)
        for cut in range(1, len(string)):
            parts = string[:cut], string[cut:]
            if not any(self._elsewhere.search(part) for part in parts):
                return [token for part in parts for token in self._continued(part)]
        # A single character cannot be cut. Special tokens can be switched off, for the whole tokenizer at a time.
        ids: list[int] = self.tokenizer(string, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids

    def _escape_turn(self, turn: Turn) -> Turn:
        for start in self._starts:  # far faster than the search for whole strings
            if start in turn.content or start in turn.context:
                break
        else:
            return turn
        control = self._in_answers if turn.role == "assistant" else self._elsewhere
        if not (control.search(turn.content) or control.search(turn.context)):
            return turn
        content, context = control.sub(self._placeholder, turn.content), control.sub(self._placeholder, turn.context)
        return Turn(turn.role, content, context, turn.weight)

    def _placeholder(self, match: re.Match[str]) -> str:
        return f"{_OPEN}{self._strings.index(match[0])}{_CLOSE}"


def _is_mark(token: str) -> bool:
    """Whether an added token can have a meaning in a template: words and runs of spaces are ordinary text."""
    return len(token.strip()) > 1 and not token.isalnum()


def _any_of(strings: Iterable[str]) -> re.Pattern[str]:
    # Longest first, so that a token that contains another is taken whole; (?!) matches nothing.
    return re.compile("|".join(map(re.escape, sorted(strings, key=len, reverse=True))) or "(?!)")
