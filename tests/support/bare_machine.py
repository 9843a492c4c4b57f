"""Python as on a machine that has torch, transformers, accelerate, peft and pytest, their needs, and nothing else."""

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parents[2]
LIBRARIES: Final = ("torch", "transformers", "accelerate", "peft", "pytest")
UNUSED: Final = {"jinja2", "pydantic"}
"""Required by torch for its compiler's templates, and by transformers' command line."""


def bare_python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with this tree's sources and those libraries alone, from a `folder` that holds links to them."""
    libraries = folder / "libraries"
    if not libraries.exists():
        _link(LIBRARIES, libraries)
    path = [libraries, *(ROOT / part for part in ("operator/src", "trainer_image/src", "tests/support", "."))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "HF_HUB_OFFLINE": "1"}
    # -S: without it the packages of the environment that Python belongs to are there too.
    command = [sys.executable, "-S", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, env=environment)


def _link(names: Iterable[str], folder: Path) -> None:
    folder.mkdir()
    for name in _required(names, set()):
        for path in distribution(name).files or ():
            top = path.parts[0]
            if top not in ("..", "__pycache__") and not (folder / top).exists():
                (folder / top).symlink_to(Path(str(distribution(name).locate_file(top))).resolve())


def _required(names: Iterable[str], seen: set[str]) -> Iterator[str]:
    """The distributions and all that they require."""
    for name in map(canonicalize_name, names):
        if name in seen | UNUSED:
            continue
        seen.add(name)
        yield name
        needed = map(Requirement, distribution(name).requires or ())
        yield from _required([each.name for each in needed if not each.marker or each.marker.evaluate()], seen)
