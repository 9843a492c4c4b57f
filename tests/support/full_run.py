"""`make test-full`: every case, resumable, with a dated result to commit.

Tests that passed on this very tree are remembered outside the repository and not run again; a changed tree starts
anew. The result is written to docs/test-full.md when every case has run.
"""

import hashlib
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

RESULT = "docs/test-full.md"


class FullRun:
    """A pytest plugin for one repository."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = _cache() / "test-full" / f"{_tree(root)}.json"
        self.passed: dict[str, float] = json.loads(self.state.read_text()) if self.state.exists() else {}
        self.skipped: set[str] = set()
        self.failed: set[str] = set()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what passed on this tree before."""
        done = [item for item in items if item.nodeid in self.passed]
        if done:
            config.hook.pytest_deselected(items=done)
            items[:] = [item for item in items if item.nodeid not in self.passed]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember each passed case at once, so that nothing is lost when the run is cut off."""
        if report.failed:
            self.failed.add(report.nodeid)
        elif report.skipped:
            self.skipped.add(report.nodeid)
        elif report.when == "call":
            self.passed[report.nodeid] = round(report.duration, 2)
            self.state.parent.mkdir(parents=True, exist_ok=True)
            self.state.write_text(json.dumps(self.passed))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the dated result."""
        if session.config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
            return
        lines = [
            "# Result of `make test-full`",
            "",
            f"- date: {datetime.now(UTC):%Y-%m-%d}",
            f"- tree: {_tree(self.root)[:12]} ({platform.machine()}, {os.cpu_count()} cores)",
            f"- passed: {len(self.passed)}, failed: {len(self.failed)}, skipped: {len(self.skipped)}",
            "",
            *[f"- failed: `{node}`" for node in sorted(self.failed)],
            *[f"- skipped: `{node}`" for node in sorted(self.skipped)],
        ]
        (self.root / RESULT).write_text("\n".join(lines).rstrip() + "\n")


def _cache() -> Path:
    base = os.environ.get("FINETUNE_CACHE")
    return Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "finetune-operator"


def _tree(root: Path) -> str:
    """Digest of the commit's files and of what was changed since; the result itself is no change."""
    files = [line for line in _git(root, "ls-tree", "-r", "HEAD").splitlines() if not line.endswith(RESULT.encode())]
    return hashlib.sha256(b"\n".join(files) + _git(root, "diff", "HEAD", "--", ".", f":!{RESULT}")).hexdigest()


def _git(root: Path, *argv: str) -> bytes:
    return subprocess.run(("git", *argv), cwd=root, capture_output=True, check=True).stdout
