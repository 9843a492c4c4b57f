"""What was measured is found again, by the next attempt and by other jobs; what cannot be trusted is measured anew."""

import json
import re
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from s3_server import S3Server
from trainer_run import Bench as Runs
from trainer_run import add_rows

from finetune_api.exit_codes import ExitCode
from finetune_api.layout import OutputLayout
from finetune_api.spec.evaluation import Evaluation
from finetune_api.spec.model import Storage as StorageSpec
from finetune_trainer.data.problems import Source
from finetune_trainer.data.prompts import Prompt, PromptSets
from finetune_trainer.errors import StopRequested
from finetune_trainer.evaluate.answers import AnswerExaminer
from finetune_trainer.evaluate.batches import BASE, Work
from finetune_trainer.evaluate.examiner import Bench
from finetune_trainer.evaluate.fingerprint import fingerprint
from finetune_trainer.evaluate.keep import Machine, Part, S3Keeper, work_key
from finetune_trainer.evaluate.watch import Watch
from finetune_trainer.output import remove_checkpoints
from finetune_trainer.prepared_store import UNUSED_SECONDS, remove_unused
from finetune_trainer.storage import Storage

MACHINE = Machine("sha256:base", "sha256:job", "cpu, 1 threads, torch.float32")
BATCHES = 7 + 2
"""Of `PROMPTS`: 13 answers two at a time, and their references, at most 64 tokens together."""
PROMPTS = [
    Prompt([5 + n, *range(6, 8 + n % 5)], [8, 9 + n, 1], "q", "r", Source("test.jsonl", n + 1)) for n in range(13)
]


@pytest.fixture
def context(s3: S3Server, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """A job's surroundings with an output of its own."""
    settings = StorageSpec.model_validate({"endpoint": s3.endpoint})
    storage = Storage.connect(
        settings, credentials_dir=s3.credentials_dir, ca_file=tmp_path / "ca.crt", check=lambda: None
    )
    name = f"kept-{abs(hash(request.node.nodeid))}"
    spec = SimpleNamespace(data=SimpleNamespace(prepared_uri=f"s3://team/{name}/shared"))
    job = SimpleNamespace(spec=spec, namespace="team", name="job")
    layout = OutputLayout.of(f"s3://team/{name}/out")
    return SimpleNamespace(storage=storage, layout=layout, request=job, clock=lambda: "2026-01-31T12:00:00Z")


class Measuring:
    """An examiner that counts its batches, and is asked to stop after some of them."""

    def __init__(self, context: Any, tokenizer: Any, *, stop_after: int | None = None, metrics: Any = ("chrf",)):
        self.computed = 0
        keeper = S3Keeper(context, MACHINE)
        evaluation = Evaluation(max_new_tokens=8, batch_size=2)
        watch = Watch(self._count, lambda: self.computed == stop_after)
        bench = Bench(evaluation, metrics, tokenizer, batch_tokens=64, seed=0, watch=watch, keeper=keeper)
        self.examiner = AnswerExaminer(bench, PromptSets(PROMPTS, None, frozenset({1})), ["test-0"] * 13)

    def _count(self) -> None:
        self.computed += 1


def same(some: Any, other: Any) -> bool:
    """Whether two measurements are equal to the last bit."""
    tables = all(some.tables[name].tobytes() == table.tobytes() for name, table in other.tables.items())
    return tables and (some.answers, some.finished) == (other.answers, other.finished)


def objects(context: Any, prefix: str) -> list[str]:
    return [item.uri for item in context.storage.list_objects(prefix)]


@pytest.fixture
def whole(tiny_model: Any, tokenizer: Any) -> Any:
    """The base measured without a break, and nothing kept."""
    unkept = Bench(
        Evaluation(max_new_tokens=8, batch_size=2), ("chrf",), tokenizer, 64, 0, Watch(lambda: None, lambda: False)
    )
    return AnswerExaminer(unkept, PromptSets(PROMPTS, None, frozenset({1})), ["test-0"] * 13).base(tiny_model)


@pytest.mark.parametrize("stops", [[1], [4], [7], [8], [2, 1, 3, 2]])
def test_stopped_after_any_batch_it_ends_where_unbroken_work_does_and_does_no_batch_twice(
    context, tokenizer, tiny_model, whole, stops
):
    computed = 0
    for stop in stops:
        measuring = Measuring(context, tokenizer, stop_after=stop)
        with pytest.raises(StopRequested):
            measuring.examiner.tuned(tiny_model, "weights")
        computed += measuring.computed
    last = Measuring(context, tokenizer)
    assert same(last.examiner.tuned(tiny_model, "weights"), whole)
    assert computed + last.computed == BATCHES
    assert objects(context, f"{context.layout.root}/") == objects(context, context.layout.evaluations) != []
    remove_checkpoints(context.storage, context.layout)
    assert objects(context, context.layout.evaluations) == []


def test_a_killed_process_loses_at_most_half_a_minute(context):
    now = 0.0
    keeper = S3Keeper(context, MACHINE, clock=lambda: now)
    work = Work("weights", "answers", [[1]] * 4, {}, [(0,), (1,), (2,), (3,)])
    killed = keeper.open(work)
    tape = killed.__enter__()
    for number in range(4):
        tape.add((number,), [[number]])
        now += 15
    with keeper.open(work) as later:
        assert [later.find((number,)) for number in range(4)] == [[[0]], [[1]], [[2]], None]


def test_a_second_job_on_the_same_base_and_rows_asks_the_model_nothing(context, tokenizer, tiny_model, whole):
    assert same(Measuring(context, tokenizer).examiner.base(tiny_model), whole)
    another = SimpleNamespace(**{**vars(context), "layout": OutputLayout.of("s3://team/another/out")})
    second = Measuring(another, tokenizer, metrics=("chrf", "exact_match"))
    with torch.no_grad():
        tiny_model.lm_head.weight.fill_(torch.nan)  # whatever it would say now is not what is told
    found = second.examiner.base(tiny_model)
    assert second.computed == 0
    assert same(found, whole)
    assert len(found.tables["exact_match"]) == 13, "another metric is computed from the same answers"
    assert objects(context, "s3://team/another/out/") == [], "nothing of it lies in the job's own output"


def test_what_was_measured_of_a_tuned_model_is_not_shared(context, tokenizer, tiny_model):
    Measuring(context, tokenizer).examiner.tuned(tiny_model, "weights")
    assert objects(context, f"{context.request.spec.data.prepared_uri}/") == []
    before = objects(context, context.layout.evaluations)
    Measuring(context, tokenizer).examiner.tuned(tiny_model, None)
    assert objects(context, context.layout.evaluations) == before, "without a fingerprint nothing is kept"


def tampered(content: bytes) -> bytes:
    part = json.loads(content)
    part["batches"][0]["found"][0][-1] += 1
    return json.dumps(part).encode()


def foreign(content: bytes) -> bytes:
    """A whole object, with a digest that is right, of other work."""
    part = Part.model_validate(json.loads(content))
    return Part.of("0" * 64, {tuple(batch.rows): batch.found for batch in part.batches}).dump()


DAMAGES = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
    "another number": tampered,
    "of other work": foreign,
    "no JSON": lambda _: b"\xff\xfe",
    "another shape": lambda _: b'{"key": 3}',
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_result_that_is_damaged_or_of_something_else_is_measured_anew(context, tokenizer, tiny_model, whole, kind):
    Measuring(context, tokenizer).examiner.base(tiny_model)
    kept = objects(context, f"{context.request.spec.data.prepared_uri}/")
    measured = [uri for uri in kept if uri.endswith("measured.json")]
    assert len(measured) == 2, "answers, and losses"
    for uri in measured:
        context.storage.write(uri, DAMAGES[kind](context.storage.read(uri)))
    again = Measuring(context, tokenizer)
    assert same(again.examiner.base(tiny_model), whole)
    assert again.computed == BATCHES
    mended = Measuring(context, tokenizer)
    mended.examiner.base(tiny_model)
    assert mended.computed == 0


def test_what_nobody_used_for_30_days_is_removed_with_unused_prepared_data(context, tokenizer, tiny_model):
    Measuring(context, tokenizer).examiner.base(tiny_model)
    root = f"{context.request.spec.data.prepared_uri}/"
    written = context.storage.list_objects(root)
    now = max(item.modified for item in written)
    remove_unused(context.storage, root, "", now + UNUSED_SECONDS - 60)
    assert objects(context, root) == [item.uri for item in written]
    remove_unused(context.storage, root, "", now + UNUSED_SECONDS + 60)
    assert objects(context, root) == []


def test_numbers_come_back_bit_for_bit():
    numbers = [0.1, -0.0, 5e-324, 1.7976931348623157e308, float(np.float32(0.3)), 3, float("inf")]
    part = Part.of("key", {(0, 4): [numbers, [float("nan")]]})
    found = Part.parse(part.dump(), "key").batches[0]
    assert found.rows == [0, 4]
    assert list(map(repr, found.found[0])) == list(map(repr, numbers))
    assert repr(found.found[1]) == "[nan]"


WORK = Work(BASE, "answers", [[1, 2], [3]], {"max_new_tokens": 8}, [(0,), (1,)])
OTHERS = {
    "other weights": (replace(WORK, subject="weights"), MACHINE),
    "another kind": (replace(WORK, kind="losses"), MACHINE),
    "other tokens": (replace(WORK, rows=[[1, 2], [4]]), MACHINE),
    "tokens divided otherwise": (replace(WORK, rows=[[1], [2, 3]]), MACHINE),
    "longer answers": (replace(WORK, settings={"max_new_tokens": 9}), MACHINE),
    "other batches": (replace(WORK, plan=[(0, 1)]), MACHINE),
    "another base": (WORK, replace(MACHINE, base="sha256:other")),
    "another number format": (WORK, replace(MACHINE, arithmetic="cpu, 1 threads, torch.bfloat16")),
}


@pytest.mark.parametrize("difference", OTHERS)
def test_everything_that_decides_the_numbers_decides_the_key(difference):
    assert work_key(*OTHERS[difference]) != work_key(WORK, MACHINE)


def test_the_job_decides_the_key_of_what_it_has_tuned_and_not_that_of_the_base():
    other = replace(MACHINE, job="sha256:other")
    assert work_key(WORK, other) == work_key(WORK, MACHINE)
    tuned = replace(WORK, subject="weights")
    assert work_key(tuned, other) != work_key(tuned, MACHINE)


def test_a_fingerprint_is_of_the_named_weights_and_of_every_bit(tiny_model):
    names = {name for name, _ in tiny_model.named_parameters() if "q_proj" in name}
    before = fingerprint(tiny_model, names)
    with torch.no_grad():
        tiny_model.lm_head.weight[0, 0] += 1
    assert fingerprint(tiny_model, names) == before
    with torch.no_grad():
        weight = tiny_model.model.layers[1].self_attn.q_proj.weight
        weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0))
    assert fingerprint(tiny_model, names) != before
    assert fingerprint(tiny_model.bfloat16(), names) != before


def test_a_run_that_is_stopped_while_it_evaluates_goes_on_with_the_rows_that_are_missing(bench: Runs) -> None:
    slow = {"evaluation": {"maxNewTokens": 24, "batchSize": 1, "fewShot": 0}, "training": {"maxSteps": 2}}
    bench.put_rows("evaluated", add_rows(400))
    work = bench.validated("evaluated", **slow)
    for seconds in (0.1, 1, 2, 4, 8):
        run = bench.start(work)
        run.wait_for(lambda progress: progress.stage == "evaluating")
        time.sleep(seconds)  # an answer or two, however slow the machine; or else the next time
        run.stop(signal.SIGTERM)
        stopped = run.wait()
        assert (stopped.code, stopped.report.outcome) == (ExitCode.PREEMPTED, "preempted")
        if bench.s3.keys("s3://team/evaluated/out/evaluations/"):
            break
    second = bench.run(work)
    assert second.code == ExitCode.SUCCESS, second.output
    measured = re.findall(r"(\d+) of (\d+) batches were measured before", second.output)
    (answers, losses), tuned = measured[:2], measured[2:]
    assert answers[0] == answers[1], "all of the base"
    assert losses[0] == losses[1]
    assert 0 < int(tuned[-1][0]) < int(tuned[-1][1]), "a part of the tuned model"
    assert second.report.training.resumed_from_step == 2
    assert bench.s3.keys("s3://team/evaluated/out/evaluations/") == []
