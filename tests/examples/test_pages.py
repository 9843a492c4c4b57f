"""Each objective has a page that shows its example's job as it is committed, and the README leads to it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = {
    "continued-pretraining": "house-manual/finetunejob.yaml",
    "classification": "review-sentiment/finetunejob.yaml",
    "preference": "support-tone/finetunejob.yaml",
    "reward": "support-tone/reward.yaml",
    "transfer": "order-desk/transfer.yaml",
    "multi-task": "order-desk/mixed.yaml",
}
PARTS = ["When", "The data", "The job", "What the status shows", "How to read it", "Pitfalls"]


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


def task_of(job: str) -> str:
    """A job's spec without where it runs, which is the same for all examples."""
    text = (ROOT / "examples" / job).read_text()
    return text[text.index("spec:\n") : text.index("  storage:\n")]


@pytest.mark.parametrize(("name", "job"), PAGES.items())
def test_a_page_shows_the_job_that_is_committed(name: str, job: str) -> None:
    assert f"```yaml\n{task_of(job)}```" in page(name)


@pytest.mark.parametrize("name", PAGES)
def test_every_page_has_the_same_parts(name: str) -> None:
    assert re.findall(r"^## (.+)$", page(name), re.MULTILINE) == PARTS


def test_the_generative_job_differs_from_the_other_as_the_page_says() -> None:
    text = task_of("review-sentiment/generative.yaml")
    objective = text[text.index("  objective:\n") : text.index("  data:\n")]
    assert f"```yaml\n{objective}```" in page("classification")


@pytest.mark.parametrize("name", PAGES)
def test_the_readme_leads_to_the_page(name: str) -> None:
    assert f"docs/{name}.md" in (ROOT / "README.md").read_text()


def test_links_between_pages_and_examples_lead_somewhere() -> None:
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*/README.md"), ROOT / "README.md"]
    links = [(each.parent / link, each) for each in pages for link in re.findall(r"\]\(([^)#:]+)\)", each.read_text())]
    assert links
    assert [(str(link), each.name) for link, each in links if not link.exists()] == []
