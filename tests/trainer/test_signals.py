"""SIGTERM as the trainer hears it."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from finetune_trainer.errors import StopRequested
from finetune_trainer.signals import StopSignal


@pytest.fixture
def stop() -> Iterator[StopSignal]:
    yield StopSignal().install()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def ask() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_outside_of_libraries_it_only_sets_a_flag(stop: StopSignal) -> None:
    ask()
    assert stop.should_stop()


def call(library: Callable[[], None], stop: StopSignal) -> None:
    with stop.interrupting():
        library()


def test_a_library_is_interrupted_at_once(stop: StopSignal) -> None:
    seen = []
    with pytest.raises(StopRequested):
        call(lambda: seen.append(ask()), stop)
    assert not seen


def test_a_library_is_not_even_called_where_it_has_come_before(stop: StopSignal) -> None:
    ask()
    with pytest.raises(StopRequested):
        call(lambda: pytest.fail("called"), stop)


def test_a_second_one_does_not_disturb_the_clean_up_after_the_first(stop: StopSignal) -> None:
    cleaned = []

    def library() -> None:
        try:
            ask()
        finally:
            ask()
            cleaned.append(True)

    with pytest.raises(StopRequested):
        call(library, stop)
    assert cleaned


def test_after_the_library_it_only_sets_a_flag_again(stop: StopSignal) -> None:
    with stop.interrupting():
        pass
    ask()
    assert stop.should_stop()


def test_one_that_was_held_back_is_heard() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # other threads of the tests do not hold it back
    stop = StopSignal().install()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert stop.should_stop()


def test_one_that_comes_while_libraries_are_imported_is_held_back(tmp_path: Path) -> None:
    """A module that the imports meet early sends it."""
    (tmp_path / "argparse.py").write_text(
        "import os, signal, sys\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.exit(7 if signal.SIGTERM in signal.sigpending() else 8)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = (sys.executable, "-m", "finetune_trainer", "train")
    assert subprocess.run(command, env=environment, check=False).returncode == 7
