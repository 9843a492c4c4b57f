"""Training speed; see `__main__`. It runs from a clone in which nothing is installed."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("operator/src", "trainer_image/src")]
