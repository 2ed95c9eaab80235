"""What an endpoint is told: its models, who may ask, and how much it takes on. Read from the command line or YAML.

Unknown keys are errors. No secret is among the settings: API keys are in a file, whose name is.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

import msgspec

from cluster.errors import GristmillError

APPLICATION = DEPLOYMENT = "classifiers"
LOGGER = "ray.serve.gristmill"  # below Ray Serve's own: what others say in a replica reaches no file

ModelName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class SettingsError(GristmillError):
    """Settings that make no sense; the message names the key."""


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model directory or s3:// prefix; a calibration.json or the directory that holds one.

    `calibration_label` is the label whose probability a calibration of one input was fitted on. `tokenizer` says where
    the tokenizer of the model's normal form is, if it moved.
    """

    dir: str
    calibration: str | None = None
    calibration_label: str | None = None
    tokenizer: str | None = None


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one replica takes on.

    A request that would wait for longer than `max_wait_ms` before work on it begins is answered 503 at once. A body
    is at most `max_body_bytes` long, after decompression, and holds at most `max_texts` texts; a line of a stream is
    at most as long as a body. All bodies that are held at one time are at most `max_held_bytes`; of streams there are
    at most `max_streams` at once.
    """

    max_wait_ms: Positive = 50
    max_body_bytes: Positive = 8 << 20
    max_texts: Positive = 4096
    max_held_bytes: Positive = 256 << 20
    max_streams: Positive = 32


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole endpoint. `reload_seconds` is how often a replica looks for new versions of its models; 0 is never."""

    models: Annotated[dict[ModelName, ModelSettings], msgspec.Meta(min_length=1)]
    api_keys_file: str | None = None
    endpoint_url: str | None = None
    replicas: Positive = 1
    reload_seconds: Annotated[float, msgspec.Meta(ge=0)] = 10.0
    limits: Limits = Limits()


def settings_from(plain: dict[str, Any]) -> Settings:
    """Settings from plain values, with a model given as its directory alone or with more. Raises SettingsError."""
    models = plain.get("models")
    if isinstance(models, dict):
        whole = {name: {"dir": each} if isinstance(each, str) else each for name, each in models.items()}
        plain = plain | {"models": whole}
    try:
        return msgspec.convert(plain, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(f"settings of the endpoint: {error}") from error


def plain_settings(settings: Settings) -> dict[str, Any]:
    """The settings as plain values, without what is left at its default."""
    plain: dict[str, Any] = msgspec.to_builtins(settings)
    return _without_defaults(plain, Settings)


def _without_defaults(plain: dict[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    kept = {}
    for field in msgspec.structs.fields(kind):
        value = plain[field.name]
        if field.name == "models":
            value = {name: _without_defaults(each, ModelSettings) for name, each in value.items()}
        elif field.name == "limits":
            value = _without_defaults(value, Limits)
        if value != field.default and value != {}:
            kept[field.name] = value
    return kept


def with_absolute_paths(settings: Settings) -> Settings:
    """The same settings for processes that work in another directory."""
    models = {
        name: msgspec.structs.replace(
            model,
            dir=_absolute(model.dir),
            calibration=model.calibration and _absolute(model.calibration),
            tokenizer=model.tokenizer and _absolute(model.tokenizer),
        )
        for name, model in settings.models.items()
    }
    keys = settings.api_keys_file and _absolute(settings.api_keys_file)
    return msgspec.structs.replace(settings, models=models, api_keys_file=keys)


def _absolute(place: str) -> str:
    return place if "://" in place else os.path.abspath(os.path.expanduser(place))
