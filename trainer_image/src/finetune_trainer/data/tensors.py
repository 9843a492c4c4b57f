"""safetensors files as numpy arrays: written whole, read by memory map.

The package's own numpy reader copies what it reads; a map lets a process touch a few rows of gigabytes. The layout is
eight bytes with the length of a JSON header, the header, then the tensors' bytes
(https://huggingface.co/docs/safetensors/index#format).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

Array = NDArray[Any]
Arrays = dict[str, Array]

_TYPES: Final = {"U8": np.uint8, "I16": np.int16, "I32": np.int32, "I64": np.int64, "F32": np.float32}
"""Those that are written here."""


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays to one file."""
    save_file(dict(arrays), path)


def map_arrays(path: Path) -> Arrays:
    """The arrays of a file. Pages are read when touched; writing to an array changes memory, never the file."""
    with path.open("rb") as source:
        size = int.from_bytes(source.read(8), "little")
        header: dict[str, Any] = json.loads(source.read(size))
    header.pop("__metadata__", None)
    content = np.memmap(path, np.uint8, mode="c", offset=0)
    start = 8 + size
    arrays = {}
    for name, tensor in header.items():
        first, end = tensor["data_offsets"]
        # A plain view: slices of np.memmap objects are slow to make.
        plain = np.asarray(content[start + first : start + end])
        arrays[name] = plain.view(_TYPES[tensor["dtype"]]).reshape(tensor["shape"])
    return arrays
