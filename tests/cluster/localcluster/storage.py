"""S3 identities and buckets: one of each per team, and a shared bucket of base models to read."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

ADMIN = "admin"
TEAMS = ("team-a", "team-b")
MODELS_BUCKET = "models"
BUCKETS = (MODELS_BUCKET, *TEAMS)


@dataclass(frozen=True)
class Identity:
    """One S3 user's key pair."""

    access_key: str
    secret_key: str


def identities(path: Path) -> dict[str, Identity]:
    """Every identity by name; random keys are made at the first call and kept in `path`, mode 0600."""
    if not path.exists():
        made = {
            name: asdict(Identity(access_key=secrets.token_hex(10).upper(), secret_key=secrets.token_urlsafe(30)))
            for name in (ADMIN, *TEAMS)
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(made, indent=2) + "\n")
    stored = json.loads(path.read_text())
    return {name: Identity(**keys) for name, keys in stored.items()}


def _new_identity() -> Identity:
    return Identity(access_key=secrets.token_hex(10).upper(), secret_key=secrets.token_urlsafe(30))


def seaweed_identities(known: Mapping[str, Identity]) -> dict[str, object]:
    """SeaweedFS's identity file: each team may do everything in its bucket and read base models."""
    return {
        "identities": [
            {
                "name": name,
                "credentials": [{"accessKey": identity.access_key, "secretKey": identity.secret_key}],
                "actions": actions_of(name),
            }
            for name, identity in known.items()
        ]
    }


def actions_of(name: str) -> list[str]:
    """What an identity may do, in SeaweedFS's words."""
    if name == ADMIN:
        return ["Admin", "Read", "Write", "List", "Tagging"]
    own = [f"{action}:{name}" for action in ("Read", "Write", "List", "Tagging")]
    return [*own, f"Read:{MODELS_BUCKET}", f"List:{MODELS_BUCKET}"]


def missing_buckets(listing: str) -> list[str]:
    """Buckets that `weed shell`'s list lacks; making one that exists would be an error."""
    present = {line.split()[0] for line in listing.splitlines() if line.strip()}
    return [bucket for bucket in BUCKETS if bucket not in present]
