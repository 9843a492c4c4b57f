"""Test rows as prompts: what a model is asked, with or without worked examples, and the answer it should give."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from finetune_api.conditions import Reason
from finetune_api.spec.evaluation import Evaluation
from finetune_trainer.data.dialogue import Said
from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.prepared import Prepared
from finetune_trainer.data.problems import RowError, Source
from finetune_trainer.data.rows import Conversation, Labelled, Row, Turn
from finetune_trainer.errors import DataError


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


@dataclass(frozen=True, slots=True)
class LabelPrompts:
    """Each test row once with every label as its answer, in the order of the labels."""

    plain: list[list[Prompt]]
    few_shot: list[list[Prompt]] | None
    """With worked examples as earlier turns; None where `evaluation.fewShot` is 0."""


def make_prompts(prepared: Prepared, evaluation: Evaluation) -> PromptSets:
    """The prompts of at most `evaluation.max_rows` test rows, chosen by hash of their content."""
    rows = [_conversation(row) for row in _choose(prepared.test_rows, evaluation.max_rows)]
    plain = _ask(rows, (), prepared)
    few_shot = None
    if evaluation.few_shot:
        few_shot = _ask(rows, _worked_examples(prepared.examples, evaluation.few_shot), prepared)
    return PromptSets(plain, few_shot, _stop_ids(plain, prepared))


def make_label_prompts(prepared: Prepared, evaluation: Evaluation, labels: Sequence[str]) -> LabelPrompts:
    """The prompts of at most `evaluation.max_rows` test rows, chosen by hash, whose answers are labels."""
    rows = [_conversation(row) for row in _choose(prepared.test_rows, evaluation.max_rows)]
    answered = [_answered(row, label) for row in rows for label in labels]

    def ask(examples: tuple[Turn, ...]) -> list[list[Prompt]]:
        prompts = _ask(answered, examples, prepared, same_prompt=len(labels))
        return [prompts[start : start + len(labels)] for start in range(0, len(prompts), len(labels))]

    few_shot = ask(_worked_examples(prepared.examples, evaluation.few_shot)) if evaluation.few_shot else None
    return LabelPrompts(ask(()), few_shot)


def longest_prompt(prepared: Prepared, evaluation: Evaluation, labels: Sequence[str]) -> int:
    """Tokens of the longest prompt with room for its answer: one of `labels`, or where there are none, a new one."""
    if labels:
        # One label stands for all: thousands of prompts would be made to find a token more.
        sets = make_label_prompts(prepared, evaluation, [max(labels, key=len)])
        asked = [prompt for (prompt,) in (*sets.plain, *(sets.few_shot or []))]
        return max(len(prompt.token_ids) + len(prompt.answer_ids) for prompt in asked)
    plain = make_prompts(prepared, evaluation)
    room = evaluation.max_new_tokens
    return max(
        len(prompt.token_ids) + max(room, len(prompt.answer_ids)) for prompt in (*plain.plain, *(plain.few_shot or []))
    )


def _conversation(row: Row) -> Conversation:
    if isinstance(row, Labelled):
        return row.conversation()
    if isinstance(row, Conversation):
        return row
    raise TypeError(f"{type(row).__name__} rows are not asked")


def _answered(row: Conversation, label: str) -> Conversation:
    return replace(row, turns=(*row.turns[:-1], Turn("assistant", label)))


def _choose(rows: list[Row], most: int) -> list[Row]:
    return rows if len(rows) <= most else sorted(rows, key=_order)[:most]


def _order(row: Row) -> bytes:
    return hashlib.sha256(b"order:" + row.digest()).digest()


def _worked_examples(rows: list[Row], count: int) -> tuple[Turn, ...]:
    """The turns of `count` different training rows, the same for every prompt; their system turns are left out."""
    ordered = sorted({row.digest(): row for row in rows}.values(), key=_order)
    chosen = [_conversation(row) for row in ordered[:count]]
    return tuple(turn for row in chosen for turn in row.turns if turn.role != "system")


def _ask(
    rows: Sequence[Conversation], examples: tuple[Turn, ...], prepared: Prepared, same_prompt: int = 1
) -> list[Prompt]:
    """The rows' prompts; without examples they are cut to `max_tokens` exactly as training rows are.

    So many rows in turn as `same_prompt` says differ in their answers alone, and lose the same part of their prompt.

    Raises:
        DataError: the template does not take the examples before a row, or an answer does not fit.

    """
    dialogue = prepared.dialogue
    encoded = dialogue.encode([_turns(row, examples) for row in rows])
    answers = [0 if isinstance(said, RowError) else said.answer for said in encoded]
    prompts = []
    for index, (row, said) in enumerate(zip(rows, encoded, strict=True)):
        first = index - index % same_prompt
        try:
            if isinstance(said, RowError):
                raise said
            room = max(answers[first : first + same_prompt])
            prompts.append(
                _prompt(row, said if examples else said.shortened(prepared.max_tokens, dialogue.bos_id, room))
            )
        except RowError as error:
            raise _not_asked(row, error) from None
    return prompts


def _not_asked(row: Conversation, error: RowError) -> DataError:
    """Preparing has accepted the row, but not after worked examples nor with every label as its answer."""
    return DataError(
        reason=Reason.DATASET_INVALID,
        message=f"{row.source} cannot be asked in evaluation: {error.problem}",
        advice=f"{error.remedy}; where worked examples are to blame, set evaluation.fewShot to 0",
    )


def _turns(row: Conversation, examples: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """A row's turns after the examples; weights are for learning, an answer is asked for whatever it weighs."""
    system = tuple(turn for turn in row.turns if turn.role == "system")
    turns = (*system, *examples, *row.turns[len(system) :])
    return tuple(replace(turn, weight=1.0) for turn in turns)


def _prompt(row: Conversation, said: Said) -> Prompt:
    ids = said.token_ids.tolist()
    return Prompt(ids[: -said.answer], ids[-said.answer :], row.question, row.answer, row.source)


def _stop_ids(prompts: list[Prompt], prepared: Prepared) -> frozenset[int]:
    """The tokenizer's end of sequence, and the end of turn that the template writes after answers."""
    encoder = prepared.dialogue.encoder
    ends = {prompt.answer_ids[-1] for prompt in prompts}
    return frozenset({encoder.tokenizer.eos_token_id} | (ends & encoder.control_ids))
