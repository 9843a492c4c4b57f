"""The shell commands of a page, run as a reader would: in a folder that has what they name of this repository."""

import os
import re
import subprocess
from pathlib import Path
from typing import Final

from kubectl import Kubectl

ROOT: Final = Path(__file__).resolve().parents[2]
_FOLDERS: Final = ("charts", "crds", "docs", "examples")
_BLOCK: Final = re.compile(r"^## (?P<heading>[^\n]+)$|^```bash\n(?P<commands>.*?)^```$", re.DOTALL | re.MULTILINE)


def shell_blocks(page: Path) -> dict[str, list[str]]:
    """The bash blocks of each section, by its heading."""
    found: dict[str, list[str]] = {}
    heading = ""
    for match in _BLOCK.finditer(page.read_text()):
        heading = match["heading"] or heading
        found.setdefault(heading, []).extend([match["commands"]] if match["commands"] else [])
    return found


def run(commands: str, folder: Path, *programs: Path, kubectl: Kubectl | None = None) -> str:
    """Run commands in a folder, against a cluster where one is given; what they print.

    `programs` are folders to find more programs in.

    Raises:
        AssertionError: a command failed; says what it said.
    """
    for name in _FOLDERS:
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    path = [*map(str, programs), *([str(kubectl.binary.parent)] if kubectl else []), os.environ["PATH"]]
    environment = {**os.environ, "PATH": os.pathsep.join(path)}
    if kubectl is not None:
        environment["KUBECONFIG"] = str(kubectl.kubeconfig)
    done = subprocess.run(
        ("bash", "-eu", "-o", "pipefail", "-c", commands),
        cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
    return done.stdout
