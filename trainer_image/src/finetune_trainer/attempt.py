"""One attempt at a job, from the claim of its epoch to the manifest, in the order it happens."""

import gc
import io
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

from finetune_api.report import PreparedData, SavedCheckpoint, TrainerReport
from finetune_trainer.checkpoint import Checkpoints
from finetune_trainer.conclude import conclude
from finetune_trainer.context import Context
from finetune_trainer.epoch import Epoch, claim
from finetune_trainer.evaluate.keep import Machine, S3Keeper
from finetune_trainer.exporter import serve_metrics
from finetune_trainer.fetch import fetch_model
from finetune_trainer.forms import prove_forms, upload_form
from finetune_trainer.frugal import portions
from finetune_trainer.gates import judge, may_promote
from finetune_trainer.gpu_use import gpu_use, peak_memory
from finetune_trainer.lineage import lineage
from finetune_trainer.manifest import Identity
from finetune_trainer.methods.checks import check_method
from finetune_trainer.metrics_file import METRICS
from finetune_trainer.model import resolve_device, resolve_dtype
from finetune_trainer.model_files import load_tokenizer
from finetune_trainer.output import claim_checkpoints, remove_checkpoints
from finetune_trainer.parent import fetch_parent
from finetune_trainer.place import Place
from finetune_trainer.prepared_document import PreparedDocument
from finetune_trainer.publish import commit, upload_records
from finetune_trainer.ranks import Ranks
from finetune_trainer.ready import open_ready
from finetune_trainer.reporter import Reporter
from finetune_trainer.result_files import PAGE, write_result_files
from finetune_trainer.stale_uploads import abort_stale_uploads
from finetune_trainer.tune import EXAMPLES, Job, Tuned, tune
from finetune_trainer.uploads import Uploads

LOG: Final = logging.getLogger(__name__)


class _Silence(io.StringIO):
    """Where the progress of all processes but the first goes."""

    def write(self, text: str) -> int:
        return len(text)


def attempt(
    context: Context,
    document: PreparedDocument,
    identity: Identity,
    verify_options: Sequence[str],
    ranks: Ranks | None = None,
) -> TrainerReport:
    """Train, evaluate, publish and verify; of several processes the first alone claims, tells and publishes.

    Args:
        context: The run's surroundings; its draft is filled in on the way.
        document: What preflight decided.
        identity: What the result is committed as.
        verify_options: Command-line options that lead the verifying process to S3.
        ranks: The processes that train together; None where this one trains alone.

    Raises:
        TrainerError: naming what went wrong and what to do.

    """
    ranks = ranks or Ranks()
    spec, storage, layout = context.request.spec, context.storage, context.layout
    check_method(spec)
    resolve_device(spec.resources.gpus.count)  # a missing GPU is found before gigabytes are downloaded
    out = sys.stdout if ranks.is_first else _Silence()
    reporter = Reporter(out, context.work_dir / METRICS, gauge=gpu_use, peak_memory=peak_memory)
    reporter.stage("loading")
    if ranks.is_first:
        serve_metrics(reporter)
    epoch = _begin(context, identity, ranks)
    at_once = portions(storage, layout, epoch.number, document.settings, spec.evaluation)
    parent = fetch_parent(storage, spec, context.work_dir)
    context.draft.add(lineage=lineage(storage, context.request, data_digest=identity.data_digest, parent=parent))
    context.start_up.ended("claim")
    LOG.info("downloading the base model")
    model_directory = _fetch_model(context, ranks)
    context.start_up.ended("modelDownload")
    context.stop.check()
    prepared = open_ready(context, document, load_tokenizer(model_directory), model_directory, reporter)
    context.start_up.ended("data")
    context.draft.add(
        data=document.data,
        prepared=PreparedData(uri=layout.prepared, digest=context.request.prepared_digest or ""),
        settings=document.reasons,
        estimate=document.estimate,
    )
    checkpoints = Checkpoints(epoch, identity, spec.checkpoint.keep, context.work_dir, reporter.metrics, context.clock)

    def on_saved(saved: SavedCheckpoint) -> None:
        context.draft.add(checkpoint=saved)
        reporter.checkpoint(saved)

    with Uploads(checkpoints, on_saved) as uploads:
        job = Job(
            context,
            prepared,
            at_once.settings,
            at_once.evaluation,
            model_directory,
            uploads,
            reporter,
            parent,
            _keeper(context) if ranks.is_first else None,
            ranks,
        )
        tuned = tune(job)
    _free_memory()
    if not ranks.is_first:
        return context.draft.report
    return _deliver(job, epoch, identity, tuned, list(verify_options))


def _fetch_model(context: Context, ranks: Ranks) -> Path:
    """The base model on disk, one copy for all processes of a pod."""
    is_first_here = Place.here().local_rank == 0
    if is_first_here:
        spec = context.request.spec
        cache = context.model_cache if spec.resources.model_cache is not None else None
        directory = fetch_model(context.storage, spec.model.uri, context.work_dir, weights=True, cache=cache)
    ranks.gather(None)
    return directory if is_first_here else context.work_dir.parent / "model"


def _begin(context: Context, identity: Identity, ranks: Ranks) -> Epoch:
    """Claim this attempt's epoch, one for all of its processes."""
    storage, layout = context.storage, context.layout
    if not ranks.is_first:
        return Epoch(ranks.tell(0), storage, layout)
    epoch = claim(storage, layout, identity, now=context.clock())
    context.draft.add(epoch=epoch.number)
    claim_checkpoints(storage, layout)
    abort_stale_uploads(epoch)
    return Epoch(ranks.tell(epoch.number), storage, layout)


def _deliver(job: Job, epoch: Epoch, identity: Identity, tuned: Tuned, verify_options: list[str]) -> TrainerReport:
    """Judge, upload, prove and commit what was tuned; what is promoted follows from the commit."""
    context, reporter = job.context, job.reporter
    layout = context.layout
    may_be_promoted = _judge(context)

    reporter.stage("uploading")
    uploaded = [upload_form(epoch, each) for each in tuned.artifacts]
    records = upload_records(epoch, context.work_dir, (METRICS, EXAMPLES))
    reporter.stage("verifying")
    report = context.draft.add(
        outcome="succeeded",
        artifact=prove_forms(job, tuned.sample, uploaded, verify_options).model_copy(
            update={"promoted_uri": layout.promoted if may_be_promoted else None}
        ),
        checkpoint=None,
        report_uri=f"{layout.run(epoch.number)}report.json",
    )
    pages = write_result_files(context)
    records += upload_records(epoch, context.work_dir, pages)
    if pages:
        report = context.draft.add(page_uri=f"{layout.run(epoch.number)}{PAGE}")
    LOG.info("committing the result")
    committed = commit(
        epoch,
        context.request,
        identity=identity,
        artifacts=[each.artifact for each in uploaded],
        records=records,
        report=report,
    )
    remove_checkpoints(context.storage, layout)
    return conclude(context, committed, adopted=committed.epoch != epoch.number)


def _keeper(context: Context) -> S3Keeper:
    """Where results of measurements are kept."""
    spec = context.request.spec
    device = resolve_device(spec.resources.gpus.count)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    precision = "4 bit" if spec.method.type == "qlora" else str(resolve_dtype(spec.training.precision, device))
    base = context.draft.report.lineage["baseModelDigest"]
    return S3Keeper(context, Machine(base, context.request.spec_digest, f"{where}, {precision}"))


def _judge(context: Context) -> bool:
    """Put the gates' results into the report; whether the artifact may be promoted."""
    spec, evaluation = context.request.spec.evaluation, context.draft.report.evaluation
    if evaluation is None:
        return not spec.gates
    gates = judge(spec.gates, evaluation)
    context.draft.add(evaluation=evaluation.model_copy(update={"gates": gates}))
    return may_promote(spec, gates)


def _free_memory() -> None:
    """Give the model's memory back, so that the verifying process finds room for its own."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
