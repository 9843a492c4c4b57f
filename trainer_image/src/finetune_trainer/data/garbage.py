"""Fewer searches for garbage while millions of small objects stream by.

Python looks for cycles each time some thousands of objects are new, and now and then among all objects there are; a
loaded tokenizer and its libraries are a million of them that stay. What streams by is freed without any search.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_NEW_OBJECTS: Final = 50_000
"""Python's own is 700. An error that is kept refers to the batch it was met in, a cycle that only a search frees."""


@contextmanager
def fewer_searches() -> Iterator[None]:
    """Within, what is there now is left out of searches, and they are seldom."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
