"""`preference` and `reward`: two sequences per row, the preferred one first, that share their prompt.

Both are supervised on their answers. A reward model is not: its score is read off the last token, the end of the turn;
there the weights serve to measure the base by the likelihood of the answers.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np

from finetune_api.spec.data import Columns
from finetune_trainer.data.dialogue import Dialogue, Said, answer_too_long
from finetune_trainer.data.formats.base import RawRow
from finetune_trainer.data.instruction import parse_pair
from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import RowError, Source
from finetune_trainer.data.rows import Pair, Row


class PairShape:
    """Rows of `preference` and `reward`."""

    def __init__(self, dialogue: Dialogue, max_tokens: int) -> None:
        self._dialogue, self._max_tokens = dialogue, max_tokens

    def parse(self, raw: RawRow, columns: Columns | None, source: Source) -> Pair:
        """The pair that an object holds."""
        return parse_pair(raw, columns, source)

    def encode(self, rows: Sequence[Row]) -> list[list[Item] | RowError]:
        """One item per row; where it is too long, both sequences lose the same start of the prompt."""
        pairs = cast("Sequence[Pair]", rows)
        conversations = [each.turns for pair in pairs for each in pair.conversations()]
        said = iter(self._dialogue.encode_last(conversations))
        return [self._item(pair, next(said), next(said)) for pair in pairs]

    def _item(self, pair: Pair, chosen: Said | RowError, rejected: Said | RowError) -> list[Item] | RowError:
        if isinstance(chosen, RowError):
            return chosen
        if isinstance(rejected, RowError):
            return rejected
        if np.array_equal(chosen.token_ids, rejected.token_ids):
            return RowError("the template makes chosen and rejected the same text", "remove the row")
        prompt = len(chosen.token_ids) - chosen.answer
        if not np.array_equal(
            chosen.token_ids[:prompt], rejected.token_ids[: len(rejected.token_ids) - rejected.answer]
        ):
            return RowError("the template gives chosen and rejected different prompts", "mend the template")
        return self._shortened(pair, chosen, rejected, prompt)

    def _shortened(self, pair: Pair, chosen: Said, rejected: Said, prompt: int) -> list[Item] | RowError:
        longest = max(chosen.answer, rejected.answer)
        cut = max(0, prompt + longest - self._max_tokens)
        kept = int(cut > 0 and chosen.token_ids[0] == self._dialogue.bos_id)
        if cut and longest + kept >= self._max_tokens:
            return answer_too_long(longest, self._max_tokens)
        sequences = [said.without(kept, cut).tokenized(pair.source) for said in (chosen, rejected)]
        return [Item(tuple(sequences), cut=cut)]
