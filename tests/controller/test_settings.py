"""Settings come from flags, then the environment, then defaults."""

import json

import pytest

from finetune_operator.settings import ENVIRONMENT_PREFIX, Settings, read_settings

IMAGE = ENVIRONMENT_PREFIX + "TRAINER_IMAGE"


def test_flags_win_over_the_environment_which_wins_over_defaults() -> None:
    environment = {IMAGE: "from-environment", ENVIRONMENT_PREFIX + "WORKERS": "3", ENVIRONMENT_PREFIX + "PORT": "81"}
    settings = read_settings(["--port", "82", "--namespaces", "a,b"], environment)
    assert settings == Settings(trainer_image="from-environment", workers=3, port=82, namespaces=("a", "b"))


def test_defaults_of_flags_and_of_the_type_agree() -> None:
    assert read_settings(["--trainer-image", "i"], {}) == Settings(trainer_image="i")


def test_a_missing_trainer_image_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings([], {})
    assert "--trainer-image" in capsys.readouterr().err


def test_the_memory_of_gpus_is_read_by_resource() -> None:
    environment = {ENVIRONMENT_PREFIX + "GPU_MEMORY": "nvidia.com/gpu=80Gi,example.com/gpu=24G"}
    settings = read_settings(["--trainer-image", "i"], environment)
    assert settings.gpu_memory == (("nvidia.com/gpu", 80 * 2**30), ("example.com/gpu", 24 * 10**9))


@pytest.mark.parametrize("wrong", ["nvidia.com/gpu", "nvidia.com/gpu=80GB", "nvidia.com/gpu=", "=,"])
def test_a_wrong_memory_of_gpus_is_refused_and_shown(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(["--trainer-image", "i", "--gpu-memory", wrong], {})
    assert f"--gpu-memory: {wrong!r} is not of the form nvidia.com/gpu=80Gi" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False)])
def test_kueue_is_on_or_off(text: str, value: bool) -> None:
    assert read_settings(["--trainer-image", "i", "--kueue", text], {}).kueue is value


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--kueue", "perhaps"], "--kueue: 'perhaps' is neither true nor false"),
        (["--preflight-queue", "checks"], "set --kueue=true too"),
    ],
)
def test_a_queue_without_kueue_is_refused(flags: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(["--trainer-image", "i", *flags], {})
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(("text", "place"), [("system/operator", ("system", "operator")), ("", None)])
def test_a_lease_is_told_by_namespace_and_name_or_is_not_used(text: str, place: tuple[str, str] | None) -> None:
    assert read_settings(["--trainer-image", "i"], {ENVIRONMENT_PREFIX + "LEASE": text}).lease == place


@pytest.mark.parametrize("wrong", ["operator", "/operator", "system/"])
def test_a_lease_without_namespace_or_name_is_refused_and_shown(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(["--trainer-image", "i", "--lease", wrong], {})
    assert f"--lease: {wrong!r} is not of the form namespace/name" in capsys.readouterr().err


def test_annotations_may_hold_any_sign() -> None:
    settings = read_settings(["--trainer-image", "i", "--pod-annotations", '{"a": "b=c, \\"d\\" {e}"}'], {})
    assert settings.pod_annotations == (("a", 'b=c, "d" {e}'),)


@pytest.mark.parametrize(
    ("flag", "wrong", "says"),
    [
        ("--pod-labels", "team=a", "'team=a' is no JSON object"),
        ("--pod-labels", "[]", "'[]' is no JSON object"),
        ("--https-proxy", "proxy:3128", "a proxy is http://host:port"),
        ("--http-proxy", "http://me:hunter2@proxy:3128", "without user and password"),
    ],
)
def test_what_would_reach_every_pod_is_checked(
    flag: str, wrong: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        read_settings(["--trainer-image", "i", flag, wrong], {})
    told = capsys.readouterr().err
    assert says in told
    assert "hunter2" not in told


def test_admin_settings_are_read_from_json() -> None:
    admin = {"allowedBuckets": ["s3://team-data/{namespace}"], "maxGpus": None, "defaults": {"queue": "gpus"}}
    settings = read_settings(["--trainer-image", "i", "--kueue", "true", "--admin", json.dumps(admin)], {})
    assert settings.admin.allowed_buckets == ("s3://team-data/{namespace}/",)
    assert (settings.admin.max_gpus, settings.admin.defaults.queue) == (None, "gpus")


@pytest.mark.parametrize(
    ("admin", "says"),
    [
        ('{"maxGpu": 3}', "admin.maxGpu: Extra inputs are not permitted"),
        ('{"defaults": {"endpoint": "ftp://x"}}', "admin.defaults.endpoint: String should match"),
        ('{"defaults": {"queue": "gpus"}}', "set --kueue=true too"),
        ("[", "admin: Invalid JSON"),
    ],
)
def test_wrong_admin_settings_are_named(admin: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(["--trainer-image", "i", "--admin", admin], {})
    assert says in capsys.readouterr().err
