"""The data report on its way to people: kept beside the prepared data, published by each job in its own words."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune_api.spec.data import Data, Dataset
from finetune_api.spec.job import FinetuneJobSpec
from finetune_trainer.context import Context
from finetune_trainer.data.report.builder import ReportBuilder
from finetune_trainer.data.report.content import DataReport
from finetune_trainer.data.report.html import render_html
from finetune_trainer.data.report.tailor import tailor
from finetune_trainer.data.split import Side
from finetune_trainer.data.store_index import REPORT, StoreIndex
from finetune_trainer.errors import DataError
from finetune_trainer.failures import as_failure


def write_report(builder: ReportBuilder, spec: FinetuneJobSpec, index: StoreIndex, tokenizer: Any, path: Path) -> None:
    """Write what was found in the data, for all jobs that share it."""
    classification = spec.objective.classification
    report = builder.finish(
        names=_names(spec.data),
        labels=classification.labels if classification else [],
        max_tokens=index.max_tokens,
        repeats=index.repeats,
        decode=lambda ids: str(tokenizer.decode([int(token) for token in ids])),
    )
    path.write_text(report.model_dump_json())


def publish_report(context: Context, directory: Path, data_digest: str, refusal: DataError | None) -> str:
    """Upload the report that lies in a directory of prepared data, as this job sees it.

    Returns:
        The URI of the page.

    """
    spec, layout = context.request.spec, context.layout
    report = tailor(
        DataReport.model_validate_json((directory / REPORT).read_text()),
        about={
            "job": f"{context.request.namespace}/{context.request.name}",
            "data": data_digest,
            "model": spec.model.uri,
            "objective": spec.objective.type,
            "template": spec.data.template.name,
        },
        refusal=as_failure(refusal) if refusal else None,
        show_rows=spec.data.show_rows,
    )
    context.storage.write(layout.data_report("json"), report.model_dump_json(indent=1).encode())
    context.storage.write(layout.data_report("html"), render_html(report).encode())
    return layout.data_report("html")


def _names(data: Data) -> dict[Side, Sequence[str]]:
    """Of the data sets that each side's rows were read from."""
    return {
        "train": _named("train", data.train),
        "validation": _named("validation", data.validation) or _named("train", data.train),
        "test": _named("test", data.test) or _named("train", data.train),
    }


def _named(side: Side, datasets: Sequence[Dataset]) -> list[str]:
    return [dataset.name or f"{side}-{index}" for index, dataset in enumerate(datasets)]
