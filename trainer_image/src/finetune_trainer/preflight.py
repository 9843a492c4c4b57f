"""Preflight: what can be checked on a CPU is checked before a GPU is requested. Torch is not imported."""

import logging
import sys
import time
from pathlib import Path
from typing import Final

from finetune_api.conditions import Reason
from finetune_api.report import TrainerReport
from finetune_trainer.base_model import describe_model, read_config
from finetune_trainer.conclude import conclude
from finetune_trainer.context import Context
from finetune_trainer.data.prompts import longest_prompt
from finetune_trainer.data_report import publish_report
from finetune_trainer.errors import SettingsError
from finetune_trainer.evaluate.questions import check_objective, open_questions
from finetune_trainer.fetch import FetchedData, fetch_data, fetch_model, list_data
from finetune_trainer.forecast import forecast
from finetune_trainer.from_spec import check_validation
from finetune_trainer.gates import check_gates
from finetune_trainer.methods.checks import check_method, check_method_on
from finetune_trainer.model_files import context_length, load_tokenizer, require_context
from finetune_trainer.output import claim_checkpoints, finished_result
from finetune_trainer.parent import fetch_parent
from finetune_trainer.prepared_document import PreparedDocument, list_objects, write_document
from finetune_trainer.prepared_store import remove_unused, store_root
from finetune_trainer.progress_lines import ProgressLines
from finetune_trainer.promotion import check_pointer
from finetune_trainer.ready import DataRoom, Ready, judge, publish_quarantine

LOG: Final = logging.getLogger(__name__)


def preflight(context: Context) -> TrainerReport:
    """Check model, data and output of a job, and make its data ready; or report its result, where the output holds it.

    Raises:
        TrainerError: naming what is wrong and what to do.

    """
    spec, storage = context.request.spec, context.storage
    check_method(spec)
    check_gates(spec)
    check_objective(spec)
    progress = ProgressLines(sys.stdout)
    progress.stage("loading")
    listing = list_data(storage, spec.data)
    data = fetch_data(storage, spec.data, listing, context.work_dir)
    finished = finished_result(storage, context.layout, context.identity(data.digest))
    if finished is not None:
        LOG.info("the output already holds this job's result")
        return conclude(context, finished, adopted=True)
    model_directory = fetch_model(storage, spec.model.uri, context.work_dir, weights=False)
    context.stop.check()
    open_questions(context)
    base = describe_model(storage, spec.model.uri, read_config(model_directory))
    check_method_on(spec.method, base)
    parent = fetch_parent(storage, spec, context.work_dir)
    room = DataRoom(context, load_tokenizer(model_directory), model_directory, progress)
    ready = _make_ready(context, room, data)
    check_validation(spec, ready.index.validation.rows)
    _check_context(context, room, ready, model_directory)
    remove_unused(storage, store_root(context), ready.uri, time.time())
    seen = forecast(context.request, ready.index, base, parent.config if parent else None)
    document = PreparedDocument(
        spec_digest=context.request.spec_digest,
        data_digest=data.digest,
        listing=list_objects(listing),
        store_uri=ready.uri,
        store_digest=ready.digest,
        settings=seen.settings,
        reasons=seen.reasons,
        estimate=seen.estimate,
        longest=ready.index.longest,
        data=ready.index.summary(data.digest, context.layout.data_report("html")),
    )
    report = context.draft.add(
        outcome="succeeded",
        report_uri=context.layout.preflight,
        prepared=write_document(context, document),
        settings=document.reasons,
        estimate=document.estimate,
    )
    _check_output(context, report)
    claim_checkpoints(storage, context.layout)
    return report


def _make_ready(context: Context, room: DataRoom, data: FetchedData) -> Ready:
    """The data in S3, accepted by this job's settings."""
    uri = room.uri(data.digest)
    ready = room.find(uri, whole=False)
    index = ready.index if ready else room.prepare(data)
    refusal = judge(context, index)
    report_uri = publish_report(context, room.directory, data.digest, refusal)
    publish_quarantine(context, room.directory, index)
    context.draft.add(data=index.summary(data.digest, report_uri))
    LOG.info("%d rows to train on, %d to test on", index.train.rows, index.test.rows)
    if refusal is not None:
        raise refusal
    return ready or room.publish(uri)


def _check_context(context: Context, room: DataRoom, ready: Ready, model_directory: Path) -> None:
    """Check that what training and evaluation put to the model fits it."""
    spec = context.request.spec
    longest = ready.index.longest
    if spec.objective.type in ("sft", "classification"):
        labels = spec.objective.classification.labels if spec.objective.classification else []
        longest = max(longest, longest_prompt(room.open(ready), spec.evaluation, labels))
    require_context(context_length(model_directory), longest)


def _check_output(context: Context, report: TrainerReport) -> None:
    """Leave the report in the output: it is writable then, and conditional writes must be honoured."""
    uri = context.layout.preflight
    content = report.model_dump_json(exclude_none=True, indent=2).encode()
    context.storage.write(uri, content)
    # Other content under the same key: a service that heeds `If-None-Match: *` must refuse it.
    if context.storage.write_if_absent(uri, content + b"\n"):
        raise SettingsError(
            reason=Reason.SETTINGS_INVALID,
            message="spec.storage: the S3 service overwrites an object in spite of `If-None-Match: *`",
            advice="Use a service with conditional writes; two attempts could corrupt each other's result.",
        )
    check_pointer(context.storage, context.layout)
