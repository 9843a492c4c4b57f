"""What each objective measures of a model, checked against the same thing worked out one row at a time."""

import math
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from finetune_api.report import EvaluationResult
from finetune_api.spec.evaluation import METRICS, Evaluation
from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.spec.training import Classification
from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import Source
from finetune_trainer.data.prompts import LabelPrompts, Prompt
from finetune_trainer.errors import SettingsError, StopRequested
from finetune_trainer.evaluate.choose import dataset_names, make_examiner
from finetune_trainer.evaluate.examiner import Bench
from finetune_trainer.evaluate.labels import LabelExaminer
from finetune_trainer.evaluate.names import metric_names
from finetune_trainer.evaluate.pairs import PreferenceExaminer, RewardExaminer
from finetune_trainer.evaluate.text import TextExaminer
from finetune_trainer.evaluate.watch import Watch
from finetune_trainer.head import Head, put_head

LABELS = ["a", "b", "c"]
ANSWERS = [[10, 1], [11, 12, 13, 1], [14, 15, 1]]
"""The tokens of each label and the end of the turn."""


def bench(tokenizer, *metrics, should_stop=lambda: False):
    return Bench(
        evaluation=Evaluation(few_shot=0), metrics=metrics, tokenizer=tokenizer, batch_tokens=64, seed=0,
        watch=Watch(lambda: None, should_stop),
    )  # fmt: skip


def spec(**sections):
    return FinetuneJobSpec.model_validate(
        {
            "model": {"uri": "s3://team/base"},
            "data": {"train": [{"uri": "s3://team/train/"}]},
            "output": {"uri": "s3://team/out"},
            **sections,
        }
    )


@torch.no_grad()
def log_probability(model, row):
    """Of the supervised tokens, the plain way: (sum, count)."""
    ids = torch.tensor(row.token_ids)
    logs = model(input_ids=ids[None]).logits[0, :-1].log_softmax(1).gather(1, ids[1:, None])[:, 0]
    chosen = torch.tensor(row.weights[1:]) > 0
    return float(logs[chosen].sum()), int(chosen.sum())


# Continued pre-training


def text_examiner(tokenizer, rows, datasets=None):
    items = [Item((Tokenized(row.token_ids, [1.0] * len(row.token_ids), row.source),)) for row in rows]
    return TextExaminer(bench(tokenizer), items, datasets or ["train-0"] * len(items)), items


def test_text_is_measured_by_its_loss_first_then_by_perplexity(tiny_model, tokenizer, make_rows):
    asked, items = text_examiner(tokenizer, make_rows(5))
    base = asked.base(tiny_model)
    result, rows = asked.compare(baseline=base, rivals=asked.rivals(tiny_model), tuned=base)
    sums = [log_probability(tiny_model, item.sequences[0]) for item in items]
    expected = -sum(total for total, _ in sums) / sum(count for _, count in sums)
    loss, perplexity = result.metrics
    assert (loss.name, perplexity.name) == ("loss", "perplexity")
    assert loss.baseline == pytest.approx(expected, rel=1e-5)
    assert perplexity.baseline == pytest.approx(math.exp(expected), rel=1e-5)
    assert rows[0].prompt == tokenizer.decode(items[0].sequences[0].token_ids)
    assert list(rows[0].scores) == ["loss"]


def test_forgetting_shows_on_the_data_set_that_it_happens_on(tiny_model, tokenizer, make_rows):
    asked, _ = text_examiner(tokenizer, make_rows(4), ["domain", "replay", "domain", "replay"])
    base = asked.base(tiny_model)
    table = base.tables["loss"].copy()
    table[[0, 2], 0] *= 0.5
    table[[1, 3], 0] *= 1.5
    tuned = type(base)(base.answers, {"loss": table, "perplexity": table})
    result, _ = asked.compare(baseline=base, rivals={}, tuned=tuned)
    domain, replay = result.slices
    assert (domain.name, replay.name) == ("domain", "replay")
    assert domain.tuned == pytest.approx(0.5 * domain.baseline)
    assert replay.tuned == pytest.approx(1.5 * replay.baseline)


def test_a_stop_request_ends_measuring_between_two_batches(tiny_model, tokenizer, make_rows):
    items = [Item((row,)) for row in make_rows(20)]
    polls = []

    def should_stop():
        polls.append(1)
        return len(polls) == 2

    asked = TextExaminer(bench(tokenizer, should_stop=should_stop), items, ["train-0"] * 20)
    tiny_model.train()
    with pytest.raises(StopRequested, match="asked to stop"):
        asked.base(tiny_model)
    assert len(polls) == 2
    assert tiny_model.training, "the model is left as it was found"


# Classification


def label_prompts(rows):
    return [
        [Prompt(row.token_ids, answer, "q", label, row.source) for label, answer in zip(LABELS, ANSWERS, strict=True)]
        for row in rows
    ]


def label_examiner(tokenizer, rows, wanted, *, variant="head", train=(0, 0, 1), few_shot=None, metrics=("accuracy",)):
    items = [Item((row,), label=label) for row, label in zip(rows, wanted, strict=True)]
    training = [Item((rows[0],), label=label) for label in train]
    settings = Classification(labels=LABELS, variant=variant)
    prompts = LabelPrompts(label_prompts(rows), few_shot)
    datasets = ["test-0"] * len(rows)
    return LabelExaminer(bench(tokenizer, *metrics), settings, prompts, items, datasets=datasets, train=training)


def likeliest(model, rows):
    """Labels by the probability that exactly the label is answered, one at a time; and its -log among the labels."""
    decided, logs = [], []
    for row in label_prompts(rows):
        sums = np.array([log_probability(model, prompt.scored())[0] for prompt in row])
        decided.append(int(sums.argmax()))
        logs.append(sums - np.logaddexp.reduce(sums))
    return decided, np.array(logs)


def test_the_base_answers_the_label_that_it_would_most_likely_write(tiny_model, tokenizer, make_rows):
    rows, wanted = make_rows(8), [0, 1, 2, 0, 1, 2, 0, 1]
    found = label_examiner(tokenizer, rows, wanted).base(tiny_model)
    decided, logs = likeliest(tiny_model, rows)
    assert found.answers == [LABELS[label] for label in decided]
    assert found.tables["loss"][:, 0].tolist() == pytest.approx((-logs[range(8), wanted]).tolist(), rel=1e-4)
    assert found.tables["accuracy"][:, 0].tolist() == [float(a == b) for a, b in zip(decided, wanted, strict=True)]


def test_the_generative_variant_measures_base_and_tuned_alike(tiny_model, tokenizer, make_rows):
    asked = label_examiner(tokenizer, make_rows(4), [0, 1, 2, 0], variant="generative")
    assert asked.base(tiny_model).answers == asked.tuned(tiny_model).answers


@torch.no_grad()
def test_a_head_answers_its_highest_score(tiny_model, tokenizer, make_rows):
    rows, wanted = make_rows(6), [0, 1, 2, 0, 1, 2]
    model = put_head(tiny_model, Head(tuple(LABELS)), 3)
    found = label_examiner(tokenizer, rows, wanted).tuned(model)
    scores = torch.stack([model(input_ids=torch.tensor(row.token_ids)[None]).logits[0] for row in rows])
    assert found.answers == [LABELS[label] for label in scores.argmax(1)]
    expected = torch.nn.functional.cross_entropy(scores, torch.tensor(wanted), reduction="none")
    assert found.tables["loss"][:, 0].tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_the_majority_is_that_of_the_training_rows_and_has_no_loss(tiny_model, tokenizer, make_rows):
    asked = label_examiner(tokenizer, make_rows(4), [0, 1, 2, 2], train=(2, 1, 1, 0))
    rivals = asked.rivals(tiny_model)
    assert list(rivals) == ["majority"]
    assert rivals["majority"].answers == ["b"] * 4
    assert "loss" not in rivals["majority"].tables


def test_worked_examples_make_the_base_a_rival(tiny_model, tokenizer, make_rows):
    rows, others = make_rows(3), make_rows(3, seed=4)
    few_shot = [
        [Prompt([*a.token_ids, *b.token_ids], each.answer_ids, "q", each.reference, b.source) for each in prompts]
        for a, b, prompts in zip(others, rows, label_prompts(rows), strict=True)
    ]
    asked = label_examiner(tokenizer, rows, [0, 1, 2], few_shot=few_shot)
    rivals = asked.rivals(tiny_model)
    assert list(rivals) == ["majority", "few_shot"]
    assert not np.allclose(rivals["few_shot"].tables["loss"], asked.base(tiny_model).tables["loss"])
    assert asked.longest == max(len(row[1].token_ids) + 4 for row in few_shot)


def test_the_comparison_of_classifiers_has_a_confusion_matrix_of_the_tuned_model(tiny_model, tokenizer, make_rows):
    rows, wanted = make_rows(6), [0, 1, 2, 0, 1, 2]
    asked = label_examiner(tokenizer, rows, wanted, metrics=("f1", "accuracy", "precision", "recall"))
    base, tuned = asked.base(tiny_model), asked.tuned(put_head(tiny_model, Head(tuple(LABELS)), 3))
    result, examples = asked.compare(baseline=base, rivals=asked.rivals(tiny_model), tuned=tuned)
    assert [metric.name for metric in result.metrics] == ["f1", "accuracy", "precision", "recall", "loss"]
    intervals = {metric.name: metric.interval for metric in result.metrics}
    assert intervals == {"f1": "bootstrap", "accuracy": "tango", "precision": "bootstrap", "recall": "bootstrap",
                         "loss": "bootstrap"}  # fmt: skip
    assert all(metric.low <= metric.delta <= metric.high for metric in result.metrics)
    assert result.labels == LABELS
    assert [sum(row) for row in result.confusion] == [2, 2, 2]
    accuracy = sum(result.confusion[label][label] for label in range(3)) / 6
    assert result.metrics[1].tuned == pytest.approx(accuracy)
    assert examples[4].reference == "b"
    assert examples[4].tuned == tuned.answers[4]
    assert list(examples[4].scores) == ["accuracy", "loss"], "a single row has no F1"


def test_a_row_without_finite_scores_is_answered_by_no_label_and_counts_as_wrong(tiny_model, tokenizer, make_rows):
    asked = label_examiner(tokenizer, make_rows(2), [0, 1])
    model = put_head(tiny_model, Head(tuple(LABELS)), 3)
    with torch.no_grad():
        model.score.weight.fill_(math.nan)
    tuned = asked.tuned(model)
    result, _ = asked.compare(baseline=asked.base(tiny_model), rivals={}, tuned=tuned)
    assert tuned.answers == ["", ""]
    assert result.confusion == [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert result.metrics[0].tuned == 0
    assert result.metrics[-1].tuned == 57
    assert result.error_classes == {"empty": 2}
    assert EvaluationResult.model_validate_json(result.model_dump_json()) == result, "every number is one in JSON too"


# Preference and reward


def pairs(rows):
    return [Item(pair) for pair in zip(rows[::2], rows[1::2], strict=True)]


def test_a_language_model_prefers_the_answer_with_the_likelier_tokens_however_long(tiny_model, tokenizer, make_rows):
    items = pairs(make_rows(20))
    found = PreferenceExaminer(bench(tokenizer), items, ["test-0"] * 10, 0.5).base(tiny_model)
    for item, answer in zip(items, found.answers, strict=True):
        won, lost = (total / count for total, count in (log_probability(tiny_model, row) for row in item.sequences))
        assert answer == ("chosen" if won > lost else "rejected")
    assert 0 < found.tables["pair_accuracy"][:, 0].mean() < 1


def test_the_loss_of_preference_tuning_is_measured_against_where_it_starts(tiny_model, tokenizer, make_rows):
    asked = PreferenceExaminer(bench(tokenizer), pairs(make_rows(8)), ["test-0"] * 4, 0.5)
    base = asked.base(tiny_model)
    with torch.no_grad():
        tiny_model.lm_head.weight.mul_(1.5)
    tuned = asked.tuned(tiny_model)
    result, rows = asked.compare(baseline=base, rivals={}, tuned=tuned)
    accuracy, loss = result.metrics
    assert (accuracy.name, loss.name) == ("pair_accuracy", "loss")
    assert loss.baseline == pytest.approx(math.log(2))
    margins = 0.5 * (tuned.tables["margin"] - base.tables["margin"])
    assert loss.tuned == pytest.approx(float(np.log1p(np.exp(-margins)).mean()))
    assert {row.baseline for row in rows} <= {"chosen", "rejected"}
    warm, _ = asked.compare(baseline=base, rivals={"parent": tuned}, tuned=tuned)
    assert warm.metrics[1].tuned == pytest.approx(math.log(2)), "with a parent, that is where it starts"
    assert warm.metrics[1].baseline != pytest.approx(math.log(2))


def test_a_pair_without_finite_scores_is_decided_wrongly_and_stays_in_the_mean(tiny_model, tokenizer, make_rows):
    asked = PreferenceExaminer(bench(tokenizer), pairs(make_rows(8)), ["test-0"] * 4, 0.5)
    base = asked.base(tiny_model)
    with torch.no_grad():
        tiny_model.lm_head.weight.fill_(math.nan)
    result, rows = asked.compare(baseline=base, rivals={}, tuned=asked.tuned(tiny_model))
    assert [row.tuned for row in rows] == ["rejected"] * 4
    assert [metric.tuned for metric in result.metrics] == [0, 57]
    assert result.rows == 4


def test_a_preference_example_shows_prompt_and_preferred_answer(tiny_model, tokenizer, make_rows):
    items = pairs(make_rows(2))
    asked = PreferenceExaminer(bench(tokenizer), items, ["test-0"], 0.5)
    base = asked.base(tiny_model)
    _, (row,) = asked.compare(baseline=base, rivals={}, tuned=base)
    chosen = items[0].sequences[0]
    start = list(chosen.weights).index(True)
    assert row.prompt == tokenizer.decode(chosen.token_ids[:start])
    assert row.reference == tokenizer.decode(chosen.token_ids[start:], skip_special_tokens=True)


@torch.no_grad()
def test_a_reward_model_prefers_its_higher_score_and_two_equal_ones_are_wrong(tiny_model, tokenizer, make_rows):
    items = pairs(make_rows(6))
    items.append(Item((items[0].sequences[0], items[0].sequences[0])))
    asked = RewardExaminer(bench(tokenizer), items, ["test-0"] * 4)
    base = asked.base(tiny_model)
    model = put_head(tiny_model, Head(("reward",)), 3)
    found = asked.tuned(model)
    scores = [
        [float(model(input_ids=torch.tensor(row.token_ids)[None]).logits) for row in item.sequences] for item in items
    ]
    assert found.answers[:3] == ["chosen" if won > lost else "rejected" for won, lost in scores[:3]]
    assert found.answers[3] == "rejected"
    expected = [math.log1p(math.exp(lost - won)) for won, lost in scores]
    assert found.tables["loss"][:, 0].tolist() == pytest.approx(expected, abs=1e-4)
    result, _ = asked.compare(baseline=base, rivals={}, tuned=found)
    assert [metric.name for metric in result.metrics] == ["pair_accuracy", "loss"]


# Names


@pytest.mark.parametrize("objective", [name for name, allowed in METRICS.items() if "exact_match" not in allowed])
def test_a_metric_that_the_objective_does_not_have_is_refused_with_those_that_it_has(objective):
    more = {"classification": {"labels": ["a", "b"]}} if objective == "classification" else {}
    job = spec(objective={"type": objective, **more}, evaluation={"metrics": ["exact_match"]})
    with pytest.raises(SettingsError, match=r"evaluation\.metrics: exact_match") as caught:
        metric_names(job)
    assert all(name in caught.value.advice for name in METRICS[objective])


def test_empty_means_all_of_the_objective_s_metrics_but_chrf():
    assert metric_names(spec()) == ("exact_match", "token_f1", "rouge_l")
    assert metric_names(spec(objective={"type": "reward"})) == ("pair_accuracy",)
    assert metric_names(spec(evaluation={"metrics": ["chrf", "exact_match", "chrf"]})) == ("chrf", "exact_match")


def test_metric_names_are_known_without_torch():
    code = "import sys; import finetune_trainer.evaluate.names; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_data_sets_are_named_by_the_user_or_by_their_place():
    items = [Item((Tokenized([1], [1.0], Source("x", 1)),), dataset=index) for index in (1, 0)]
    two = [{"uri": "s3://team/a/", "name": "faq"}, {"uri": "s3://team/b/"}]
    cut = spec(data={"train": two})
    listed = spec(data={"train": [{"uri": "s3://team/t/"}], "test": two})
    assert dataset_names(cut, items) == ["train-1", "faq"]
    assert dataset_names(listed, items) == ["test-1", "faq"]


def test_at_most_so_many_test_items_are_chosen_by_content_wherever_they_stand(tokenizer, make_rows):
    items = [Item((row,)) for row in make_rows(30)]
    asked = {"data": {"train": [{"uri": "s3://team/train/"}]}, "objective": {"type": "continued-pretraining"}}

    def measured(test):
        small = Evaluation(max_rows=7)
        prepared = SimpleNamespace(test=test, train=test)
        return make_examiner(spec(**asked), prepared, replace(bench(tokenizer), evaluation=small))._items

    forwards, backwards = measured(items), measured(items[::-1])
    assert len(forwards) == 7
    assert forwards == backwards
    arrays = [
        Item((Tokenized(np.array(row.token_ids, np.int32), np.array(row.weights, np.float32), row.source),))
        for row in (item.sequences[0] for item in items)
    ]
    assert [item.source for item in measured(arrays)] == [item.source for item in forwards]
