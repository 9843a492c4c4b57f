"""The result on its way to people: `report.html` beside the report, and the model card beside the artifact."""

import logging
from pathlib import Path
from typing import Final

from huggingface_hub import ModelCard

from finetune_api.report import TrainerReport
from finetune_trainer.context import Context
from finetune_trainer.epoch import claims
from finetune_trainer.errors import TrainerError
from finetune_trainer.evaluate.compare import ExampleResult
from finetune_trainer.metrics_file import METRICS, read_steps
from finetune_trainer.result_report.card import render_card
from finetune_trainer.result_report.content import Attempt, RunResult
from finetune_trainer.result_report.html import render_html
from finetune_trainer.tune import EXAMPLES

LOG: Final = logging.getLogger(__name__)
PAGE: Final = "report.html"
CARD: Final = "README.md"


def write_result_files(context: Context) -> list[str]:
    """Write page and model card of a finished run to the work directory.

    Returns:
        Their names there, which are those under the run's prefix too; none where a page cannot be made of this result,
        which is no reason to lose it.

    """
    try:
        return _write(context)
    except TrainerError:
        raise
    except Exception:  # hours of training must not end on a sentence that could not be written
        LOG.exception("report.html and the model card are left out")
        return []


def failed_page(context: Context) -> bytes | None:
    """The page of a run that failed; None where it failed before its first step."""
    result = gather(context)
    return render_html(result).encode() if result.steps else None


def gather(context: Context) -> RunResult:
    """What the page is made from, out of the work directory and S3."""
    work, storage = context.work_dir, context.storage
    started = claims(storage, context.layout)
    return RunResult(
        request=context.request,
        report=context.draft.report,
        steps=read_steps(_text(work / METRICS)),
        examples=[ExampleResult.model_validate_json(line) for line in _text(work / EXAMPLES).split("\n") if line],
        attempts=[Attempt(number, each.claimed_at, each.holder.partition("/")[0]) for number, each in started],
        made_at=context.clock(),
        base_license=_license(storage.read(f"{context.request.spec.model.uri.rstrip('/')}/{CARD}")),
    )


def _write(context: Context) -> list[str]:
    result = gather(context)
    report: TrainerReport = result.report
    names = [PAGE]
    (context.work_dir / PAGE).write_text(render_html(result))
    if report.artifact is not None:
        name = f"{report.artifact.kind}/{CARD}"
        path = context.work_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render_card(result))
        names.append(name)
    return names


def _text(path: Path) -> str:
    """A file's text; empty where a run did not get so far."""
    return path.read_text() if path.exists() else ""


def _license(card: bytes | None) -> str:
    """The license that a model card names, by the Hub's identifier."""
    try:
        found = getattr(ModelCard((card or b"").decode()).data, "license", None)
    except Exception:  # somebody's card: front matter that is no YAML, bytes that are no text
        return "unknown"
    return found if isinstance(found, str) and found else "unknown"
