"""A worked example: its FinetuneJob, the data files that the job names, and both as a target wants them.

The committed YAML files speak of the bucket `team-a`; a target has its own bucket, and each run its own name.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from examples.demo.target import DemoError, Target

ROOT: Final = Path(__file__).resolve().parents[1]
_TEAM_URI: Final = "s3://team-a"
"""Prefix of everything but the model in the committed files."""
_ADAPTERS: Final = f"{_TEAM_URI}/adapters/"
_SIDES: Final = ("train", "validation", "test")


@dataclass(frozen=True)
class Example:
    """One job of one example."""

    path: Path
    """The job's YAML file, in the folder that has its data."""
    manifest: dict[str, Any]
    """What the file says."""

    @classmethod
    def load(cls, name: str, job: str = "finetunejob.yaml") -> "Example":
        """The job `job` of the example `name`.

        Raises:
            DemoError: there is no such file; names those there are.

        """
        path = ROOT / name / job
        if not path.is_file():
            known = ", ".join(f"{each.parent.name} ({each.name})" for each in sorted(ROOT.glob("*/*.yaml")))
            raise DemoError(f"there is no examples/{name}/{job}; choose from {known}")
        return cls(path, yaml.safe_load(path.read_text()))

    @property
    def job_name(self) -> str:
        """Name of the job in its file; runs add a number."""
        return str(self.manifest["metadata"]["name"])

    @property
    def parent(self) -> str | None:
        """Name of the job whose adapter this one goes on from."""
        uri = self.manifest["spec"]["model"].get("adapterUri")
        return uri.removeprefix(_ADAPTERS).split("/")[0] if uri else None

    @property
    def data_files(self) -> dict[str, Path]:
        """The files of its data sets, by their place in the team's bucket."""
        folder = self.path.parent
        found: dict[str, Path] = {}
        for dataset in _datasets(self.manifest):
            key = dataset["uri"].removeprefix(f"{_TEAM_URI}/")
            place = ROOT / key
            paths = sorted(place.iterdir()) if key.endswith("/") else [place]
            found |= {f"{folder.name}/{path.relative_to(folder)}": path for path in paths}
        return found

    def manifest_for(self, target: Target, name: str, *, seed: int, adapter_uri: str | None) -> dict[str, Any]:
        """The job with this run's name, seed, S3 and parent adapter."""
        manifest: dict[str, Any] = yaml.safe_load(self.path.read_text())
        manifest["metadata"]["name"] = name
        spec = manifest["spec"]
        spec["model"]["uri"] = target.model_uri
        if adapter_uri:
            spec["model"]["adapterUri"] = adapter_uri
        for dataset in _datasets(manifest):
            dataset["uri"] = target.team_uri + dataset["uri"].removeprefix(_TEAM_URI)
        spec["output"]["uri"] = f"{target.team_uri}/adapters/{name}"
        spec["storage"] = target.storage_spec.model_dump(exclude_none=True)
        spec.setdefault("training", {})["seed"] = seed
        return manifest


def _datasets(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for side in _SIDES:
        yield from manifest["spec"]["data"].get(side, [])
