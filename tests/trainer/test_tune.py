"""Every objective from the base to a saved adapter, in process: what is learnt, measured, saved and resumed."""

import json
import math

import pytest
import torch
from objective_jobs import LABELS, OBJECTIVES, MemoryCheckpoints, make_job
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from finetune_api.spec.training import Validation
from finetune_trainer.artifact import load_artifact
from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.item import Item
from finetune_trainer.errors import SettingsError, StopRequested
from finetune_trainer.evaluate.examiner import Bench
from finetune_trainer.evaluate.following import make_measure
from finetune_trainer.evaluate.watch import Watch
from finetune_trainer.objectives.choose import sample_loss
from finetune_trainer.parent import AdapterConfig, ParentAdapter
from finetune_trainer.tune import EXAMPLES, tune

EVERY = pytest.mark.parametrize("name", OBJECTIVES)


@pytest.fixture(scope="module")
def tuned(tiny_model_dir, tmp_path_factory):
    """Each objective's job, run once."""
    done = {}

    def run(name):
        if name not in done:
            job = make_job(name, tiny_model_dir, tmp_path_factory.mktemp(name))
            done[name] = (job, tune(job))
        return done[name]

    return run


def metrics(job):
    return {metric.name: metric for metric in job.context.draft.report.evaluation.metrics}


@EVERY
def test_the_tuned_model_beats_the_base_on_what_it_has_learnt(tuned, name):
    job, _ = tuned(name)
    assert metrics(job)["loss"].verdict == "better"
    report = job.context.draft.report
    assert report.training.steps == job.checkpoints.states[-1].counters.step


HEADLINES = {
    "sft": ("exact_match", ["few_shot"]),
    "continued-pretraining": ("loss", []),
    "head": ("accuracy", ["majority", "few_shot"]),
    "generative": ("accuracy", ["majority", "few_shot"]),
    "preference": ("pair_accuracy", []),
    "reward": ("pair_accuracy", []),
}


@EVERY
def test_each_objective_has_its_headline_its_rivals_and_its_slices(tuned, name):
    job, _ = tuned(name)
    evaluation = job.context.draft.report.evaluation
    headline, rivals = HEADLINES[name]
    assert evaluation.metrics[0].name == headline
    assert [rival.name for rival in evaluation.metrics[0].rivals] == rivals
    assert evaluation.rows == 16
    assert {part.name: part.rows for part in evaluation.slices} == {"animals": 13, "test-1": 3}
    examples = [json.loads(line) for line in (job.context.work_dir / EXAMPLES).read_text().splitlines()]
    assert len(examples) == 16
    assert evaluation.labels == (LABELS if name in ("head", "generative") else [])
    assert sum(map(sum, evaluation.confusion)) == (16 if evaluation.labels else 0)


@EVERY
def test_plain_transformers_and_peft_load_the_adapter_and_score_the_same(tuned, tiny_model_dir, name):
    job, result = tuned(name)
    outputs = {"head": 2, "reward": 1}.get(name)
    if outputs:
        base = AutoModelForSequenceClassification.from_pretrained(tiny_model_dir, num_labels=outputs)
    else:
        base = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    plain = PeftModel.from_pretrained(base, str(result.artifacts[0].saved.directory)).eval()
    found = sample_loss(plain, job.context.request.spec.objective, result.sample, 256)
    assert found == pytest.approx(result.artifacts[0].loss, abs=1e-5)
    assert len(result.sample) == 16


@EVERY
def test_a_job_that_is_stopped_in_training_ends_at_the_same_adapter_bit_for_bit(tuned, tiny_model_dir, tmp_path, name):
    _, whole = tuned(name)
    checkpoints = MemoryCheckpoints()
    in_training = []

    def should_stop():
        job = jobs[-1]
        if job.reporter.progress.stage == "training":
            in_training.append(1)
        return len(in_training) > 20

    jobs = []
    jobs.append(make_job(name, tiny_model_dir, tmp_path / "first", checkpoints=checkpoints, should_stop=should_stop))
    with pytest.raises(StopRequested):
        tune(jobs[0])
    assert len(checkpoints.states) == 1
    resumed = make_job(name, tiny_model_dir, tmp_path / "second", checkpoints=checkpoints)
    second = tune(resumed)
    assert resumed.context.draft.report.training.resumed_from_step == checkpoints.states[0].counters.step > 0
    mine, theirs = (
        load_file(each.artifacts[0].saved.directory / "adapter_model.safetensors") for each in (second, whole)
    )
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert second.artifacts[0].loss == whole.artifacts[0].loss


@pytest.mark.parametrize("stage", ["baseline", "evaluating"])
@EVERY
def test_a_stop_request_is_heeded_while_models_are_measured(tiny_model_dir, tmp_path, name, stage):
    jobs = []
    jobs.append(
        make_job(
            name, tiny_model_dir, tmp_path, should_stop=lambda: jobs[0].reporter.progress.stage == stage,
            training={"maxSteps": 1},
        )
    )  # fmt: skip
    with pytest.raises(StopRequested):
        tune(jobs[0])


FOLLOWED = {
    "sft": "token_f1",
    "head": "accuracy",
    "generative": "f1",
    "preference": "pair_accuracy",
    "reward": "pair_accuracy",
}


@pytest.mark.parametrize(("name", "metric"), FOLLOWED.items())
def test_the_best_state_by_a_metric_of_the_validation_rows_becomes_the_artifact(tiny_model_dir, tmp_path, name, metric):
    """Such a metric has ties, so that the first of them is kept, long before the end."""
    followed = {"validation": {"metric": metric, "times": 6, "keep": "best"}}
    training = {"epochs": 100, "maxSteps": 24, "tokensPerStep": 192, "learningRate": 0.02, **followed}
    job = make_job(name, tiny_model_dir, tmp_path, training=training)
    tune(job)
    rows = [json.loads(line) for line in job.reporter.metrics.read_text().splitlines()]
    found = {row["step"]: row[f"validation_{metric}"] for row in rows if f"validation_{metric}" in row}
    assert list(found) == [4, 8, 12, 16, 20, 24]
    assert all(0 <= value <= 1 for value in found.values())
    assert max(found.values()) > 0.4
    best = max(found, key=found.get)
    assert job.context.draft.report.training.kept_step == best


def test_a_followed_metric_is_what_the_plain_way_finds_on_the_validation_rows(tuned, tiny_model_dir):
    job, result = tuned("sft")
    spec = job.context.request.spec
    training = spec.training.model_copy(update={"validation": Validation(metric="exact_match")})
    spec = spec.model_copy(update={"training": training})
    bench = Bench(spec.evaluation, (), job.prepared.encoder.tokenizer, 256, 0, Watch(lambda: None, lambda: False))
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_model_dir), str(result.artifacts[0].saved.directory)
    ).eval()
    found = make_measure(spec, job.prepared, bench).measure(model)
    right = 0
    for item in job.prepared.validation:
        ids, start = item.sequences[0].token_ids.tolist(), int(item.sequences[0].weights.argmax())
        answer = model.generate(
            input_ids=torch.tensor([ids[:start]]),
            max_new_tokens=4,
            do_sample=False,
            eos_token_id=ids[-1],
            pad_token_id=0,
        )[0, start:].tolist()
        right += answer[: len(ids) - start] == ids[start:]
    assert found == right / len(job.prepared.validation)
    assert right > 0


def test_a_metric_of_another_objective_is_refused_before_the_model_is_loaded(tmp_path):
    job = make_job("reward", tmp_path / "no-model", tmp_path, evaluation={"metrics": ["exact_match"]})
    with pytest.raises(SettingsError, match="exact_match"):
        tune(job)


def test_rows_too_long_for_the_model_are_refused_by_the_longest_single_sequence(tiny_model_dir, tmp_path):
    """A pair's two answers are two sequences: they need not fit together."""
    job = make_job("preference", tiny_model_dir, tmp_path, training={"maxSteps": 1})
    items = list(job.prepared.train)
    long = [Tokenized([*row.token_ids, *[5] * 300], [*row.weights, *[1.0] * 300], row.source)
            for row in items[0].sequences]  # fmt: skip
    items[0] = Item(tuple(long))
    assert items[0].length > 512
    vars(job.prepared)["train"] = items  # in the place of the cached property
    tune(job)


@pytest.mark.parametrize("name", ["sft", "head", "preference"])
def test_a_parent_is_measured_before_the_first_step_and_is_where_training_starts(tuned, tiny_model_dir, tmp_path, name):
    earlier, result = tuned(name)
    directory = result.artifacts[0].saved.directory
    config = AdapterConfig.model_validate_json((directory / "adapter_config.json").read_text())
    parent = ParentAdapter("s3://team/earlier/", directory, config, "sha256:0")
    job = make_job(name, tiny_model_dir, tmp_path, parent=parent, training={"maxSteps": 1, "learningRate": 1e-9})
    tune(job)
    before = metrics(earlier)
    for metric in metrics(job).values():
        rivals = {rival.name: rival.score for rival in metric.rivals}
        assert list(rivals)[-1] == "parent"
        if (name, metric.name) == ("preference", "loss"):
            assert rivals["parent"] == pytest.approx(math.log(2)), "the reference is the parent"
        else:
            assert rivals["parent"] == pytest.approx(before[metric.name].tuned, abs=1e-4)
        assert metric.tuned == pytest.approx(rivals["parent"], abs=1e-4)


class Coin:
    """A benchmark of two questions whose scores are those of a list, one model after the other."""

    name, higher_is_better = "coin", True

    def __init__(self, *scores):
        self._left = list(scores)

    def score(self, model):
        return self._left.pop(0)


def test_a_benchmark_is_put_to_base_parent_and_tuned_model(tuned, tiny_model_dir, tmp_path, monkeypatch):
    directory = tuned("sft")[1].artifacts[0].saved.directory
    config = AdapterConfig.model_validate_json((directory / "adapter_config.json").read_text())
    parent = ParentAdapter("s3://team/earlier/", directory, config, "sha256:0")
    job = make_job("sft", tiny_model_dir, tmp_path, parent=parent, training={"maxSteps": 1})
    monkeypatch.setattr("finetune_trainer.tune.open_questions", lambda _context: [Coin([0, 0], [0, 1], [1, 1])])
    tune(job)
    evaluation = job.context.draft.report.evaluation
    (coin,) = evaluation.benchmarks
    assert (coin.name, coin.baseline, coin.rivals[0].score, coin.tuned) == ("coin", 0, 0.5, 1)
    assert "coin" not in {metric.name for metric in evaluation.metrics}


def test_a_parent_without_the_job_s_head_is_no_rival(tuned, tiny_model_dir, tmp_path):
    directory = tuned("sft")[1].artifacts[0].saved.directory
    config = AdapterConfig.model_validate_json((directory / "adapter_config.json").read_text())
    parent = ParentAdapter("s3://team/earlier/", directory, config, "sha256:0")
    job = make_job("head", tiny_model_dir, tmp_path, parent=parent, training={"maxSteps": 1})
    tune(job)
    assert [rival.name for rival in metrics(job)["accuracy"].rivals] == ["majority", "few_shot"]


@pytest.mark.parametrize("method", ["full", "last-layers"])
@EVERY
def test_a_whole_model_is_loaded_by_others_and_scores_the_same(tiny_model_dir, tmp_path, name, method):
    training = {"maxSteps": 2, "learningRate": 1e-3}
    job = make_job(name, tiny_model_dir, tmp_path, method={"type": method}, training=training)
    result = tune(job)
    assert result.artifacts[0].saved.kind == "model"
    loaded = load_artifact(result.artifacts[0].saved, tiny_model_dir, dtype=torch.float32, device=torch.device("cpu"))
    found = sample_loss(loaded, job.context.request.spec.objective, result.sample, 256)
    assert found == pytest.approx(result.artifacts[0].loss, abs=1e-5)


@EVERY
def test_a_merged_model_is_loaded_by_others_and_scores_as_base_and_adapter_do(tiny_model_dir, tmp_path, name):
    job = make_job(
        name, tiny_model_dir, tmp_path, training={"maxSteps": 2}, output={"uri": "s3://team/out", "merged": True}
    )
    adapter, merged = tune(job).artifacts
    assert (adapter.saved.kind, merged.saved.kind) == ("adapter", "model")
    loaded = load_artifact(merged.saved, tiny_model_dir, dtype=torch.float32, device=torch.device("cpu"))
    sample = list(job.prepared.test[:64])
    found = sample_loss(loaded, job.context.request.spec.objective, sample, 256)
    assert found == pytest.approx(merged.loss, abs=1e-5)
    assert found == pytest.approx(adapter.loss, abs=1e-4)
