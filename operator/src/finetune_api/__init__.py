"""The contract between users, the operator and the trainer.

Everything that crosses a process boundary is defined here once: the FinetuneJob's spec and status, the request
the operator hands to the trainer, the report and progress the trainer hands back, exit codes, names and labels.
Standard library and pydantic only, so that both sides, tests and tools can import it at no cost.
"""

GROUP = "finetune.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "FinetuneJob"
PLURAL = "finetunejobs"
