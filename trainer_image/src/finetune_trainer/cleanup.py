"""The cleanup command: remove what a deleted job has left in S3, where `spec.output.onDelete` asks for it.

Only names that the layout knows are touched, and only under roots that no other job has claimed. What an index names
that others serve from stays too. What stays is reported, and nothing of it is an error: the job is let go either way.
Claims of ownership go last, so that a clean-up that breaks off can be taken up again.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Final

from pydantic import ValidationError

from finetune_api.digest import spec_digest
from finetune_api.layout import OutputLayout
from finetune_api.report import CleanupSummary, TrainerReport
from finetune_trainer.context import Context
from finetune_trainer.epoch import claims
from finetune_trainer.errors import InfrastructureError, TrainerError
from finetune_trainer.manifest import FinalManifest
from finetune_trainer.output import checkpoints, foreign_owner
from finetune_trainer.prepared_document import PreparedDocument
from finetune_trainer.promotion import Pointer

LOG: Final = logging.getLogger(__name__)
_TOLD: Final = 8
"""Things left that are named; a termination message has room for no more."""


class _Tally:
    """What was removed, and what was left and why."""

    def __init__(self) -> None:
        self.removed = 0
        self.left: list[str] = []

    def leave(self, what: str, why: str) -> None:
        LOG.warning("%s is left: %s", what, why)
        self.left.append(f"{what}: {why}")


def clean_up(context: Context) -> TrainerReport:
    """Remove what the job's runs have left; the report says what that was, and what stays.

    Raises:
        InfrastructureError: S3 does not answer; another attempt may get further.

    """
    tally = _Tally()
    for layout, digest in _runs(context):
        _clean_run(context, layout, digest, tally)
    LOG.info("%d objects removed, %d things left", tally.removed, len(tally.left))
    summary = CleanupSummary(removed=tally.removed, left=tally.left[:_TOLD])
    return context.draft.add(outcome="succeeded", cleanup=summary)


def _runs(context: Context) -> Iterator[tuple[OutputLayout, str]]:
    """Every run that lies under the output, with the digest that its settings have; the first, unnamed one last."""
    spec = context.request.spec
    prefix = f"{context.layout.output_root}/reruns/"
    found = {item.uri.removeprefix(prefix).partition("/")[0] for item in context.storage.list_objects(prefix)}
    for run_id in [*sorted(found | ({spec.run_id} if spec.run_id else set())), None]:
        run = spec.model_copy(update={"run_id": run_id})
        layout = OutputLayout.of(
            spec.output.uri,
            run_id=run_id,
            checkpoint_uri=spec.checkpoint.uri,
            promote_uri=spec.output.promote_uri,
        )
        yield layout, spec_digest(run)


def _clean_run(context: Context, layout: OutputLayout, digest: str, tally: _Tally) -> None:
    stranger = _stranger(context, layout, digest)
    if stranger:
        tally.leave(layout.root, stranger)
        return
    served = _served(context, layout)
    if served:
        tally.leave(served, f"{layout.promoted} names it")
    for prefixes in _stages(context, layout):
        _remove(context, prefixes, served, tally)


def _stranger(context: Context, layout: OutputLayout, digest: str) -> str:
    """Whose the root is, if it is not this job's; empty if it is, or nobody has claimed it."""
    storage, request = context.storage, context.request
    content = storage.read(layout.manifest)
    if content is not None:
        try:
            found = FinalManifest.model_validate_json(content)
        except ValidationError:
            return "its manifest.json cannot be read"
        if found.spec_digest == digest and (found.namespace, found.name) == (request.namespace, request.name):
            return ""
        return f"it holds the result of FinetuneJob {found.namespace}/{found.name}"
    try:
        known = [claim.spec_digest for _, claim in claims(storage, layout)]
    except ValidationError:
        return "its claims cannot be read"
    known += [each.manifest.spec_digest for each in checkpoints(storage, layout)]
    known += _prepared(context, layout)
    return "another job has begun there" if any(each != digest for each in known) else ""


def _prepared(context: Context, layout: OutputLayout) -> list[str]:
    content = context.storage.read(layout.prepared)
    if content is None:
        return []
    try:
        return [PreparedDocument.model_validate_json(content).spec_digest]
    except ValidationError:
        return ["unreadable"]


def _served(context: Context, layout: OutputLayout) -> str:
    """The artifact that a shared `promoted.json` names, if it is one of these; one's own goes with the output."""
    if layout.promoted_root == layout.output_root:
        return ""
    try:
        pointer = Pointer.model_validate_json(context.storage.read(layout.promoted) or b"")
    except ValidationError:
        return ""
    return pointer.uri if pointer.uri.startswith(layout.runs) else ""


def _stages(context: Context, layout: OutputLayout) -> Iterator[Sequence[str]]:
    """Prefixes to remove, one group after the other."""
    yield layout.runs, layout.evaluations
    if not foreign_owner(context.storage, layout):
        yield (layout.checkpoints,)
    yield layout.data_report("html"), layout.data_report("json"), layout.quarantine
    if layout.promoted_root == layout.output_root == layout.root:
        yield (layout.promoted,)
    yield layout.preflight, layout.prepared
    yield layout.manifest, layout.epochs


def _remove(context: Context, prefixes: Sequence[str], served: str, tally: _Tally) -> None:
    try:
        for prefix in prefixes:
            _abort_uploads(context, prefix)
            found = (item.uri for item in context.storage.list_objects(prefix))
            # A listing by a file's name finds `manifest.json.old` too, which is nobody's but the user's.
            own = (uri for uri in found if prefix.endswith("/") or uri == prefix)
            doomed = [uri for uri in own if not served or not uri.startswith(served)]
            context.storage.delete(doomed)
            tally.removed += len(doomed)
    except InfrastructureError:
        raise
    except TrainerError as error:
        tally.leave(" and ".join(prefixes), error.message)


def _abort_uploads(context: Context, prefix: str) -> None:
    """What is left of uploads that broke off; a service or an identity that cannot do that costs only their room."""
    try:
        for upload in context.storage.open_uploads(prefix):
            context.storage.abort_upload(upload)
    except TrainerError as error:
        LOG.warning("uploads that broke off are left under %s: %s", prefix, error.message)
