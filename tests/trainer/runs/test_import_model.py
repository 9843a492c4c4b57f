"""A model from a hub into S3 by the trainer's own command, from a local server that speaks the hub's API.

No public hub has been asked: what is shown is that the hub's own client, this command and S3 fit together.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub, hub_server
from s3_server import S3Server

from finetune_api.exit_codes import ExitCode

ROOT = Path(__file__).resolve().parents[3]
COMMIT = "a" * 40
REPOSITORY = "makers/tiny"


@pytest.fixture
def hub(tiny_model_dir: Path, tmp_path: Path) -> Iterator[Hub]:
    """The tiny model as its makers publish it: with papers, and with what must not be taken."""
    directory = tmp_path / "published"
    directory.mkdir()
    for path in tiny_model_dir.iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    (directory / "LICENSE").write_text("Apache License")
    (directory / "README.md").write_text("# Tiny")
    (directory / "pytorch_model.bin").write_bytes(b"pickled")
    (directory / "modeling_tiny.py").write_text("raise SystemExit")
    (directory / "onnx").mkdir()
    (directory / "onnx" / "model.safetensors").write_bytes(b"another form")
    with hub_server(Hub(directory, REPOSITORY, COMMIT, "apache-2.0")) as served:
        yield served


def run(
    hub: Hub, s3: S3Server, work: Path, prefix: str, *, revision: str = COMMIT, license_name: str = "apache-2.0"
) -> subprocess.CompletedProcess[str]:
    command = [
        *(sys.executable, "-m", "finetune_trainer", "import-model"),
        *("--repository", hub.repository, "--revision", revision, "--license", license_name),
        *("--to", f"s3://team/{prefix}", "--hub", hub.endpoint),
        *("--s3-endpoint", s3.endpoint, "--credentials-dir", str(s3.credentials_dir), "--work-dir", str(work)),
    ]
    # As in the image, where every library is kept from hubs.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HOME": str(work / "cache")}
    environment["PYTHONPATH"] = f"{ROOT / 'operator/src'}:{ROOT / 'trainer_image/src'}"
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def record(s3: S3Server, prefix: str) -> dict[str, Any]:
    return json.loads(s3.get(f"s3://team/{prefix}/model-source.json"))


def test_a_model_stands_in_s3_with_its_origin_and_licence_and_a_second_run_asks_for_nothing(
    hub: Hub, s3: S3Server, tmp_path: Path, tiny_model_dir: Path
) -> None:
    done = run(hub, s3, tmp_path, "models/imported")
    assert done.returncode == ExitCode.SUCCESS, done.stderr
    expected = {path.name for path in tiny_model_dir.iterdir()} | {"LICENSE", "README.md", "model-source.json"}
    assert set(s3.keys("s3://team/models/imported/")) == expected
    weights = tiny_model_dir / "model.safetensors"
    assert s3.get("s3://team/models/imported/model.safetensors") == weights.read_bytes()
    told = record(s3, "models/imported")
    assert {name: told[name] for name in ("repository", "revision", "license", "licenseOnHub")} == {
        "repository": REPOSITORY,
        "revision": COMMIT,
        "license": "apache-2.0",
        "licenseOnHub": "apache-2.0",
    }
    assert {file["name"] for file in told["files"]} == expected - {"model-source.json"}
    assert not any(path.endswith((".bin", ".py", "onnx/model.safetensors")) for path in hub.asked)
    hub.asked.clear()
    assert run(hub, s3, tmp_path, "models/imported").returncode == ExitCode.SUCCESS
    assert hub.asked == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"revision": "main"}, "--revision 'main' is no commit"),
        ({"license_name": "mit"}, "is licensed apache-2.0, not mit"),
        ({"revision": "b" * 40}, f"there is no {REPOSITORY} at {'b' * 40}"),
    ],
)
def test_what_is_not_pinned_not_there_or_licensed_otherwise_is_refused(
    hub: Hub, s3: S3Server, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    done = run(hub, s3, tmp_path, "models/refused", **change)
    assert done.returncode == ExitCode.SETTINGS
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert s3.keys("s3://team/models/refused/") == []


def test_pickled_weights_alone_are_refused_before_anything_is_copied(hub: Hub, s3: S3Server, tmp_path: Path) -> None:
    (hub.directory / "model.safetensors").unlink()
    (hub.directory / "onnx" / "model.safetensors").unlink()
    done = run(hub, s3, tmp_path, "models/pickled")
    assert done.returncode == ExitCode.SETTINGS
    assert "only pickled weights (pytorch_model.bin)" in done.stderr
    assert s3.keys("s3://team/models/pickled/") == []


def test_bytes_that_are_not_those_the_hub_lists_are_refused_and_an_import_that_broke_off_is_taken_up(
    hub: Hub, s3: S3Server, tmp_path: Path
) -> None:
    hub.changed.add("model.safetensors")
    done = run(hub, s3, tmp_path, "models/changed")
    assert done.returncode == ExitCode.INFRASTRUCTURE
    assert "model.safetensors is not what" in done.stderr
    assert "model-source.json" not in s3.keys("s3://team/models/changed/")
    hub.changed.clear()
    assert run(hub, s3, tmp_path, "models/changed").returncode == ExitCode.SUCCESS
    assert record(s3, "models/changed")["revision"] == COMMIT


def test_a_prefix_that_holds_another_model_is_left_as_it_is(hub: Hub, s3: S3Server, tmp_path: Path) -> None:
    s3.put("models/taken/config.json", b"{}")
    done = run(hub, s3, tmp_path, "models/taken")
    assert done.returncode == ExitCode.SETTINGS
    assert "is not empty: it holds config.json" in done.stderr
    assert s3.keys("s3://team/models/taken/") == ["config.json"]


def test_a_hub_that_does_not_answer_is_worth_another_try(hub: Hub, s3: S3Server, tmp_path: Path) -> None:
    hub.endpoint = "http://127.0.0.1:9"
    done = run(hub, s3, tmp_path, "models/silent")
    assert done.returncode == ExitCode.INFRASTRUCTURE
    assert "may reach the hub" in done.stderr
