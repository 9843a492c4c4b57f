"""Images from Dockerfiles, by buildah with a store of its own inside the cache."""

import configparser
import io
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RELEASE = "bookworm"
"""Of the Debian in the images."""
EPOCH = 1767225600
"""Of everything in images, in seconds since 1970."""
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_APT = ("/etc/apt/sources.list", "/etc/apt/sources.list.d", "/etc/apt/apt.conf.d", "/usr/share/keyrings")
"""Where a machine of that release gets its packages from."""


class Buildah:
    """buildah, working in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._argv = ("buildah", "--root", str(folder / "store"), "--runroot", str(folder / "run"))

    def run(self, *argv: str) -> str:
        """Output of one command.

        Raises:
            RuntimeError: it failed; the message ends with buildah's last lines.
        """
        done = subprocess.run((*self._argv, *argv), capture_output=True, text=True, check=False)
        if done.returncode:
            said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
            raise RuntimeError(f"buildah {argv[0]} failed:\n{said}")
        return done.stdout.strip()

    def exists(self, image: str) -> bool:
        """Whether the store has `image`."""
        argv = (*self._argv, "inspect", "--type", "image", image)
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0

    def build(
        self, dockerfile: Path, context: Path, tag: str, arguments: Mapping[str, str], *, anew: bool = False
    ) -> None:
        """Build `dockerfile` and tag the image; `anew` takes no layer from an earlier build."""
        # Not a container of its own for each RUN: that needs rights which not every machine gives to root.
        argv = ["build", "--isolation=chroot", "--no-cache" if anew else "--layers", f"--tag={tag}"]
        # The time of all files that a layer adds: equal content then has equal digests.
        argv += [f"--timestamp={EPOCH}"]
        argv += [f"--build-arg={name}={value}" for name, value in arguments.items()]
        argv += [f"--volume={source}:{target}{mode}" for source, target, mode in self._volumes()]
        self.run(*argv, f"--file={dockerfile}", str(context))

    def inspect(self, image: str) -> dict[str, Any]:
        """The image's OCI configuration: layers, labels, user."""
        found: dict[str, Any] = json.loads(self.run("inspect", "--type", "image", image))["OCIv1"]
        return found

    def push(self, image: str, destination: str) -> None:
        """Push to a registry without TLS; layers it has are not sent again."""
        # Level 1 of zstd packs torch faster than a disk reads it; gzip would take minutes.
        packing = ("--compression-format=zstd", "--compression-level=1")
        self.run("push", "--quiet", "--tls-verify=false", *packing, image, f"docker://{destination}")

    def _volumes(self) -> list[tuple[Path, str, str]]:
        """How this machine reaches package indexes, lent to the build and not written into images."""
        pip, uv = self._folder / "pip.conf", self._folder / "uv.toml"
        index = package_index()
        pip.write_text(pip_config(index))
        uv.write_text(uv_config(index))
        lent = [(pip, "/etc/pip.conf", ":ro"), (uv, "/etc/uv/uv.toml", ":ro"), (_uv_cache(), "/root/.cache/uv", "")]
        if _CERTIFICATES.exists():
            lent.append((_CERTIFICATES, str(_CERTIFICATES), ":ro"))
        if platform.freedesktop_os_release().get("VERSION_CODENAME") == RELEASE:
            lent += [(Path(part), part, ":ro") for part in _APT if Path(part).exists()]
        return lent


def pip_config(index: str | None) -> str:
    """A pip.conf that trusts what the machine trusts and asks the index it asks."""
    parser = configparser.ConfigParser()
    parser["global"] = {"cert": str(_CERTIFICATES)} | ({"index-url": index} if index else {})
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


def uv_config(index: str | None) -> str:
    """The same for uv. The cache is another file system, so files are copied out of it."""
    lines = ["system-certs = true", 'link-mode = "copy"']
    return "\n".join(lines + ([f'index-url = "{index}"'] if index else [])) + "\n"


def package_index() -> str | None:
    """The index this machine is told to use, by environment or pip's configuration; None for PyPI."""
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        if os.environ.get(variable):
            return os.environ[variable]
    argv = (sys.executable, "-m", "pip", "config", "get", "global.index-url")
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip() or None


def _uv_cache() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = Path(os.environ.get("UV_CACHE_DIR") or base / "uv")
    cache.mkdir(parents=True, exist_ok=True)
    return cache
