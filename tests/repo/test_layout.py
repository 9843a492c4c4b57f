"""The folder `operator/` must never shadow Python's own `operator` module."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("container", ["operator", "trainer_image"])
def test_a_container_folder_is_not_a_package(container: str) -> None:
    assert list((ROOT / container).glob("*.py")) == []


def test_tests_have_no_packages_and_no_folder_called_operator() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []
    assert [path for path in (ROOT / "tests").rglob("operator") if path.is_dir()] == []


def test_importing_operator_from_the_root_gives_the_standard_library() -> None:
    command = [sys.executable, "-c", "import operator, collections; print(operator.__file__)"]
    environment = {"PYTHONPATH": str(ROOT)}
    printed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert Path(printed.strip()).parent == Path(sysconfig.get_path("stdlib"))
