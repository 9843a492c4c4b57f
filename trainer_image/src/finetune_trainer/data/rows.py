"""What a row of each objective holds, whatever format and columns it came in.

Instruction data is a conversation of one exchange, so that templates, splits and evaluation know one shape only.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

from finetune_trainer.data.problems import Source

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message."""

    role: Role
    content: str
    context: str = ""
    """The input that goes with an instruction; templates decide how it is put."""
    weight: float = 1.0
    """What the loss on an assistant's turn counts, 0 to 1."""

    @property
    def text(self) -> str:
        """Content, blank line, context."""
        return f"{self.content}\n\n{self.context}" if self.context else self.content


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns that end with the assistant's: `sft`."""

    turns: tuple[Turn, ...]
    source: Source

    @property
    def answer(self) -> str:
        """The last assistant turn: what generated answers are compared with."""
        return self.turns[-1].content

    @property
    def question(self) -> str:
        """The last turn before the answer."""
        return self.turns[-2].text if len(self.turns) > 1 else ""

    def digest(self) -> bytes:
        """SHA-256 of the content; equal rows in different places have equal digests.

        Weights are left out: a test row is a test row, whatever it counts in the loss.
        """
        return _digest(_content(self.turns))

    def texts(self) -> tuple[str, ...]:
        """Everything in it that a person wrote."""
        return tuple(turn.text for turn in self.turns)


@dataclass(frozen=True, slots=True)
class Text:
    """Raw text: `continued-pretraining`."""

    text: str
    source: Source

    def digest(self) -> bytes:
        """SHA-256 of the content."""
        return _digest(self.text)

    def texts(self) -> tuple[str, ...]:
        """Everything in it that a person wrote."""
        return (self.text,)


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text and its class: `classification`."""

    text: str
    label: str
    source: Source

    def digest(self) -> bytes:
        """SHA-256 of the content."""
        return _digest([self.text, self.label])

    def texts(self) -> tuple[str, ...]:
        """Everything in it that a person wrote; labels are the spec's."""
        return (self.text,)

    def conversation(self) -> Conversation:
        """The text as what the user says, the label as the answer: generative classification."""
        return Conversation((Turn("user", self.text), Turn("assistant", self.label)), self.source)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt, the preferred one first: `preference` and `reward`."""

    prompt: tuple[Turn, ...]
    chosen: str
    rejected: str
    source: Source

    @property
    def question(self) -> str:
        """The last turn of the prompt."""
        return self.prompt[-1].text

    def conversations(self) -> tuple[Conversation, Conversation]:
        """The prompt with each of its answers, the preferred one first."""
        answers = (Turn("assistant", self.chosen), Turn("assistant", self.rejected))
        chosen, rejected = (Conversation((*self.prompt, answer), self.source) for answer in answers)
        return chosen, rejected

    def digest(self) -> bytes:
        """SHA-256 of the content."""
        return _digest([_content(self.prompt), self.chosen, self.rejected])

    def texts(self) -> tuple[str, ...]:
        """Everything in it that a person wrote."""
        return (*(turn.text for turn in self.prompt), self.chosen, self.rejected)


Row = Conversation | Text | Labelled | Pair
"""A row of any objective: its `source`, the `digest()` of its content and the `texts()` that people wrote."""


def _content(turns: tuple[Turn, ...]) -> list[tuple[Role, str]]:
    return [(turn.role, turn.text) for turn in turns]


def _digest(content: object) -> bytes:
    return hashlib.sha256(json.dumps(content).encode()).digest()
