"""The data made ready: found in S3 as an earlier job left it, or prepared now and left there."""

import logging
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from finetune_api.conditions import Reason
from finetune_api.spec.job import FinetuneJobSpec
from finetune_trainer.context import Context
from finetune_trainer.data.prepare import Preparation
from finetune_trainer.data.prepared import Prepared
from finetune_trainer.data.quarantine import refuse_bad_rows
from finetune_trainer.data.report.builder import ReportBuilder
from finetune_trainer.data.shape import Shape
from finetune_trainer.data.shapes import make_shape
from finetune_trainer.data.split import require_rows
from finetune_trainer.data.store_index import BAD_ROWS, INDEX, REPORT, SMALL, StoreIndex
from finetune_trainer.data.stream import Meter
from finetune_trainer.data_report import write_report
from finetune_trainer.errors import DataError
from finetune_trainer.fetch import FetchedData
from finetune_trainer.model_files import context_length
from finetune_trainer.prepared_document import PreparedDocument
from finetune_trainer.prepared_store import (
    download_store,
    find_store,
    mark_used,
    store_key,
    store_root,
    upload_store,
)
from finetune_trainer.progress_lines import ProgressLines
from finetune_trainer.source_data import fetch_validated

LOG: Final = logging.getLogger(__name__)
_RAW_TEXT_TOKENS: Final = 1024
"""Length of the pieces that raw text is cut into, where the spec leaves it open."""
_SHORTEST: Final = 16
"""The least that `spec.data.maxTokens` can be."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Prepared data that lies in S3."""

    uri: str
    """Prefix of the store."""
    digest: str
    """Of the files of it that training reads."""
    directory: Path
    """Its copy on disk: all of it, or where it was found by preflight, the small files."""
    index: StoreIndex


def token_limit(spec: FinetuneJobSpec, model_directory: Path) -> int:
    """What sequences are cut to: `spec.data.maxTokens`, or what the model takes at once.

    Where answers are generated they need room too: a test row's prompt can be nearly as long as the row.
    """
    if spec.data.max_tokens is not None:
        return spec.data.max_tokens
    context = context_length(model_directory) or _RAW_TEXT_TOKENS
    if spec.objective.type == "continued-pretraining":
        return min(_RAW_TEXT_TOKENS, context)
    answer = spec.evaluation.max_new_tokens if spec.objective.type == "sft" else 0
    return max(context - answer, min(context, _SHORTEST))


class DataRoom:
    """Where one job's data is made ready."""

    def __init__(self, context: Context, tokenizer: Any, model_directory: Path, progress: ProgressLines) -> None:
        """The base model's tokenizer, and its directory on disk with or without weights.

        Raises:
            SettingsError: the tokenizer lacks what the template needs.

        """
        spec = context.request.spec
        self._context, self._model_directory, self._progress = context, model_directory, progress
        self._tokenizer = tokenizer
        self.max_tokens = token_limit(spec, model_directory)
        self._make_shape = partial(make_shape, spec.objective, spec.data, tokenizer, self.max_tokens)
        self.shape: Shape = self._make_shape()
        self.directory = context.work_dir / "prepared"

    def uri(self, data_digest: str) -> str:
        """Where the data with this digest lies once it is prepared."""
        spec = self._context.request.spec
        return f"{store_root(self._context)}{store_key(spec, data_digest, self._model_directory, self.max_tokens)}/"

    def find(self, uri: str, *, whole: bool) -> Ready | None:
        """The data as an earlier job has left it, if it has; without its token ids where not `whole`."""
        storage = self._context.storage
        manifest = find_store(storage, uri)
        if manifest is None:
            return None
        mark_used(self._context, uri)
        self._empty()
        if not download_store(storage, uri, manifest, self.directory, None if whole else SMALL):
            return None
        LOG.info("the data lies prepared under %s", uri)
        return Ready(uri, manifest.digest, self.directory, self._index())

    def prepare(self, data: FetchedData) -> StoreIndex:
        """Read and encode every row on disk. Bad ones are kept aside; `judge` says what they mean."""
        spec = self._context.request.spec
        self._empty()
        self._progress.stage("validating")
        builder = ReportBuilder(show_rows=True)
        preparation = Preparation(
            spec.data,
            self._make_shape,
            self.directory,
            max_tokens=self.max_tokens,
            test_rows=spec.evaluation.max_rows,
            watch=builder,
            on_batch=self._on_batch,
        )
        index = preparation.run(data.files)
        write_report(builder, spec, index, self._tokenizer, self.directory / REPORT)
        return index

    def publish(self, uri: str) -> Ready:
        """Leave what was prepared for other jobs, and for training."""
        mark_used(self._context, uri)
        manifest = upload_store(self._context.storage, self.directory, uri)
        return Ready(uri, manifest.digest, self.directory, self._index())

    def open(self, ready: Ready) -> Prepared:
        """What was found or prepared, for use."""
        return Prepared(ready.directory, self._context.request.spec.data, self.shape, self._tokenizer)

    def _index(self) -> StoreIndex:
        return StoreIndex.model_validate_json((self.directory / INDEX).read_text())

    def _empty(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)

    def _on_batch(self, meter: Meter) -> None:
        self._context.stop.check()
        self._progress.validated(rows=meter.rows, done=meter.done, total=meter.total)


def judge(context: Context, index: StoreIndex) -> DataError | None:
    """Why prepared data cannot be used by the job's own settings: too many bad rows, or a side that has none."""
    try:
        refuse_bad_rows(index.bad, index.rows_read, context.request.spec.data)
        require_rows(train=index.train.rows, test=index.test.rows)
    except DataError as error:
        return error
    return None


def publish_quarantine(context: Context, directory: Path, index: StoreIndex) -> None:
    """Upload the rows that were put aside, also where they are too many: they are what has to be mended."""
    if context.request.spec.data.on_bad_row == "quarantine" and index.bad.total:
        context.storage.upload(directory / BAD_ROWS, context.layout.quarantine)


def open_ready(
    context: Context, document: PreparedDocument, tokenizer: Any, model_directory: Path, progress: ProgressLines
) -> Prepared:
    """The prepared data that the document names; prepared again where it was removed meanwhile.

    Raises:
        DataError: DatasetChanged; it is not what was validated.

    """
    room = DataRoom(context, tokenizer, model_directory, progress)
    ready = room.find(document.store_uri, whole=True) or _prepare_again(context, document, room)
    if ready.digest != document.store_digest:
        raise _changed(f"{ready.uri} has the digest {ready.digest}, but {document.store_digest} was validated")
    return room.open(ready)


def _prepare_again(context: Context, document: PreparedDocument, room: DataRoom) -> Ready:
    LOG.info("%s is gone; the data is prepared again", document.store_uri)
    data = fetch_validated(context, document)
    uri = room.uri(data.digest)
    if uri != document.store_uri:
        raise _changed(f"{document.store_uri} is gone, and this trainer would prepare the data otherwise")
    refusal = judge(context, room.prepare(data))
    if refusal is not None:
        raise refusal
    return room.publish(uri)


def _changed(message: str) -> DataError:
    return DataError(
        reason=Reason.DATASET_CHANGED,
        message=f"the prepared data is not what preflight validated: {message}",
        advice="create the FinetuneJob anew under another name and another spec.output.uri",
    )
