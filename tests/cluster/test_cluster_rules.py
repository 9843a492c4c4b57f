"""The rules behind the local cluster that need no cluster to hold."""

import datetime
import os
import platform
import shutil
import ssl
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcluster import build, doctor, images
from localcluster.buildah import pip_config, uv_config
from localcluster.layout import Layout
from localcluster.pki import Authority, Subject
from localcluster.plan import Plan, choose_number, first_choice
from localcluster.state import ComponentState, load_states, save_state
from localcluster.storage import identities, missing_buckets

ROOT = Path("/somewhere/clusters/default")


@given(st.sets(st.integers(0, 255), max_size=255))
def test_a_new_cluster_takes_a_network_that_nobody_has(taken: set[int]) -> None:
    number = choose_number(ROOT, taken)
    assert 0 <= number <= 255
    assert number not in taken


def test_a_cluster_alone_gets_its_first_choice() -> None:
    assert choose_number(ROOT, ()) == first_choice(ROOT)


def test_a_machine_without_a_free_network_says_so() -> None:
    with pytest.raises(RuntimeError, match="stop a cluster first"):
        choose_number(ROOT, range(256))


def test_two_clusters_of_one_name_share_no_interface_address_or_control_group(tmp_path: Path) -> None:
    one, other = (Plan(Layout("default", tmp_path / cache), number) for cache, number in (("a", 1), ("b", 2)))
    pairs = zip(
        (one.host_interface, one.node_address, one.cgroup, one.layout.root),
        (other.host_interface, other.node_address, other.cgroup, other.layout.root),
        strict=True,
    )
    assert all(mine != theirs for mine, theirs in pairs)


def test_keys_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    made = identities(path)
    assert identities(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len({identity.secret_key for identity in made.values()}) == len(made)


@pytest.mark.parametrize(
    ("listing", "missing"),
    [
        ("", ["models", "team-a", "team-b"]),
        ("  models\tsize:0\tlogical:0\n", ["team-a", "team-b"]),
        ("  models\tsize:0\n  team-a\tsize:0\n  team-b\tsize:9\n", []),
        ("  team-a-old\tsize:0\n", ["models", "team-a", "team-b"]),
    ],
)
def test_only_missing_buckets_are_made(listing: str, missing: list[str]) -> None:
    assert missing_buckets(listing) == missing


def test_a_certificate_is_trusted_through_its_authority_and_kept(tmp_path: Path) -> None:
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    authority = Authority(tmp_path, "ca", now)
    pair = authority.issue("server", Subject("server", addresses=("10.213.1.2",), hosts=("s3.storage.svc",)))
    first = pair.certificate.read_bytes()
    assert Authority(tmp_path, "ca", now).issue("server", Subject("server")).certificate.read_bytes() == first
    assert stat.S_IMODE(pair.key.stat().st_mode) == 0o600
    trust = ssl.create_default_context(cafile=str(authority.pair.certificate))
    trust.load_cert_chain(pair.certificate, pair.key)


def test_a_state_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    states = [ComponentState("etcd", True, None, "a.log"), ComponentState("coredns", True, -9, "b.log")]
    save_state(tmp_path / "state.json", states)
    assert load_states(tmp_path / "state.json") == states
    assert [state.word for state in states] == ["running", "died"]


@pytest.mark.parametrize(
    ("system", "user", "tools", "complaint"),
    [
        ("Darwin", 0, True, "needs Linux, this is Darwin"),
        ("Linux", 1000, True, "needs root"),
        ("Linux", 0, False, "containerd is missing: apt-get install containerd"),
        ("Linux", 0, False, "Go is missing"),
    ],
)
def test_what_is_missing_is_one_line_that_names_the_way_out(
    monkeypatch: pytest.MonkeyPatch, system: str, user: int, tools: bool, complaint: str
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(shutil, "which", lambda program: program if tools else None)
    lines = [line for line in doctor.complaints() if complaint in line]
    assert len(lines) == 1
    assert "CLUSTER=current" in lines[0]


def test_a_cache_that_the_cluster_could_not_see_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", "/var/lib/finetune")
    assert any("set FINETUNE_CACHE to another folder" in line for line in doctor.complaints())


def test_every_pinned_module_has_a_version_and_a_fingerprint_of_its_own() -> None:
    families = (*build.FAMILIES, build.KUEUE)
    assert all(build.pinned_version(family) for family in families)
    assert len({build.fingerprint(family) for family in families}) == len(families)


@pytest.mark.parametrize("index", [None, "https://packages.example.com/simple"])
def test_the_index_of_this_machine_is_lent_to_image_builds(index: str | None) -> None:
    lent = index or "index-url"
    assert (lent in pip_config(index), lent in uv_config(index)) == (index is not None,) * 2


@pytest.mark.parametrize(
    ("edited", "another"),
    [
        ("operator/src/finetune_operator/new.py", True),
        ("trainer_image/Dockerfile", True),
        ("requirements/torch.txt", True),
        ("operator/src/__pycache__/new.pyc", False),
        ("docs/architecture.md", False),
    ],
)
def test_images_are_built_anew_for_what_goes_into_them_only(tmp_path: Path, edited: str, another: bool) -> None:
    before = images.source_digest(tmp_path)
    (tmp_path / edited).parent.mkdir(parents=True)
    (tmp_path / edited).write_text("edited")
    assert (images.source_digest(tmp_path) != before) == another
