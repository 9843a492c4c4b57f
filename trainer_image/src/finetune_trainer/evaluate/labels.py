"""`classification`: every model gives each test row one of the labels.

*Language models* (the base, and the tuned one of the generative variant) do not write freely: the likeliest label
counts. A label's likelihood is the product over all its tokens and the end of the turn, not their mean: it is then the
very probability that this label is answered, so that the decision is the model's own. A mean would favour labels whose
last tokens follow from their first.

*The majority* is what a classifier must beat to have learnt anything: the most frequent label of the training rows.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from finetune_api.report import EvaluationResult, RivalName
from finetune_api.spec.training import Classification
from finetune_trainer.data.item import Item
from finetune_trainer.data.prompts import LabelPrompts, Prompt
from finetune_trainer.evaluate.batches import Recording
from finetune_trainer.evaluate.branches import score_branches
from finetune_trainer.evaluate.compare import Example, ExampleResult, Failings, Measured, compare
from finetune_trainer.evaluate.confusion import ACCURACY, METRICS, confusion, tables
from finetune_trainer.evaluate.errors import classify_label
from finetune_trainer.evaluate.examiner import Bench
from finetune_trainer.evaluate.metrics import LOSS, Floats, counted
from finetune_trainer.evaluate.score import in_batches
from finetune_trainer.objectives.pooled import last_scores


class LabelExaminer:
    """Accuracy, precision, recall, F1; the loss is -log of the wanted label's probability among the labels."""

    def __init__(
        self,
        bench: Bench,
        settings: Classification,
        prompts: LabelPrompts,
        items: Sequence[Item],
        *,
        datasets: Sequence[str],
        train: Sequence[Item],
    ) -> None:
        """`items` are the test rows in the order of `prompts`, `datasets` the names of their data sets."""
        self._bench, self._settings, self._prompts = bench, settings, prompts
        self._items, self._datasets = items, datasets
        self._wanted = [item.label for item in items]
        counts = Counter(item.label for item in train)
        self._majority = max(range(len(settings.labels)), key=lambda label: counts[label])

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt with a label."""
        asked = [*self._prompts.plain, *(self._prompts.few_shot or [])]
        longest = max(len(each.token_ids) + len(each.answer_ids) for row in asked for each in row)
        return max(longest, *(item.length for item in self._items))

    def base(self, model: Any) -> Measured:
        """The untouched base model, by label likelihood."""
        return self._likelihood(model, self._prompts.plain, self._bench.of_base)

    def rivals(self, model: Any) -> dict[RivalName, Measured]:
        """The most frequent label, and the base with worked examples in its prompt."""
        found: dict[RivalName, Measured] = {"majority": self._decided([self._majority] * len(self._items), {})}
        if self._prompts.few_shot:
            found["few_shot"] = self._likelihood(model, self._prompts.few_shot, self._bench.of_base)
        return found

    def tuned(self, model: Any, subject: str | None = None) -> Measured:
        """The model with its adapter: by its head, or by label likelihood as the base."""
        if self._settings.variant == "generative":
            return self._likelihood(model, self._prompts.plain, self._bench.recording(subject))
        scores = in_batches(
            model,
            [item.sequences[0] for item in self._items],
            self._bench.batch_tokens,
            lambda rows: last_scores(model, rows, packing=False),
            self._bench.watch.batch,
            recording=self._bench.recording(subject),
        )
        return self._measured(scores.double().log_softmax(1).numpy())

    def compare(
        self, *, baseline: Measured, rivals: Mapping[RivalName, Measured], tuned: Measured
    ) -> tuple[EvaluationResult, list[ExampleResult]]:
        """The asked scores, then the loss; and the tuned model's confusion matrix."""
        labels = self._settings.labels
        examples = [
            Example(str(item.source), row[0].question, labels[item.label], dataset, len(row[0].token_ids))
            for item, row, dataset in zip(self._items, self._prompts.plain, self._datasets, strict=True)
        ]
        metrics = [*(METRICS[name] for name in self._bench.metrics), LOSS]
        classes = [
            classify_label(answer, example.reference) for answer, example in zip(tuned.answers, examples, strict=True)
        ]
        result, rows = compare(
            examples,
            metrics,
            baseline=baseline,
            rivals=rivals,
            tuned=tuned,
            seed=self._bench.seed,
            failings=Failings(classes, ACCURACY, is_labelled=True),
        )
        places = {label: index for index, label in enumerate(labels)}
        decided = np.array([places.get(answer, len(labels)) for answer in tuned.answers])
        matrix = confusion(np.array(self._wanted), decided, len(labels))
        return result.model_copy(update={"labels": labels, "confusion": matrix}), rows

    def _likelihood(self, model: Any, prompts: Sequence[Sequence[Prompt]], recording: Recording) -> Measured:
        rows = [[prompt.scored() for prompt in row] for row in prompts]
        losses = score_branches(model, rows, self._bench.batch_tokens, self._bench.watch.batch, recording)
        return self._measured((-losses).log_softmax(1).numpy())

    def _measured(self, logs: Floats) -> Measured:
        """From log-probabilities [rows, labels]; a row that has none is answered by no label."""
        finite = np.isfinite(logs).all(1)
        decided = np.where(finite, logs.argmax(1), logs.shape[1])
        losses = -logs[np.arange(len(logs)), self._wanted]
        return self._decided(decided.tolist(), {LOSS.name: counted(np.stack([losses, np.ones_like(losses)], axis=1))})

    def _decided(self, decided: Sequence[int], losses: dict[str, Floats]) -> Measured:
        labels = self._settings.labels
        answers = [labels[index] if index < len(labels) else "" for index in decided]
        return Measured(answers, tables(self._wanted, decided, len(labels)) | losses)
