"""What is done to the large libraries before they are imported: kept offline, left out where nothing needs them."""

import importlib
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path


def restrain(work_dir: Path) -> None:
    """Keep libraries from model hubs, the node's identity and the read-only root, and from filling the log."""
    os.environ.update(
        HF_HUB_OFFLINE="1",
        TRANSFORMERS_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        HF_HOME=str(work_dir / "cache"),
        XDG_CACHE_HOME=str(work_dir / "cache"),
        # Programs lie there, which are loaded as they are: never on a volume that others write to.
        TORCHINDUCTOR_CACHE_DIR=str(work_dir / "cache" / "compiled"),
        TRANSFORMERS_VERBOSITY="error",
        TQDM_DISABLE="1",
        # A job without an S3 identity of its own must not be given the node's.
        AWS_EC2_METADATA_DISABLED="true",
    )
    warnings.simplefilter("ignore", FutureWarning)


def hide_torch() -> None:
    """Keep transformers from importing torch for a tokenizer: ten seconds for nothing."""
    sys.modules["torch"] = None  # type: ignore[assignment]


def hide_bitsandbytes(method: str) -> None:
    """Keep PEFT from importing bitsandbytes, which it does wherever it finds it: seconds, and qlora alone needs it."""
    if method != "qlora":
        sys.modules.setdefault("bitsandbytes", None)  # type: ignore[arg-type]


def import_all(check: Callable[[], None]) -> None:
    """Import what takes long to, and ask between whether to go on."""
    for name in ("torch", "transformers", "accelerate", "peft"):
        importlib.import_module(name)
        check()
