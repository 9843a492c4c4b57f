"""One S3 server and one tiny model for all runs of the trainer."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from checkpointing import layout, storage  # noqa: F401  fixtures
from fault_proxy import fault_proxy
from killed_run import BreakableJob
from s3_server import S3Server, s3  # noqa: F401  the fixture
from trainer_fork import ForkServer
from trainer_run import WHOLE, Bench, Finished, add_rows

from finetune_api.exit_codes import ExitCode


@pytest.fixture(scope="session")
def bench(s3: S3Server, tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:  # noqa: F811
    return Bench(s3, s3.put_directory("models/tiny", tiny_model_dir), tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def finished(bench: Bench) -> Finished:
    """A job that ran from preflight to its end, alone and unbroken, with a volume that keeps its base model."""
    sections = {**WHOLE, "resources": {"modelCache": "models"}}
    bench.put_rows("whole", add_rows(120))
    preflight = bench.preflight("whole", **sections)
    assert preflight.code == ExitCode.SUCCESS, preflight.output
    training = bench.start(bench.after(preflight, "whole", **sections)).wait()
    assert training.code == ExitCode.SUCCESS, training.output
    return Finished(bench, preflight, training)


@pytest.fixture(scope="session")
def breakable(bench: Bench) -> Iterator[BreakableJob]:
    """A job to be killed and resumed, behind a proxy that injects faults."""
    with fault_proxy(bench.s3.endpoint) as proxy:
        yield BreakableJob(bench, proxy, ForkServer())
