"""The pause image every pod sandbox starts from, made here because no public registry is asked for it."""

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

from localcluster.node import PAUSE_IMAGE

_SOURCE = Path(__file__).with_name("pause.c")


def build_pause_image(archive: Path, work: Path) -> None:
    """Compile the program, and pack it as an archive that `ctr images import` reads."""
    program = work / "pause"
    subprocess.run(("gcc", "-static", "-Os", "-s", "-o", str(program), str(_SOURCE)), check=True)
    layer = _tar({"pause": program.read_bytes()})
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE_IMAGE], "Layers": ["layer.tar"]}]
    files = {
        "layer.tar": layer,
        "config.json": json.dumps(config).encode(),
        "manifest.json": json.dumps(manifest).encode(),
    }
    archive.write_bytes(_tar(files))


def _tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
