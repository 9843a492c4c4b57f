"""The forms of a result (adapter or model, and the merged model) in S3, each proven by reading it back."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from finetune_api.report import Artifact, MergedModel, Servable
from finetune_trainer.data.item import Item
from finetune_trainer.epoch import Epoch
from finetune_trainer.publish import UploadedArtifact, upload_artifact
from finetune_trainer.servable import servable
from finetune_trainer.tune import Job, SavedModel
from finetune_trainer.verify import Sample, SampleItem, verify


@dataclass(frozen=True, slots=True)
class Form:
    """One form of the result, uploaded and gone from the disk."""

    artifact: UploadedArtifact
    loss: float
    """Of the sample, before it was written."""
    servable: Servable


def upload_form(epoch: Epoch, model: SavedModel) -> Form:
    """Upload one form; scratch need not hold a whole model twice beside its base, so it is removed from there."""
    form = Form(upload_artifact(epoch, model.saved), model.loss, servable(model.saved))
    shutil.rmtree(model.saved.directory)
    return form


def prove_forms(job: Job, sample: Sequence[Item], forms: Sequence[Form], verify_options: list[str]) -> Artifact:
    """The artifact as the report tells it, once all its forms were read back and scored.

    Raises:
        InfrastructureError: ArtifactMismatch.
        StopRequested: SIGTERM came meanwhile.

    """
    differences = [
        verify(job.context, _sample(job, sample, form.artifact), form.loss, verify_options) for form in forms
    ]
    first, *merged = forms
    return Artifact(
        kind=first.artifact.saved.kind,
        uri=first.artifact.uri,
        digest=first.artifact.digest,
        size_bytes=first.artifact.size_bytes,
        verified=True,
        loss_difference=differences[0],
        servable=first.servable,
        merged=_merged(merged[0], differences[1], first) if merged else None,
    )


def _merged(merged: Form, difference: float, apart: Form) -> MergedModel:
    return MergedModel(
        uri=merged.artifact.uri,
        digest=merged.artifact.digest,
        size_bytes=merged.artifact.size_bytes,
        loss_difference=difference,
        distance=abs(merged.loss - apart.loss),
    )


def _sample(job: Job, sample: Sequence[Item], artifact: UploadedArtifact) -> Sample:
    return Sample(
        kind=artifact.saved.kind,
        artifact_uri=artifact.uri,
        model_directory=str(job.model_directory),
        settings=job.settings,
        items=[SampleItem.of(item) for item in sample],
    )
