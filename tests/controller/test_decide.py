"""The decision as a whole: whether a policy is asked at all, and what of all policies reaches status."""

import cluster_objects as o
import pytest
from scenarios import COMPLETE, PASSED, TRAIN, TRAINED, VALIDATED, Known, Scenario, check, decide_again, decision, final

from finetune_api.progress import Progress

SCENARIOS = {
    "a complete job whose children are gone stays as it is": Scenario(
        status=final("Complete", "AdapterReady"),
        phase="Complete",
        reason="AdapterReady",
    ),
    "a failed job whose children are gone stays as it is": Scenario(
        status=final("Failed", "Diverged"),
        phase="Failed",
        reason="Diverged",
    ),
    "a resumed final job creates nothing": Scenario(
        status=final("Failed", "Diverged"),
        metadata={"generation": 2},
        phase="Failed",
        reason="Diverged",
    ),
    "a malformed spec fails, naming the field": Scenario(
        spec={"limits": {"retries": "many"}},
        phase="Failed",
        reason="InvalidSpec",
        says="spec.limits.retries",
    ),
    "a spec that was malformed for an earlier operator is taken up": Scenario(
        status=final("Failed", "InvalidSpec") | {"data": None},
        phase="Validating",
        reason="PreflightRunning",
        actions=("create preflight",),
    ),
}


@pytest.mark.parametrize("case", SCENARIOS.values(), ids=SCENARIOS)
def test_scenario(case: Scenario) -> None:
    check(case)


def test_a_deleted_job_is_left_alone() -> None:
    made = decision(Known(metadata={"deletionTimestamp": o.END}))
    assert made.actions == ()
    assert made.milestones == ()


def test_both_reports_of_one_pass_reach_status() -> None:
    jobs = (o.child_job("preflight", COMPLETE), o.child_job("train", COMPLETE))
    status = decision(Known(jobs=jobs, pods=(PASSED, TRAINED))).status
    assert status.data is not None
    assert status.artifact is not None
    assert status.evaluation is not None
    assert status.evaluation.summary == "exact_match 0.05 -> 0.82"
    assert status.phase == "Complete"


def test_a_complete_job_points_to_no_checkpoint_because_the_trainer_has_removed_them() -> None:
    saved = {**VALIDATED, "checkpoint": {"step": 40, "uri": "s3://out/c", "savedAt": o.END}}
    known = Known(status=saved, jobs=(o.child_job("train", COMPLETE),), pods=(TRAINED,))
    assert decision(known).status.checkpoint is None


def test_gpu_time_of_ended_attempts_is_counted_once() -> None:
    known = Known(
        spec={"resources": {"gpus": {"count": 1}}},
        status=VALIDATED,
        jobs=(o.child_job("train", status={"failed": 1}),),
        pods=(o.ended("train", 20, name="a"), o.running("train", name="b")),
    )
    first = decision(known)
    assert [attempt.gpu_seconds for attempt in first.status.attempts] == [600, None]
    assert first.status.gpu_seconds == 600
    assert [attempt.gpu_seconds for attempt in first.status.attempts] == [600, None]
    assert decide_again(known, first).status.gpu_seconds == 600


def test_an_attempt_on_the_cpu_tells_no_gpu_time() -> None:
    known = Known(spec={"resources": {"gpus": {"count": 0}}}, status=VALIDATED, jobs=(TRAIN,), pods=(TRAINED,))
    status = decision(known).status
    assert [attempt.gpu_seconds for attempt in status.attempts] == [None]
    assert status.gpu_seconds == 0


def test_a_running_job_shows_progress_and_checkpoint() -> None:
    progress = Progress.model_validate(
        {
            "stage": "training",
            "step": 42,
            "total_steps": 100,
            "loss": 1.23456,
            "tokens_per_second": 152.7,
            "supervised_tokens_per_second": 61.2,
            "mfu": 0.4567,
            "input_stall": 0.0123,
            "peak_memory_bytes": 5 * 2**30,
            "execution": "micro-batches of 4096 tokens, packed",
            "eta_seconds": 130,
            "checkpoint": {"step": 40, "uri": "s3://out/c", "saved_at": o.END},
        }
    )
    known = Known(status=VALIDATED, jobs=(TRAIN,), pods=(o.running("train"),), progress=progress)
    status = decision(known).status
    assert status.progress is not None
    shown = status.progress.model_dump(exclude={"stage", "step", "total_steps"})
    assert shown == {
        "percent": "42%",
        "rows": None,
        "loss": "1.2346",
        "tokensPerSecond": "153",
        "supervisedTokensPerSecond": "61",
        "mfu": "0.457",
        "inputStall": "0.012",
        "peakMemory": "5Gi",
        "execution": "micro-batches of 4096 tokens, packed",
        "eta": "2m10s",
    }
    assert status.checkpoint is not None
    assert status.checkpoint.step == 40
