"""A base model from a hub into S3: one revision, safetensors only, its licence recorded. Run once, by hand or by a Job.

Training never reaches for a hub. What is brought here is pinned by its commit, checked against the hub's own digests,
and described by `model-source.json`, which is written last: without it an import is not complete, with it a second one
does nothing.
"""

import argparse
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from finetune_api.conditions import Reason
from finetune_trainer.errors import InfrastructureError, SettingsError, StopRequested
from finetune_trainer.fetch import is_model_file
from finetune_trainer.manifest import file_sha256
from finetune_trainer.model_files import check_model_files, first_line
from finetune_trainer.storage import Storage

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LOG: Final = logging.getLogger(__name__)
RECORD: Final = "model-source.json"
CLAIM: Final = "model-source.importing.json"
"""Stands under the prefix while an import is under way, so that one that broke off can be told from another model."""
_PAPERS: Final = re.compile(r"(LICEN[CS]E|NOTICE|README|USE_POLICY)[^/]*", re.IGNORECASE)
"""What goes with a model though no program reads it."""
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_NAME: Final = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubModel:
    """A model on a hub, pinned."""

    endpoint: str
    repository: str
    revision: str
    """A commit: a branch or a tag can move."""
    license: str
    """As whoever imports it has read and accepted it; SPDX in lower case, as hubs write it."""

    @classmethod
    def of(cls, options: argparse.Namespace) -> "HubModel":
        """What the command line names.

        Raises:
            SettingsError: It does not name one model for good.
        """
        if not _NAME.fullmatch(options.repository):
            raise _wrong(
                f"--repository {options.repository!r} is not of the form owner/name", "name it as the hub does"
            )
        if not _COMMIT.fullmatch(options.revision):
            raise _wrong(
                f"--revision {options.revision!r} is no commit",
                "give the 40 hexadecimal digits of a commit, as the hub shows them in the model's history",
            )
        return cls(
            endpoint=options.hub.rstrip("/"),
            repository=options.repository,
            revision=options.revision,
            license=options.license.lower(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file of a model as the hub lists it."""

    name: str
    size: int | None
    sha256: str | None
    """Known of large files (Git LFS)."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    parser.add_argument("--repository", required=True, help="the model on the hub, owner/name")
    parser.add_argument("--revision", required=True, help="its commit, 40 hexadecimal digits")
    parser.add_argument(
        "--license", required=True, help="the licence that you have read and accept, as the hub names it"
    )
    parser.add_argument("--to", required=True, help="s3://bucket/prefix that the model is to stand under")
    parser.add_argument("--hub", default=hub, help="the hub, or a mirror of it (default: %(default)s)")
    parser.add_argument("--s3-endpoint", help="URL of an S3-compatible service; leave out for AWS")
    parser.add_argument("--s3-region", default="us-east-1", help="region that requests are signed for")
    parser.add_argument("--s3-path-style", action=argparse.BooleanOptionalAction, default=True, help="endpoint/bucket")


def import_model(source: HubModel, storage: Storage, uri: str, work_dir: Path) -> None:
    """Copy a model, unless it is there.

    Args:
        source: What to copy.
        storage: Where to write.
        uri: The prefix, `spec.model.uri` of jobs that use it.
        work_dir: Disk for the largest file.

    Raises:
        SettingsError: the hub has no such model, another licence or no safetensors; or the prefix is taken.
        InfrastructureError: the hub does not answer, or sent other bytes than it lists.
    """
    prefix = uri.rstrip("/") + "/"
    if _is_there(source, storage, prefix):
        LOG.info("%s is there already", prefix)
        return
    api = _connect(source)
    files, license_on_hub = _look(api, source)
    _take(source, storage, prefix)
    copied = []
    for file in files:
        path = _fetch(api, source, file, work_dir / "import")
        copied.append(_checked(path, file, source))
        storage.upload(path, prefix + file.name)
        LOG.info("copied %s, %d bytes", file.name, path.stat().st_size)
        # The next one has the disk to itself.
        shutil.rmtree(work_dir / "import")
    storage.write_if_absent(prefix + RECORD, _record(source, copied, license_on_hub))
    storage.delete([prefix + CLAIM])
    LOG.info("%s is complete: %s at %s, %s", prefix, source.repository, source.revision, source.license)


def _is_there(source: HubModel, storage: Storage, prefix: str) -> bool:
    record = storage.read(prefix + RECORD)
    found = json.loads(record) if record is not None else None
    if found is None or (found["repository"], found["revision"]) == (source.repository, source.revision):
        return found is not None
    raise _wrong(
        f"{prefix} holds {found['repository']} at {found['revision']}",
        "choose another --to; jobs that name this prefix go on with what they have",
    )


def _take(source: HubModel, storage: Storage, prefix: str) -> None:
    """Make sure that what stands under the prefix is nothing, or an import of the same that broke off."""
    claim = json.dumps({"repository": source.repository, "revision": source.revision}).encode()
    names = [item.uri.removeprefix(prefix) for item in storage.list_objects(prefix)]
    foreign = bool(names) and CLAIM not in names
    if foreign or not storage.write_if_absent(prefix + CLAIM, claim):
        found = names[0] if foreign else "another import that has not ended"
        raise _wrong(f"{prefix} is not empty: it holds {found}", "choose another --to, or remove what is there")


def _connect(source: HubModel) -> "HfApi":
    """A client that asks this hub and nobody else; the image keeps every library offline but here."""
    os.environ.update(
        HF_HUB_OFFLINE="0", HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_XET="1", HF_ENDPOINT=source.endpoint
    )
    from huggingface_hub import HfApi  # noqa: PLC0415  reads the environment when it is imported

    return HfApi(endpoint=source.endpoint)


def _look(api: "HfApi", source: HubModel) -> tuple[list[HubFile], str | None]:
    """The files to copy, and the licence by the hub's own account."""
    with _translated(source):
        info = api.model_info(source.repository, revision=source.revision, files_metadata=True)
    on_hub = (info.card_data.get("license") or "").lower() or None if info.card_data is not None else None
    if on_hub not in (None, source.license):
        raise _wrong(
            f"the hub says that {source.repository} is licensed {on_hub}, not {source.license}",
            "read that licence, and give its name as --license if you accept it",
        )
    listed = [
        HubFile(name=each.rfilename, size=each.size, sha256=each.lfs.sha256 if each.lfs is not None else None)
        for each in info.siblings or ()
    ]
    wanted = [file for file in listed if is_model_file(file.name) or _PAPERS.fullmatch(file.name)]
    check_model_files({file.name for file in listed}, f"{source.endpoint}/{source.repository}")
    return wanted, on_hub


def _fetch(api: "HfApi", source: HubModel, file: HubFile, directory: Path) -> Path:
    with _translated(source):
        return Path(api.hf_hub_download(source.repository, file.name, revision=source.revision, local_dir=directory))


def _checked(path: Path, file: HubFile, source: HubModel) -> dict[str, Any]:
    """What the record says of a file that is what the hub lists."""
    size, sha256 = path.stat().st_size, file_sha256(path)
    if file.size not in (None, size) or file.sha256 not in (None, sha256):
        raise InfrastructureError(
            reason=Reason.MODEL_INVALID,
            message=f"{file.name} is not what {source.endpoint} lists: other bytes arrived",
            advice="try again; if it stays so, a proxy or mirror changes what it passes on",
        )
    return {"name": file.name, "size": size, "sha256": sha256}


def _record(source: HubModel, files: Sequence[dict[str, Any]], license_on_hub: str | None) -> bytes:
    content: dict[str, Any] = {
        "hub": source.endpoint,
        "repository": source.repository,
        "revision": source.revision,
        "license": source.license,
        "licenseOnHub": license_on_hub,
        "importedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "files": list(files),
    }
    return json.dumps(content, indent=2).encode() + b"\n"


@contextmanager
def _translated(source: HubModel) -> Iterator[None]:
    """Turn what the hub's client raises into faults that a user is told about."""
    from huggingface_hub import errors  # noqa: PLC0415  as above

    name = f"{source.repository} at {source.revision} on {source.endpoint}"
    try:
        yield
    except (errors.GatedRepoError, errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise SettingsError(
            reason=Reason.MODEL_NOT_FOUND,
            message=f"there is no {name}, or not for you",
            advice="correct the name or the commit; a gated model wants a token (HF_TOKEN_PATH)",
        ) from error
    except StopRequested:
        raise
    except Exception as error:
        # The client has changed its HTTP library twice, and each has errors of its own.
        raise InfrastructureError(
            reason=Reason.STORAGE_UNAVAILABLE,
            message=f"{name} cannot be read: {first_line(error)}",
            advice="see that the pod may reach the hub (network policy, proxy), or name a mirror by --hub",
        ) from error


def _wrong(message: str, advice: str) -> SettingsError:
    return SettingsError(reason=Reason.SETTINGS_INVALID, message=message, advice=advice)
