"""Write, or check for drift, the files generated from the contract: the CRD and its copy in the chart.

python -m finetune_operator.generate --write
python -m finetune_operator.generate --check
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import yaml

from finetune_api.crd import custom_resource_definition

HEADER: Final = "# Generated from operator/src/finetune_api by `make generate`; do not edit.\n"
TARGETS: Final = (
    Path("crds/finetune.dev_finetunejobs.yaml"),
    Path("charts/finetune-operator/files/finetune.dev_finetunejobs.yaml"),
)


def render() -> str:
    """The CRD as YAML."""
    return HEADER + yaml.safe_dump(custom_resource_definition(), sort_keys=False, width=110, allow_unicode=True)


def main() -> int:
    """Entry point; exits 1 when a file differs from what the models say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true", help="write the files")
    mode.add_argument("--check", action="store_true", help="fail if a file on disk differs")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository's root (default: here)")
    options = parser.parse_args()
    text = render()
    stale = [path for path in TARGETS if not _is_current(options.root / path, text)]
    for path in stale:
        if options.write:
            (options.root / path).parent.mkdir(parents=True, exist_ok=True)
            (options.root / path).write_text(text)
        print(f"{'wrote' if options.write else 'stale, run `make generate`:'} {path}", file=sys.stderr)  # noqa: T201
    return 1 if stale and options.check else 0


def _is_current(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
