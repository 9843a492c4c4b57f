"""The clean-up of a deleted job's output: all of its own goes, and nothing of anybody else's."""

import json
from typing import Any

import pytest
from trainer_run import Bench, Outcome, add_rows

from finetune_api.exit_codes import ExitCode
from finetune_api.report import TrainerReport
from finetune_api.request import TrainerRequest
from finetune_trainer.epoch import Claim
from finetune_trainer.manifest import FinalManifest
from finetune_trainer.promotion import Pointer


def clean(bench: Bench, work: TrainerRequest) -> Outcome:
    outcome = bench.run(work.model_copy(update={"kind": "cleanup"}))
    assert outcome.code == ExitCode.SUCCESS, outcome.output
    assert outcome.report.cleanup is not None
    return outcome


def left(outcome: Outcome) -> list[str]:
    assert outcome.report.cleanup is not None
    return outcome.report.cleanup.left


def claim(bench: Bench, root: str, spec_digest: str) -> None:
    content = Claim(spec_digest=spec_digest, data_digest="d", claimed_at="t", holder="h")
    bench.s3.put(f"{root}/epochs/0001.json", content.model_dump_json().encode())


def commit(bench: Bench, root: str, work: TrainerRequest, **changes: Any) -> None:
    """A result as a run leaves it, without its files."""
    report = TrainerReport(kind="train", outcome="succeeded", spec_digest=work.spec_digest)
    content = {
        "spec_digest": work.spec_digest,
        "data_digest": "d",
        "namespace": work.namespace,
        "name": work.name,
        "epoch": 1,
        "prefix": f"s3://team/{root}/runs/0001/",
        "files": [],
        "report": report,
    }
    bench.s3.put(f"{root}/manifest.json", FinalManifest(**(content | changes)).model_dump_json().encode())
    bench.s3.put(f"{root}/runs/0001/adapter/weights", b"w")


def test_a_whole_run_is_removed_and_what_the_user_put_beside_it_stays(bench: Bench) -> None:
    bench.put_rows("cleaned", add_rows(40))
    work = bench.validated("cleaned", checkpoint={"everySteps": 2})
    done = bench.run(work)
    assert done.code == ExitCode.SUCCESS, done.output
    assert len(bench.s3.keys("s3://team/cleaned/out/")) > 10
    bench.s3.put("cleaned/out/notes.txt", b"mine")
    bench.s3.put("cleaned/out/manifest.json.old", b"mine")
    outcome = clean(bench, work)
    assert left(outcome) == []
    assert bench.s3.keys("s3://team/cleaned/out/") == ["manifest.json.old", "notes.txt"]
    assert bench.s3.keys("s3://team/cleaned/data/") == ["rows.jsonl"]
    again = clean(bench, work)
    assert again.report.cleanup is not None
    assert (again.report.cleanup.removed, left(again)) == (0, [])


def test_every_run_of_the_job_is_removed(bench: Bench) -> None:
    first = bench.request("runs")
    second = bench.request("runs").spec.model_copy(update={"run_id": "b"})
    work = first.model_copy(update={"spec": second, "spec_digest": digest(second)})
    commit(bench, "runs/out", first)
    commit(bench, "runs/out/reruns/b", work)
    assert left(clean(bench, work)) == []
    assert bench.s3.keys("s3://team/runs/out/") == []


def digest(spec: Any) -> str:
    from finetune_api.digest import spec_digest

    return spec_digest(spec)


def another_job(bench: Bench, root: str, work: TrainerRequest) -> None:
    commit(bench, root, work, name="theirs")


def another_spec(bench: Bench, root: str, work: TrainerRequest) -> None:
    commit(bench, root, work, spec_digest="sha256:other")


def another_beginning(bench: Bench, root: str, work: TrainerRequest) -> None:
    claim(bench, root, "sha256:other")


def unreadable(bench: Bench, root: str, work: TrainerRequest) -> None:
    bench.s3.put(f"{root}/manifest.json", b"{}")


STRANGERS = {
    "result": (another_job, "it holds the result of FinetuneJob team/theirs"),
    "settings": (another_spec, "it holds the result of FinetuneJob"),
    "beginning": (another_beginning, "another job has begun there"),
    "unreadable": (unreadable, "its manifest.json cannot be read"),
}


@pytest.mark.parametrize("case", STRANGERS)
def test_what_another_job_has_claimed_stays_whole(bench: Bench, case: str) -> None:
    put, why = STRANGERS[case]
    work = bench.request(f"strange-{case}")
    root = f"strange-{case}/out"
    put(bench, root, work)
    bench.s3.put(f"{root}/runs/0001/report.json", b"{}")
    before = bench.s3.keys(f"s3://team/{root}/")
    (told,) = left(clean(bench, work))
    assert why in told
    assert bench.s3.keys(f"s3://team/{root}/") == before


def test_an_artifact_that_is_served_stays(bench: Bench) -> None:
    work = bench.request("served", output={"promoteUri": "s3://team/serving"})
    commit(bench, "served/out", work)
    artifact = "s3://team/served/out/runs/0001/adapter"
    pointer = Pointer(
        uri=artifact, digest="d", base_model="m", namespace="n", name="n", spec_digest="d", epoch=1, committed_at="t"
    )
    bench.s3.put("serving/promoted.json", pointer.model_dump_json().encode())
    (told,) = left(clean(bench, work))
    assert told == f"{artifact}: s3://team/serving/promoted.json names it"
    assert bench.s3.keys("s3://team/served/out/") == ["runs/0001/adapter/weights"]
    assert json.loads(bench.s3.get("s3://team/serving/promoted.json"))["uri"] == artifact
