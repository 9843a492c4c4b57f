"""Answers, scores and their comparison: the same for every batch size, and nothing left out."""

import pytest
import torch

from finetune_api.spec.evaluation import Evaluation
from finetune_trainer.data.problems import Source
from finetune_trainer.data.prompts import Prompt
from finetune_trainer.errors import StopRequested
from finetune_trainer.evaluate.compare import compare
from finetune_trainer.evaluate.generate import generate
from finetune_trainer.evaluate.measure import Measured, measure
from finetune_trainer.evaluate.score import RowLoss

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


def measured(model, tokenizer, prompts, *, progress=None, should_stop=lambda: False):
    return measure(
        model, tokenizer, prompts, evaluation=Evaluation(max_new_tokens=8, batch_size=2), stop_ids=frozenset({1}),
        batch_tokens=64, on_progress=progress or (lambda _done, _total: None), should_stop=should_stop,
    )  # fmt: skip


def test_measuring_reports_progress_to_the_last_row(tiny_model, tokenizer):
    seen = []
    result = measured(tiny_model, tokenizer, [prompt(n) for n in range(5)], progress=lambda *step: seen.append(step))
    assert seen[-1] == (10, 10)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len(result.answers) == len(result.losses) == 5


def test_a_stop_request_is_honoured_between_two_tokens(tiny_model, tokenizer):
    polls = 0

    def should_stop():
        nonlocal polls
        polls += 1
        return polls > 3

    with pytest.raises(StopRequested):
        measured(tiny_model, tokenizer, [prompt(1)], should_stop=should_stop)
    assert polls == 4, "eight tokens were asked for"


def result(answers, losses):
    return Measured(answers, [RowLoss(total, tokens) for total, tokens in losses])


ROWS = [prompt(1, reference="dog"), prompt(2, reference="a fox"), prompt(3, reference="cat")]
BASE = result(["dog", "", "dgo"], [(2.0, 1), (9.0, 3), (1.0, 2)])
TUNED = result(["dog", "a fox", "cat"], [(1.0, 1), (3.0, 3), (0.5, 2)])


def test_the_comparison_has_the_asked_metrics_first_then_loss_and_perplexity():
    metrics = ["token_f1", "exact_match", "chrf"]
    found, rows = compare(ROWS, baseline=BASE, rivals={}, tuned=TUNED, metrics=metrics, seed=0)
    assert [metric.name for metric in found.metrics] == [
        "token_f1",
        "exact_match",
        "chrf",
        "loss",
        "perplexity",
    ]
    by_name = {metric.name: metric for metric in found.metrics}
    exact, loss = by_name["exact_match"], by_name["loss"]
    assert (exact.baseline, exact.tuned) == pytest.approx((1 / 3, 1.0))
    assert (loss.baseline, loss.tuned) == pytest.approx((12 / 6, 4.5 / 6)), "weighted by tokens"
    assert by_name["perplexity"].tuned == pytest.approx(2.718281828 ** (4.5 / 6))
    assert not loss.higher_is_better
    assert [metric.interval for metric in found.metrics] == [
        "bootstrap",
        "tango",
        "bootstrap",
        "bootstrap",
        "bootstrap",
    ]
    assert all(metric.low <= metric.delta <= metric.high for metric in found.metrics)
    assert all(metric.rivals == [] for metric in found.metrics)
    assert [row.source for row in rows] == ["test.jsonl:1", "test.jsonl:2", "test.jsonl:3"]
    exact_of_second = rows[1].scores["exact_match"]
    assert (exact_of_second.baseline, exact_of_second.rivals, exact_of_second.tuned) == (0.0, {}, 1.0)


def test_an_empty_answer_counts_as_wrong_and_stays_in_the_denominator():
    found, _ = compare(ROWS, baseline=BASE, rivals={}, tuned=BASE, metrics=["exact_match"], seed=0)
    assert found.rows == 3
    assert found.metrics[0].tuned == pytest.approx(1 / 3)
    assert found.metrics[0].verdict == "inconclusive"


def test_the_base_with_worked_examples_is_a_third_model_with_its_own_interval():
    found, rows = compare(ROWS, baseline=BASE, rivals={"few_shot": TUNED}, tuned=TUNED, metrics=["exact_match"], seed=0)
    exact = found.metrics[0]
    (rival,) = exact.rivals
    assert (rival.name, rival.score) == ("few_shot", 1.0)
    assert rival.low < 0 < rival.high
    assert rows[2].rivals["few_shot"] == "cat"
