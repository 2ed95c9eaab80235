from __future__ import annotations

import pytest

from serve.settings import Limits, ModelSettings, Settings, SettingsError, plain_settings, settings_from


def test_a_model_is_its_directory_or_more():
    settings = settings_from({"models": {"a": "x/y", "b": {"dir": "z", "calibration": "c"}}, "replicas": 2})
    assert settings.models == {"a": ModelSettings("x/y"), "b": ModelSettings("z", "c")}
    assert settings.replicas == 2


def test_settings_survive_the_way_through_plain_values_without_their_defaults():
    settings = Settings({"a": ModelSettings("x", calibration="c")}, reload_seconds=0, limits=Limits(max_texts=7))
    plain = plain_settings(settings)
    assert plain == {
        "models": {"a": {"dir": "x", "calibration": "c"}},
        "reload_seconds": 0,
        "limits": {"max_texts": 7},
    }
    assert settings_from(plain) == settings


@pytest.mark.parametrize(
    ("plain", "says"),
    [
        ({}, "models"),
        ({"models": {}}, "models"),
        ({"models": {"a/b": "x"}}, "regex"),
        ({"models": {"a": "x"}, "replicas": 0}, "replicas"),
        ({"models": {"a": "x"}, "replica": 1}, "unknown field `replica`"),
        ({"models": {"a": {"dir": "x", "kind": "y"}}}, "unknown field `kind`"),
        ({"models": {"a": "x"}, "limits": {"max_texts": "7"}}, "limits.max_texts"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(plain: dict, says: str):
    with pytest.raises(SettingsError, match="settings of the endpoint") as caught:
        settings_from(plain)
    assert says in str(caught.value)
