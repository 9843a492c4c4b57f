"""Answers, scores and their comparison: the same for every batch size, and nothing left out."""

import numpy as np
import pytest
import torch

from finetune_api.report import EvaluationResult
from finetune_api.spec.evaluation import Evaluation
from finetune_trainer.data.problems import Source
from finetune_trainer.data.prompts import Prompt, PromptSets
from finetune_trainer.errors import StopRequested
from finetune_trainer.evaluate.answers import AnswerExaminer
from finetune_trainer.evaluate.compare import Measured
from finetune_trainer.evaluate.examiner import Bench
from finetune_trainer.evaluate.generate import generate
from finetune_trainer.evaluate.metrics import METRICS, language_tables
from finetune_trainer.evaluate.score import RowLoss
from finetune_trainer.evaluate.watch import Watch

PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12, 13, 14], [15], [16, 17], [9, 9, 9, 9], [200, 100]]


def answers(model, prompts=PROMPTS, *, stop_ids=frozenset({1}), batch_size=16, max_new_tokens=12):
    return generate(
        model, prompts, max_new_tokens=max_new_tokens, stop_ids=stop_ids, batch_size=batch_size,
        on_batch=lambda _rows: None, on_token=lambda: None,
    )  # fmt: skip


@torch.no_grad()
def greedy_by_hand(model, prompt, count):
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(model(torch.tensor(ids)[None]).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def test_batched_answers_equal_those_found_one_token_at_a_time_without_a_cache(tiny_model):
    expected = [greedy_by_hand(tiny_model, prompt, 12) for prompt in PROMPTS]
    for batch_size in (1, 4, 16):
        found = answers(tiny_model, stop_ids=frozenset({319}), batch_size=batch_size)
        for answer, whole in zip(found, expected, strict=True):
            ended = whole.index(319) if 319 in whole else 12
            assert list(answer.token_ids) == whole[:ended]


def test_an_answer_ends_at_any_of_the_stop_tokens(tiny_model):
    free = greedy_by_hand(tiny_model, PROMPTS[0], 12)
    stop = free[3]
    (answer,) = answers(tiny_model, PROMPTS[:1], stop_ids=frozenset({1, stop}))
    assert list(answer.token_ids) == free[: free.index(stop)]
    assert answer.finished
    (endless,) = answers(tiny_model, PROMPTS[:1], stop_ids=frozenset({set(range(320)).difference(free).pop()}))
    assert not endless.finished
    assert len(endless.token_ids) == 12


def test_sampling_settings_of_the_model_s_directory_are_not_used(tiny_model):
    before = answers(tiny_model)
    tiny_model.generation_config.update(do_sample=True, temperature=5.0, repetition_penalty=3.0, min_new_tokens=9)
    assert answers(tiny_model) == before


def prompt(line, question="q", reference="r", token_ids=(5, 6, 7), answer_ids=(8, 1)):
    return Prompt(token_ids, answer_ids, question, reference, Source("test.jsonl", line))


def examiner(
    prompts, tokenizer=None, *, few_shot=None, datasets=None, metrics=("exact_match",), heartbeat=lambda: None,
    should_stop=lambda: False,
):  # fmt: skip
    bench = Bench(
        evaluation=Evaluation(max_new_tokens=8, batch_size=2), metrics=metrics, tokenizer=tokenizer, batch_tokens=64,
        seed=0, watch=Watch(heartbeat, should_stop),
    )  # fmt: skip
    return AnswerExaminer(bench, PromptSets(prompts, few_shot, frozenset({1})), datasets or ["test-0"] * len(prompts))


def test_every_batch_answered_or_scored_is_a_sign_of_life(tiny_model, tokenizer):
    beats = []
    found = examiner([prompt(n) for n in range(5)], tokenizer, heartbeat=lambda: beats.append(1)).base(tiny_model)
    assert len(beats) == 3 + 1, "three batches of two answers, one batch of losses"
    assert len(found.answers) == len(found.tables["loss"]) == len(found.tables["exact_match"]) == 5


def test_a_stop_request_is_honoured_between_two_tokens(tiny_model, tokenizer):
    polls = 0

    def should_stop():
        nonlocal polls
        polls += 1
        return polls > 3

    with pytest.raises(StopRequested):
        examiner([prompt(1)], tokenizer, should_stop=should_stop).base(tiny_model)
    assert polls == 4, "eight tokens were asked for"


def test_worked_examples_are_a_rival_that_sees_other_prompts(tiny_model, tokenizer):
    few_shot = [prompt(1, token_ids=(9, 9, 5, 6, 7))]
    asked = examiner([prompt(1)], tokenizer, few_shot=few_shot)
    rivals = asked.rivals(tiny_model)
    assert list(rivals) == ["few_shot"]
    assert rivals["few_shot"].tables["loss"].tolist() != asked.base(tiny_model).tables["loss"].tolist()
    assert asked.longest == 5 + 8
    assert examiner([prompt(1)], tokenizer).rivals(tiny_model) == {}


NAMES = ("token_f1", "exact_match", "chrf")
ROWS = [prompt(1, reference="dog"), prompt(2, reference="a fox"), prompt(3, reference="cat")]


def result(answers, losses):
    scores = {name: METRICS[name].table(answers, [row.reference for row in ROWS]) for name in NAMES}
    return Measured(answers, scores | language_tables([RowLoss(total, tokens) for total, tokens in losses]))


BASE = result(["dog", "", "dgo"], [(2.0, 1), (9.0, 3), (1.0, 2)])
TUNED = result(["dog", "a fox", "cat"], [(1.0, 1), (3.0, 3), (0.5, 2)])


def test_the_comparison_has_the_asked_metrics_first_then_loss_and_perplexity():
    found, rows = examiner(ROWS, metrics=NAMES).compare(baseline=BASE, rivals={}, tuned=TUNED)
    assert [metric.name for metric in found.metrics] == [*NAMES, "loss", "perplexity"]
    by_name = {metric.name: metric for metric in found.metrics}
    exact, loss = by_name["exact_match"], by_name["loss"]
    assert (exact.baseline, exact.tuned) == pytest.approx((1 / 3, 1.0))
    assert (loss.baseline, loss.tuned) == pytest.approx((12 / 6, 4.5 / 6)), "weighted by tokens"
    assert by_name["perplexity"].tuned == pytest.approx(2.718281828 ** (4.5 / 6))
    assert not loss.higher_is_better
    assert [metric.interval for metric in found.metrics] == ["bootstrap", "tango", *["bootstrap"] * 3]
    assert all(metric.low <= metric.delta <= metric.high for metric in found.metrics)
    assert all(metric.tuned_low <= metric.tuned <= metric.tuned_high for metric in found.metrics)
    assert all(metric.rivals == [] for metric in found.metrics)
    assert [row.source for row in rows] == ["test.jsonl:1", "test.jsonl:2", "test.jsonl:3"]
    exact_of_second = rows[1].scores["exact_match"]
    assert (exact_of_second.baseline, exact_of_second.rivals, exact_of_second.tuned) == (0.0, {}, 1.0)
    assert list(rows[1].scores) == [*NAMES, "loss"]


def test_an_empty_answer_counts_as_wrong_and_stays_in_the_denominator():
    found, _ = examiner(ROWS).compare(baseline=BASE, rivals={}, tuned=BASE)
    assert found.rows == 3
    assert found.metrics[0].tuned == pytest.approx(1 / 3)
    assert found.metrics[0].verdict == "inconclusive"


def test_a_model_that_computes_no_numbers_is_wrong_on_every_row_and_none_is_left_out(tiny_model, tokenizer):
    asked = examiner([prompt(n, reference="dog") for n in range(3)], tokenizer)
    base = asked.base(tiny_model)
    with torch.no_grad():
        tiny_model.lm_head.weight.fill_(torch.nan)
    found, rows = asked.compare(baseline=base, rivals={}, tuned=asked.tuned(tiny_model))
    assert (found.rows, len(rows)) == (3, 3)
    assert [metric.tuned for metric in found.metrics[:2]] == [0, 57]
    assert EvaluationResult.model_validate_json(found.model_dump_json()) == found, "every number is one in JSON too"


def test_the_base_with_worked_examples_is_a_third_model_with_its_own_interval():
    found, rows = examiner(ROWS).compare(baseline=BASE, rivals={"few_shot": TUNED}, tuned=TUNED)
    (rival,) = found.metrics[0].rivals
    assert (rival.name, rival.score) == ("few_shot", 1.0)
    assert rival.low < 0 < rival.high
    assert rows[2].rivals["few_shot"] == "cat"


def test_a_rival_is_left_out_of_a_metric_that_it_does_not_have():
    bare = Measured(BASE.answers, {"exact_match": BASE.tables["exact_match"]})
    found, rows = examiner(ROWS).compare(baseline=BASE, rivals={"majority": bare}, tuned=TUNED)
    assert [len(metric.rivals) for metric in found.metrics] == [1, 0, 0]
    assert rows[0].scores["loss"].rivals == {}


def test_the_headline_is_told_by_data_set_where_there_are_several():
    datasets = ["faq", "replay", "faq"]
    found, rows = examiner(ROWS, datasets=datasets).compare(baseline=BASE, rivals={}, tuned=TUNED)
    faq, replay = found.slices
    assert (faq.name, faq.rows, faq.baseline, faq.tuned) == ("faq", 2, 0.5, 1.0)
    assert (replay.name, replay.rows, replay.baseline, replay.tuned) == ("replay", 1, 0.0, 1.0)
    assert [row.dataset for row in rows] == datasets
    whole, _ = examiner(ROWS).compare(baseline=BASE, rivals={}, tuned=TUNED)
    assert whole.slices == []


def test_every_row_tells_what_tuning_did_to_it_and_how_its_answer_is_wrong():
    tuned = result(["a dog", "a fox", ""], [(1.0, 1), (3.0, 3), (0.5, 2)])
    tuned = Measured(tuned.answers, tuned.tables, [True, False, True])
    found, rows = examiner(ROWS).compare(baseline=BASE, rivals={}, tuned=tuned)
    assert [row.change for row in rows] == ["broken", "fixed", "unchanged"]
    assert [row.classes for row in rows] == [[], [], ["empty"]]
    assert [row.tuned_finished for row in rows] == [True, False, True]
    assert found.changes.model_dump() == {"fixed": 1, "broken": 1, "unchanged": 1}
    assert found.error_classes == {"empty": 1}


def test_the_worst_parts_are_told_by_what_their_rows_have_in_common():
    rows = [prompt(n, reference="dog", token_ids=[5] * (4 if n < 10 else 9)) for n in range(20)]
    scores = [float(n < 10 or n >= 18) for n in range(20)]
    table = np.stack([np.array(scores), np.ones(20)], 1)
    losses = language_tables([RowLoss(1.0, 1)] * 20)
    measured = Measured(["dog"] * 20, {"exact_match": table} | losses)
    datasets = ["faq", "orders"] * 10
    found, _ = examiner(rows, datasets=datasets).compare(baseline=measured, rivals={}, tuned=measured)
    assert [(each.name, each.rows, each.tuned) for each in found.worst_slices] == [("prompt: 9 tokens", 10, 0.2)]
