"""Preflight: what can be checked on a CPU is checked before a GPU is requested. Torch is not imported."""

import logging
from typing import Final

from finetune_api.conditions import Reason
from finetune_api.report import TrainerReport
from finetune_trainer.base_model import describe_model, read_config
from finetune_trainer.context import Context
from finetune_trainer.data.prepare import prepare
from finetune_trainer.errors import SettingsError
from finetune_trainer.fetch import fetch_data, fetch_model
from finetune_trainer.methods.checks import check_method, check_method_on
from finetune_trainer.model_files import load_tokenizer
from finetune_trainer.output import finished_result
from finetune_trainer.parent import fetch_parent

LOG: Final = logging.getLogger(__name__)


def preflight(context: Context) -> TrainerReport:
    """Check model, data and output of a job; or report its result, where the output already holds it.

    Raises:
        TrainerError: naming what is wrong and what to do.

    """
    spec = context.request.spec
    check_method(spec)
    data = fetch_data(context.storage, spec.data, context.work_dir)
    finished = finished_result(context.storage, context.layout, context.identity(data.digest))
    if finished is not None:
        LOG.info("the output already holds this job's result")
        return context.adopt(finished)
    directory = fetch_model(context.storage, spec.model.uri, context.work_dir, weights=False)
    context.stop.check()
    check_method_on(spec.method, describe_model(context.storage, spec.model.uri, read_config(directory)))
    fetch_parent(context.storage, spec, context.work_dir)
    prepared = prepare(spec.data, data.files, load_tokenizer(directory))
    LOG.info("%d rows to train on, %d to test on", len(prepared.train), len(prepared.test))
    report = context.draft.add(
        outcome="succeeded", data=prepared.summary(data.digest), report_uri=context.layout.preflight
    )
    _check_output(context, report)
    return report


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
