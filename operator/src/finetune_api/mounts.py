"""Paths inside the trainer container; the operator mounts them, the trainer reads them."""

from typing import Final

WORK_DIR: Final = "/work"
"""Scratch disk: base model, working files and caches."""
MODEL_CACHE_DIR: Final = "/models"
"""The volume that keeps base models for later jobs."""
CREDENTIALS_DIR: Final = "/var/run/finetune/s3"
"""The credentials Secret, one file per key; files, because environment variables leak into crash dumps."""
CA_FILE: Final = "/var/run/finetune/ca/ca.crt"
"""The private certificate authority to trust for S3."""
TERMINATION_MESSAGE: Final = "/dev/termination-log"
"""Where the kubelet reads the final report."""
