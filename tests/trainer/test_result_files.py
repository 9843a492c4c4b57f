"""Page and card on their way to S3: from the files of the run, and never at the price of the result."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from run_results import RECORDED, RUN, failed_result, full_result

from finetune_api.report import TrainerReport
from finetune_trainer import result_files
from finetune_trainer.command_line import _keep as keep_report
from finetune_trainer.context import Context, Draft
from finetune_trainer.epoch import Claim
from finetune_trainer.result_files import failed_page, gather, write_result_files
from finetune_trainer.signals import StopSignal
from finetune_trainer.storage import StoredObject

CLAIM = Claim(spec_digest="a", data_digest="b", claimed_at="2026-01-31T12:00:00Z", holder="desk-train-0-x7x2p/12345678")


@dataclass
class Shelf:
    """Objects by URI."""

    objects: dict[str, bytes] = field(default_factory=dict)

    def read(self, uri: str) -> bytes | None:
        return self.objects.get(uri)

    def write(self, uri: str, content: bytes) -> None:
        self.objects[uri] = content

    def list_objects(self, prefix: str) -> list[StoredObject]:
        return [StoredObject(uri, len(content)) for uri, content in self.objects.items() if uri.startswith(prefix)]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A finished run, with the files of the recorded one in its work directory."""
    for name in ("metrics.jsonl", "examples.jsonl"):
        (tmp_path / name).write_text((RECORDED / name).read_text())
    result = full_result()
    shelf = Shelf({f"s3://team/desk/out/epochs/000{n}.json": CLAIM.model_dump_json().encode() for n in (2, 1)})
    return Context(result.request, shelf, tmp_path, StopSignal(), Draft(result.report), lambda: "2026-01-31T12:40:00Z")


def test_everything_that_the_run_left_is_gathered(context: Context) -> None:
    result = gather(context)
    assert (len(result.steps), len(result.examples)) == (38, 40)
    assert [(each.number, each.pod) for each in result.attempts] == [
        (1, "desk-train-0-x7x2p"),
        (2, "desk-train-0-x7x2p"),
    ]


def test_page_and_card_are_written_where_their_names_under_the_run_are(context: Context) -> None:
    assert write_result_files(context) == ["report.html", "adapter/README.md"]
    assert "Better than the base" in (context.work_dir / "report.html").read_text()
    assert (context.work_dir / "adapter/README.md").read_text().startswith("---\nbase_model:")


def test_a_page_that_cannot_be_made_loses_no_result(
    context: Context, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(result_files, "render_html", lambda _result: 1 / 0)
    assert write_result_files(context) == []
    assert "left out" in caplog.text


def test_a_failed_run_has_a_page_from_its_first_step_on(context: Context) -> None:
    context.draft.report = failed_result().report
    assert b"Failed: Diverged" in (failed_page(context) or b"")
    (context.work_dir / "metrics.jsonl").write_text("")
    assert failed_page(context) is None


@pytest.mark.parametrize(("outcome", "has_page"), [("failed", True), ("preempted", False)])
def test_a_failure_leaves_report_and_page_and_a_stop_request_the_report_alone(
    context: Context, outcome: str, has_page: bool
) -> None:
    context.draft.report = failed_result().report.model_copy(update={"outcome": outcome})
    kept = keep_report(context, context.draft.report)
    assert (kept.page_uri is not None, f"{RUN}report.html" in context.storage.objects) == (has_page, has_page)
    assert TrainerReport.model_validate_json(context.storage.objects[f"{RUN}report.json"]) == kept


@pytest.mark.parametrize(
    ("card", "license_"),
    [
        (b"---\nlicense: apache-2.0\n---\n# Small", "apache-2.0"),
        (b"---\nlicense: [a, b]\n---\n", "unknown"),
        (b"# No front matter", "unknown"),
        (b"---\n{: :\n---\n", "unknown"),
        (b"\xff\xfe", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_license_is_the_bases_own_or_unknown(context: Context, card: bytes | None, license_: str) -> None:
    if card is not None:
        context.storage.objects["s3://models/small/README.md"] = card
    assert gather(context).base_license == license_
