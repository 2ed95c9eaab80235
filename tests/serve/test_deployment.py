from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

import serve
from actors.classifiers.card import ModelError
from serve.deployment import check, config
from serve.settings import settings_from

CONFIG = Path(serve.__file__).with_name("config.yaml")


def test_the_config_in_the_repository_is_what_the_command_prints():
    plain = msgspec.yaml.decode(CONFIG.read_bytes())
    (deployment,) = plain["applications"][0]["deployments"]
    settings = settings_from(deployment["user_config"] | {"replicas": deployment["num_replicas"]})
    text = CONFIG.read_text()
    comments = [line for line in text.splitlines(keepends=True) if line.startswith("#")]
    http = plain["http_options"]
    assert text == "".join(comments) + config(settings, http["host"], http["port"])


def test_the_config_is_one_that_ray_serve_takes():
    schema = pytest.importorskip("ray.serve.schema")
    found = schema.ServeDeploySchema(**msgspec.yaml.decode(CONFIG.read_bytes()))
    (application,) = found.applications
    module, _, name = application.import_path.partition(":")
    assert callable(getattr(__import__(module, fromlist=[name]), name))
    assert found.http_options.host == "127.0.0.1"


def test_a_look_at_the_models_says_what_they_are(model_dir: Path):
    (what,) = check(settings_from({"models": {"quality": str(model_dir)}})).values()
    assert what.startswith("fastText classification (cars / food), version ")


def test_models_that_cannot_be_served_are_refused_before_anything_starts(tmp_path: Path):
    with pytest.raises(ModelError, match=f"no model in {tmp_path}"):
        check(settings_from({"models": {"quality": str(tmp_path)}}))
    (tmp_path / "card.json").write_text(json.dumps({"kind": "static-embeddings", "task": "embedding"}))
    with pytest.raises(ModelError, match="embeddings without a classifier"):
        check(settings_from({"models": {"quality": str(tmp_path)}}))
    (tmp_path / "card.json").write_text("{")
    with pytest.raises(ModelError, match="is not a model card"):
        check(settings_from({"models": {"quality": str(tmp_path)}}))
