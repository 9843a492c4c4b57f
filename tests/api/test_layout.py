"""Where things lie under an output: one run beside another, and what they share."""

import pytest

from finetune_api.layout import OutputLayout

OUTPUT = "s3://team/jobs/tune/"

# arguments of `of`; root, checkpoints, promoted.json, prepared data
LAYOUTS: dict[str, tuple[dict[str, str], tuple[str, str, str, str]]] = {
    "of the first run": (
        {},
        (
            "s3://team/jobs/tune",
            "s3://team/jobs/tune/checkpoints/",
            "s3://team/jobs/tune/promoted.json",
            "s3://team/jobs/.prepared/",
        ),
    ),
    "of a named run": (
        {"run_id": "b"},
        (
            "s3://team/jobs/tune/reruns/b",
            "s3://team/jobs/tune/reruns/b/checkpoints/",
            "s3://team/jobs/tune/promoted.json",
            "s3://team/jobs/.prepared/",
        ),
    ),
    "of a named run with other places": (
        {"run_id": "b", "checkpoint_uri": "s3://fast/tune", "promote_uri": "s3://team/serve/"},
        (
            "s3://team/jobs/tune/reruns/b",
            "s3://fast/tune/reruns/b/checkpoints/",
            "s3://team/serve/promoted.json",
            "s3://team/jobs/.prepared/",
        ),
    ),
}


@pytest.mark.parametrize(("where", "expected"), LAYOUTS.values(), ids=LAYOUTS)
def test_layout(where: dict[str, str], expected: tuple[str, str, str, str]) -> None:
    layout = OutputLayout.of(OUTPUT, **where)  # type: ignore[arg-type]
    assert (layout.root, layout.checkpoints, layout.promoted, layout.prepared_stores) == expected
