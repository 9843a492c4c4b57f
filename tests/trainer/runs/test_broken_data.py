"""Every broken data set is refused by preflight, with a line that says which row, what is wrong and what to do."""

from pathlib import Path

import pytest
from broken_data import CASES, Broken, good_rows
from trainer_run import Bench

from finetune_api.report import TrainerReport
from finetune_api.request import TrainerRequest
from finetune_trainer.context import Context, Draft, utc_now
from finetune_trainer.errors import DataError
from finetune_trainer.preflight import preflight
from finetune_trainer.signals import StopSignal
from finetune_trainer.storage import Storage


def in_process(bench: Bench, request: TrainerRequest, work_dir: Path) -> TrainerReport:
    """Preflight as the command line runs it, without the ten seconds that a process takes to start."""
    draft = Draft(TrainerReport(kind="preflight", outcome="failed", spec_digest=request.spec_digest))
    storage = Storage.connect(
        request.spec.storage,
        credentials_dir=bench.s3.credentials_dir,
        ca_file=work_dir / "no-ca.crt",
        check=lambda: None,
    )
    return preflight(Context(request, storage, work_dir, StopSignal(), draft, utc_now))


def request_of(bench: Bench, name: str, case: Broken) -> tuple[TrainerRequest, str]:
    """The job on a broken data set, and the URI of its training file."""
    key = "broken/" + name.replace(" ", "-")
    objective = case.sections.get("objective", {}).get("type", "sft")
    test = case.test if case.test is not None else good_rows(objective)
    train_uri = bench.s3.put(f"{key}/{case.name}", case.content())
    data = {
        "train": [{"uri": train_uri}],
        "validation": [],
        "test": [{"uri": bench.s3.put(f"{key}/test.jsonl", test)}],
        "split": {"validation": 0},
    }
    sections = {name: dict(values) for name, values in case.sections.items()}
    mapped = sections.pop("data", {}).get("train", [{}])[0]
    data["train"][0] |= mapped
    return bench.request(key, "preflight", data=data, **sections), train_uri


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.reason])
def test_it_is_refused_with_its_place_and_a_remedy(bench: Bench, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    request, uri = request_of(bench, name, case)
    with pytest.raises(DataError) as caught:
        in_process(bench, request, tmp_path)
    assert caught.value.reason is case.reason
    assert case.expected.replace("{train}", uri) in caught.value.message
    assert caught.value.advice


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.reason])
def test_it_passes_and_is_spoken_of(bench: Bench, tmp_path: Path, name: str) -> None:
    request, _ = request_of(bench, name, CASES[name])
    report = in_process(bench, request, tmp_path)
    field, _, value = CASES[name].expected.partition(": ")
    assert getattr(report.data, field) == int(value)
