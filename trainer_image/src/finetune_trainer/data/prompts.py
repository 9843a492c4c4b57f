"""Test rows as prompts: what a model is asked, with or without worked examples, and the answer it should give."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from finetune_api.spec.evaluation import Evaluation
from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.prepare import Prepared
from finetune_trainer.data.problems import Source
from finetune_trainer.data.rows import Row, Turn


@dataclass(frozen=True, slots=True)
class Prompt:
    """One test row."""

    token_ids: Sequence[int]
    """What the model is given."""
    answer_ids: Sequence[int]
    """The reference with its end-of-turn token, on which the loss is measured."""
    question: str
    """The last turn before the answer, for people."""
    reference: str
    source: Source

    def scored(self) -> Tokenized:
        """Prompt and reference as one sequence, supervised on the reference."""
        weights = [0.0] * len(self.token_ids) + [1.0] * len(self.answer_ids)
        return Tokenized([*self.token_ids, *self.answer_ids], weights, self.source)


@dataclass(frozen=True, slots=True)
class PromptSets:
    """The same test rows as two sets of prompts, in the same order."""

    plain: list[Prompt]
    few_shot: list[Prompt] | None
    """With worked examples as earlier turns; None where `evaluation.fewShot` is 0."""
    stop_ids: frozenset[int]
    """Tokens that end an answer."""


def make_prompts(prepared: Prepared, evaluation: Evaluation) -> PromptSets:
    """The prompts of at most `evaluation.max_rows` test rows, chosen by hash of their content."""
    rows = _choose(prepared.test_rows, evaluation.max_rows)
    plain = [_prompt(row, (), prepared) for row in rows]
    examples = _worked_examples(prepared.examples, evaluation.few_shot)
    few_shot = [_prompt(row, examples, prepared) for row in rows] if evaluation.few_shot else None
    return PromptSets(plain, few_shot, _stop_ids(plain, prepared))


@dataclass(frozen=True, slots=True)
class LabelPrompts:
    """Each test row once with every label as its answer, in the order of the labels."""

    plain: list[list[Prompt]]
    few_shot: list[list[Prompt]] | None
    """With worked examples as earlier turns; None where `evaluation.fewShot` is 0."""


def make_label_prompts(prepared: Prepared, evaluation: Evaluation, labels: Sequence[str]) -> LabelPrompts:
    """The prompts of at most `evaluation.max_rows` test rows, chosen by hash, whose answers are labels."""
    rows = _choose(prepared.test_rows, evaluation.max_rows)
    examples = _worked_examples(prepared.examples, evaluation.few_shot)

    def ask(shown: tuple[Turn, ...]) -> list[list[Prompt]]:
        return [[_prompt(_answered(row, label), shown, prepared) for label in labels] for row in rows]

    return LabelPrompts(ask(()), ask(examples) if evaluation.few_shot else None)


def _answered(row: Row, label: str) -> Row:
    return replace(row, turns=(*row.turns[:-1], Turn("assistant", label)))


def _choose(rows: list[Row], most: int) -> list[Row]:
    return rows if len(rows) <= most else sorted(rows, key=_order)[:most]


def _order(row: Row) -> bytes:
    return hashlib.sha256(b"order:" + row.digest()).digest()


def _worked_examples(rows: list[Row], count: int) -> tuple[Turn, ...]:
    """The turns of `count` different training rows, the same for every prompt; their system turns are left out."""
    ordered = sorted({row.digest(): row for row in rows}.values(), key=_order)
    return tuple(turn for row in ordered[:count] for turn in row.turns if turn.role != "system")


def _prompt(row: Row, examples: tuple[Turn, ...], prepared: Prepared) -> Prompt:
    """A row's prompt; without examples it is cut to `max_tokens` exactly as a training row is."""
    encoder = prepared.encoder
    system = tuple(turn for turn in row.turns if turn.role == "system")
    turns = (*system, *examples, *row.turns[len(system) :])
    *earlier, last = prepared.render(encoder.escape(turns))
    prompt, answer = encoder.encode_exchange(last)
    before = list(encoder.encode_exchanges(earlier, row.source).token_ids)
    whole = [*before, *prompt, *answer]
    scored = Tokenized(whole, [0.0] * (len(whole) - len(answer)) + [1.0] * len(answer), row.source)
    if not examples:
        scored = encoder.shorten(scored, prepared.max_tokens)
    return Prompt(scored.token_ids[: -len(answer)], answer, row.question, row.answer, row.source)


def _stop_ids(prompts: list[Prompt], prepared: Prepared) -> frozenset[int]:
    """The tokenizer's end of sequence, and the end of turn that the template writes after answers."""
    tokenizer = prepared.encoder.tokenizer
    control = {tokenizer.convert_tokens_to_ids(token) for token in prepared.encoder.special_tokens}
    ends = {prompt.answer_ids[-1] for prompt in prompts}
    return frozenset({tokenizer.eos_token_id} | (ends & control))
