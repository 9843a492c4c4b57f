"""What is claimed of speed and memory, measured; `python -m benchmarks.NAME --help` says how, from a plain clone."""

import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PARTS: Final = [str(ROOT / part) for part in ("operator/src", "trainer_image/src", "tests/cluster", "tests/support")]
"""Where the two programs are, and the pieces that tests and benchmarks share."""

sys.path[:0] = PARTS
