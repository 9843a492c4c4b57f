"""Install, upgrade, roll back, uninstall, reinstall by real Helm on a real API server; the operator runs as it is told.

Nothing has been published yet. The previous release is this project's chart as it was before it had Roles, pull secrets
and more, as version 0.0.1 (data/previous); once there is a release, its chart takes that one's place.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cluster_objects as o
import pytest
from helm_release import OPERATOR, Release
from kubectl import Kubectl, difference
from operator_account import as_account
from played_job import children, end, settled, start, submit, until_phase
from rendered_chart import CHART

ROOT = Path(__file__).resolve().parents[2]
CRD = "finetunejobs.finetune.dev"

pytestmark = pytest.mark.cluster
long = pytest.mark.slow(name="chart life cycle", minutes=3)


def team(server: Kubectl, name: str) -> Kubectl:
    server.run("create", "namespace", name)
    return server.inside(name)


def looks(release: Release, folder: Path) -> None:
    """Let the operator of the release as it is now look at every job, with no right missing."""
    with release.operator(folder) as operator:
        release.kubectl.wait("it acts", operator.leads, timeout=30, interval=0.2)
        settled(release.kubectl)
        assert "forbidden" not in operator.log()
        # Killed, it would leave the Lease held, and the next one waiting.
        assert operator.ask_to_stop() == 0


def kept(team: Kubectl) -> Any:
    """What must stay as it is: the training Job as it was made, and the job's own account of it."""
    (job,) = [child for child in children(team) if child["metadata"]["name"] == f"{o.NAME}-train"]
    found = team.get("ftj", o.NAME)
    assert found is not None
    return job["metadata"]["uid"], job["metadata"]["generation"], found["metadata"]["generation"], found["status"]


@long
def test_a_running_job_comes_untouched_through_upgrade_rollback_uninstall_and_reinstall(
    bare_server: Kubectl, release: Release, previous: Path, tmp_path: Path
) -> None:
    release.upgrade(chart=previous)
    bare_server.established(f"crd/{CRD}")
    users = team(bare_server, "life-cycle")
    submit(users)
    release.upgrade("--set", "settings.workers=3")
    with release.operator(tmp_path) as operator:
        end(users, "preflight", 0, o.passed())
        start(users, "train")
        until_phase(users, "Running")
        operator.ask_to_stop()
    before = kept(users)
    # The operator of the previous release is not at hand, and this one refuses to start on an older definition.
    release.helm("rollback", release.name, "1")
    assert "FINETUNE_OPERATOR_CA_KEY" not in release.environment()
    assert kept(users) == before
    release.helm("rollback", release.name, "2")
    assert release.environment()["FINETUNE_OPERATOR_WORKERS"] == "3"
    looks(release, tmp_path)
    assert kept(users) == before
    release.uninstall()
    assert kept(users) == before
    release.upgrade()
    looks(release, tmp_path)
    assert kept(users) == before
    with release.operator(tmp_path):
        end(users, "train", 0, o.trained())
        done = until_phase(users, "Complete")
    assert [attempt["outcome"] for attempt in done["attempts"]] == ["Succeeded"]
    assert len(children(users)) == 2


@long
def test_uninstalling_leaves_the_definition_and_nothing_else(bare_server: Kubectl, release: Release) -> None:
    release.upgrade("--set", "rbac.nodes=true")
    made = release.helm("get", "manifest", release.name)
    release.uninstall()
    found = bare_server.run("get", "-f", "-", "--ignore-not-found", "-o", "name", stdin=made)
    assert found.split() == [f"customresourcedefinition.apiextensions.k8s.io/{CRD}"]


@long
def test_a_release_by_another_name_says_whose_the_definition_is_and_takes_it_when_told_to(release: Release) -> None:
    release.upgrade()
    release.uninstall()
    other = Release(release.kubectl, "other")
    refused = other.tried("install", other.name, str(CHART))
    assert refused.returncode != 0
    assert "invalid ownership metadata" in refused.stderr
    other.helm("install", other.name, str(CHART), "--take-ownership")
    other.uninstall()


def test_what_is_installed_differs_in_nothing_from_what_is_rendered(release: Release) -> None:
    release.upgrade()
    rendered = release.helm("template", release.name, str(CHART), "--no-hooks", "--kube-version", "1.34.0")
    assert difference(release.kubectl, rendered) == ""


@long
def test_the_operator_can_be_moved_from_the_whole_cluster_to_some_namespaces_and_back(
    bare_server: Kubectl, release: Release, tmp_path: Path
) -> None:
    team(bare_server, "served")
    operator = f"system:serviceaccount:finetune-system:{OPERATOR}"

    def serves(namespace: str) -> bool:
        return may(bare_server, "create", "jobs.batch", operator, namespace)

    release.upgrade()
    assert (serves("served"), serves("default")) == (True, True)
    release.upgrade("--set", "settings.namespaces={served}")
    assert (serves("served"), serves("default")) == (True, False)
    looks(release, tmp_path)
    # Given no values at all, Helm takes those of the last time.
    release.upgrade("--reset-values")
    assert (serves("served"), serves("default")) == (True, True)
    assert bare_server.inside("served").items("roles") == []


@long
def test_whoever_may_write_into_two_namespaces_only_can_install_there(
    bare_server: Kubectl, release: Release, tmp_path: Path
) -> None:
    bare_server.run("apply", "-f", str(ROOT / "crds" / "finetune.dev_finetunejobs.yaml"))
    system, users = team(bare_server, "modest-system"), team(bare_server, "modest-team")
    system.run("create", "serviceaccount", "installer")
    installer = "--serviceaccount=modest-system:installer"
    for namespace in (system, users):
        namespace.run("create", "rolebinding", "installer", "--clusterrole=admin", installer)
        # To give rights away one has to hold them, or to be trusted with that.
        namespace.run(
            "create", "role", "granting", "--verb=escalate,bind", "--resource=roles.rbac.authorization.k8s.io"
        )
        namespace.run("create", "rolebinding", "granting", "--role=granting", installer)
    modest = Release(as_account(system, "installer", tmp_path))
    modest.upgrade(
        "--set", "settings.namespaces={modest-team}", "--set", "rbac.aggregate=false", "--set", "crds.enabled=false"
    )  # fmt: skip
    with Release(system).operator(tmp_path) as operator:
        submit(users)
        end(users, "preflight", 0, o.passed())
        start(users, "train")
        until_phase(users, "Running")
        assert "forbidden" not in operator.log()


@pytest.mark.parametrize(
    ("role", "verb", "resource", "allowed"),
    [
        ("view", "get", "finetunejobs", True),
        ("view", "get", "finetunejobs/status", True),
        ("view", "create", "finetunejobs", False),
        ("edit", "create", "finetunejobs", True),
        ("edit", "list", "finetunejobs", True),
        ("edit", "patch", "finetunejobs/status", False),
        ("admin", "deletecollection", "finetunejobs", True),
        ("admin", "update", "finetunejobs/finalizers", False),
    ],
)
def test_kubernetes_own_roles_say_what_users_may_do_with_jobs(
    users_of_roles: Kubectl, role: str, verb: str, resource: str, allowed: bool
) -> None:
    assert may(users_of_roles, verb, f"{resource}.finetune.dev", role, "roles") is allowed


def may(server: Kubectl, verb: str, resource: str, user: str, namespace: str) -> bool:
    name, _, subresource = resource.replace(".finetune.dev", "").partition("/")
    group = ".finetune.dev" if "finetune.dev" in resource else ""
    more = [f"--subresource={subresource}"] if subresource else []
    asked = server.command("auth", "can-i", verb, name + group, *more, "--as", user, "-n", namespace)
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def users_of_roles(bare_server: Kubectl) -> Iterator[Kubectl]:
    """A namespace called roles, in which a user is named after the role that he has; the chart is installed."""
    release = Release(bare_server.inside("finetune-system"))
    release.upgrade()
    namespace = team(bare_server, "roles")
    for role in ("view", "edit", "admin"):
        namespace.run("create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}")
    bare_server.wait(
        "roles are aggregated", lambda: may(bare_server, "get", "finetunejobs.finetune.dev", "view", "roles")
    )
    yield bare_server
    release.uninstall()
