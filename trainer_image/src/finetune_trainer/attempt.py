"""One attempt at a job, from the claim of its epoch to the manifest, in the order it happens."""

import gc
import logging
import sys
from collections.abc import Sequence
from typing import Final

import torch

from finetune_api.report import PreparedData, TrainerReport
from finetune_trainer.checkpoint import METRICS, Checkpoints
from finetune_trainer.context import Context
from finetune_trainer.epoch import claim
from finetune_trainer.fetch import fetch_model
from finetune_trainer.loop import micro_batch_tokens
from finetune_trainer.manifest import Identity
from finetune_trainer.model import resolve_device
from finetune_trainer.model_files import load_tokenizer
from finetune_trainer.output import remove_checkpoints
from finetune_trainer.prepared_document import PreparedDocument
from finetune_trainer.publish import commit, upload_adapter, upload_records
from finetune_trainer.ready import open_ready
from finetune_trainer.reporter import Reporter
from finetune_trainer.tune import EXAMPLES, Job, Tuned, tune
from finetune_trainer.verify import Sample, SampleRow, verify

LOG: Final = logging.getLogger(__name__)


def attempt(
    context: Context, document: PreparedDocument, identity: Identity, verify_options: Sequence[str]
) -> TrainerReport:
    """Train, evaluate, publish and verify.

    Args:
        context: The run's surroundings; its draft is filled in on the way.
        document: What preflight decided.
        identity: What the result is committed as.
        verify_options: Command-line options that lead the verifying process to S3.

    Raises:
        TrainerError: naming what went wrong and what to do.

    """
    spec, storage, layout = context.request.spec, context.storage, context.layout
    resolve_device(spec.resources.gpus.count)  # a missing GPU is found before gigabytes are downloaded
    reporter = Reporter(sys.stdout, context.work_dir / METRICS)
    reporter.stage("loading")
    epoch = claim(
        storage,
        layout,
        spec_digest=identity.spec_digest,
        data_digest=identity.data_digest,
        now=context.clock(),
    )
    context.draft.add(epoch=epoch.number)
    model_directory = fetch_model(storage, spec.model.uri, context.work_dir, weights=True)
    context.stop.check()
    prepared = open_ready(context, document, load_tokenizer(model_directory), model_directory, reporter)
    context.draft.add(
        data=document.data,
        prepared=PreparedData(uri=layout.prepared, digest=context.request.prepared_digest or ""),
        settings=document.reasons,
        estimate=document.estimate,
    )
    checkpoints = Checkpoints(epoch, identity, spec.checkpoint.keep, context.work_dir, reporter.metrics, context.clock)
    job = Job(context, prepared, document.settings, model_directory, checkpoints, reporter)
    tuned = tune(job)
    _free_memory()

    reporter.stage("uploading")
    adapter = upload_adapter(epoch, tuned.adapter)
    records = upload_records(epoch, context.work_dir, (METRICS, EXAMPLES))
    reporter.stage("verifying")
    difference = verify(context, _sample(job, tuned, adapter.uri), tuned.sample_loss, list(verify_options))
    report = context.draft.add(
        outcome="succeeded",
        artifact=adapter.artifact(difference),
        checkpoint=None,
        report_uri=f"{layout.run(epoch.number)}report.json",
    )
    committed = commit(epoch, context.request, identity=identity, adapter=adapter, records=records, report=report)
    remove_checkpoints(storage, layout)
    return report if committed.epoch == epoch.number else context.adopt(committed)


def _sample(job: Job, tuned: Tuned, adapter_uri: str) -> Sample:
    rows = [SampleRow(token_ids=row.token_ids.tolist(), weights=row.weights.tolist()) for row in tuned.sample]
    return Sample(
        adapter_uri=adapter_uri,
        model_directory=str(job.model_directory),
        batch_tokens=micro_batch_tokens(job.settings),
        rows=rows,
    )


def _free_memory() -> None:
    """Give the model's memory back, so that the verifying process finds room for its own."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
