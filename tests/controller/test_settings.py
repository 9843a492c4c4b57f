"""Settings come from flags, then the environment, then defaults."""

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
