"""What one row teaches, encoded: the unit that is planned, packed and counted."""

from dataclasses import dataclass

from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.problems import Source


@dataclass(frozen=True, slots=True)
class Item:
    """One sequence; two for a preference pair, the preferred one first."""

    sequences: tuple[Tokenized, ...]
    label: int = -1
    """Index of the label in the spec's order, for a classifier; -1 where there is none."""
    dataset: int = 0
    """Index of its data set in the list that the spec names it in."""
    cut: int = 0
    """Tokens that its longest sequence lost to `spec.data.maxTokens`."""

    @property
    def source(self) -> Source:
        """The row it was made from."""
        return self.sequences[0].source

    @property
    def length(self) -> int:
        """Tokens of all its sequences."""
        return sum(len(sequence.token_ids) for sequence in self.sequences)
