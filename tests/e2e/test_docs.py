"""Every command in the tutorial prints what the tutorial says, on a finished run of the README's example."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from console_blocks import ConsoleBlock, blocks, shape
from examples.demo.target import TEAM, Target

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"
BLOCKS = blocks(PAGE)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]


@pytest.mark.slow(name="order desk", minutes=6)
@pytest.mark.parametrize("block", BLOCKS, ids=[block.command for block in BLOCKS])
def test_a_command_of_the_tutorial_prints_what_the_page_says(
    block: ConsoleBlock, installed: Target, order_desk: dict[str, Any]
) -> None:
    name = order_desk["metadata"]["name"]
    program, *arguments = shlex.split(block.command.replace("order-desk", name))
    assert program == "kubectl"
    printed = installed.kubectl.inside(TEAM).run(*arguments)
    assert shape(printed) == block.shape


def test_the_tutorial_shows_what_a_user_looks_at() -> None:
    commands = " ".join(block.command for block in BLOCKS)
    for verb in ("get ftj", "describe ftj", "explain ftj", "-o yaml"):
        assert verb in commands
