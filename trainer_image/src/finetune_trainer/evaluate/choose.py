"""From `spec.objective` to how its models are measured; the one place that knows them all."""

import hashlib
from collections.abc import Sequence

import numpy as np

from finetune_api.spec.data import Dataset
from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.spec.training import Classification
from finetune_trainer.data.item import Item
from finetune_trainer.data.prepared import Prepared
from finetune_trainer.data.problems import Source
from finetune_trainer.data.prompts import make_label_prompts, make_prompts
from finetune_trainer.evaluate.answers import AnswerExaminer
from finetune_trainer.evaluate.examiner import Bench, Examiner
from finetune_trainer.evaluate.labels import LabelExaminer
from finetune_trainer.evaluate.pairs import PreferenceExaminer, RewardExaminer
from finetune_trainer.evaluate.text import TextExaminer


def make_examiner(spec: FinetuneJobSpec, prepared: Prepared, bench: Bench) -> Examiner:
    """Measures an objective's models on at most `evaluation.max_rows` test rows, chosen by hash of their content."""
    objective = spec.objective
    if objective.type == "sft":
        prompts = make_prompts(prepared, bench.evaluation)
        items = _by_source(prepared.test, [prompt.source for prompt in prompts.plain])
        return AnswerExaminer(bench, prompts, dataset_names(spec, items))
    if objective.classification is not None:
        return _label_examiner(spec, objective.classification, prepared, bench)
    items = _choose(prepared.test, bench.evaluation.max_rows)
    datasets = dataset_names(spec, items)
    if objective.type == "preference":
        return PreferenceExaminer(bench, items, datasets, objective.preference.beta)
    if objective.type == "reward":
        return RewardExaminer(bench, items, datasets)
    return TextExaminer(bench, items, datasets)


def dataset_names(spec: FinetuneJobSpec, items: Sequence[Item]) -> list[str]:
    """The name of each test item's data set; test rows cut from the training data belong to those."""
    side, listed = ("test", spec.data.test) if spec.data.test else ("train", spec.data.train)
    names = [_name(dataset, f"{side}-{index}") for index, dataset in enumerate(listed)]
    return [names[item.dataset] for item in items]


def _name(dataset: Dataset, otherwise: str) -> str:
    return dataset.name or otherwise


def _label_examiner(
    spec: FinetuneJobSpec, classification: Classification, prepared: Prepared, bench: Bench
) -> LabelExaminer:
    prompts = make_label_prompts(prepared, bench.evaluation, classification.labels)
    items = _by_source(prepared.test, [row[0].source for row in prompts.plain])
    datasets = dataset_names(spec, items)
    return LabelExaminer(bench, classification, prompts, items, datasets=datasets, train=prepared.train)


def _by_source(items: Sequence[Item], sources: Sequence[Source]) -> list[Item]:
    """The items of the rows that prompts were made from, in their order."""
    found = {item.source: item for item in items}
    return [found[source] for source in sources]


def _choose(items: Sequence[Item], most: int) -> list[Item]:
    return list(items) if len(items) <= most else sorted(items, key=_order)[:most]


def _order(item: Item) -> bytes:
    ids = [np.asarray(sequence.token_ids, np.int32).tobytes() for sequence in item.sequences]
    return hashlib.sha256(b"order:" + b"".join(ids)).digest()
