"""The attempt after one that ran out of memory computes the same steps in smaller pieces."""

from typing import Any

import pytest
from trainer_run import Bench, add_rows

from finetune_api.conditions import Reason
from finetune_api.exit_codes import ExitCode, FailureClass
from finetune_api.report import Failure, TrainerReport

# what the attempt before ended for, whether the next one is frugal
BEFORE: dict[str, tuple[FailureClass, bool]] = {"memory": ("OutOfMemory", True), "storage": ("Infrastructure", False)}


@pytest.mark.parametrize(("failure_class", "is_frugal"), BEFORE.values(), ids=BEFORE)
def test_the_next_attempt_takes_a_quarter_at_once(bench: Bench, failure_class: FailureClass, is_frugal: bool) -> None:
    name = f"after-{failure_class.lower()}"
    bench.put_rows(name, add_rows(40))
    work = bench.validated(name, training={"tokensPerStep": 256})
    bench.s3.put(f"{name}/out/epochs/0001.json", b"{}")
    bench.s3.put(f"{name}/out/runs/0001/report.json", failed(work.spec_digest, failure_class))
    outcome = bench.run(work)
    assert outcome.code == ExitCode.SUCCESS, outcome.output
    assert outcome.report.epoch == 2
    told = (
        "attempt 1 ran out of memory: this one takes micro-batches of 64 tokens instead of 256, and 4 prompts at once"
    )
    assert (told in outcome.output) is is_frugal


def failed(spec_digest: str, failure_class: FailureClass) -> bytes:
    why: dict[str, Any] = {"reason": Reason.INTERNAL, "message": "m", "advice": "a", "retryable": True}
    report = TrainerReport(
        kind="train",
        outcome="failed",
        spec_digest=spec_digest,
        epoch=1,
        failure=Failure(failure_class=failure_class, **why),
    )
    return report.model_dump_json(exclude_none=True).encode()
