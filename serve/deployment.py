"""Bringing the application up: a look at its models before anything starts, the deployment, and its configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from actors.classifiers.card import CARD_FILE, Card, ModelError
from cluster.embedded import session_folder
from cluster.errors import GristmillError
from cluster.storage import open_storage
from serve.api_keys import ApiKeys
from serve.models import version_of
from serve.settings import APPLICATION, DEPLOYMENT, Settings, plain_settings, with_absolute_paths

KINDS = {"fasttext": "fastText", "model2vec": "model2vec"}


class DeploymentFailed(GristmillError):
    """The replicas could not start; the message says what they said."""


def check(settings: Settings) -> dict[str, str]:
    """What each model is, in a few words. Raises GristmillError for keys or models that cannot be, before Ray starts."""
    ApiKeys(settings.api_keys_file)
    found = {}
    for name, model in settings.models.items():
        version = version_of(model, settings.endpoint_url)
        try:
            card = msgspec.json.decode(open_storage(model.dir, settings.endpoint_url).read(CARD_FILE), type=Card)
        except FileNotFoundError:
            found[name] = f"a model without a card, version {version}"
            continue
        except msgspec.DecodeError as error:
            raise ModelError(f"{model.dir}/{CARD_FILE} is not a model card ({error}); train the model again") from error
        if card.kind == "static-embeddings":
            raise ModelError(f"{model.dir} holds embeddings without a classifier; train one with train-model2vec")
        labels = " / ".join(card.labels[:6]) + (" …" if len(card.labels) > 6 else "")
        found[name] = f"{KINDS[card.kind]} {card.task}{f' ({labels})' if labels else ''}, version {version}"
    return found


@contextmanager
def deployed(settings: Settings) -> Iterator[None]:
    """Within, the application runs on the Ray Serve of this process. Raises DeploymentFailed."""
    from ray import serve

    from serve.application import build

    try:
        serve.run(build(plain_settings(with_absolute_paths(settings))), name=APPLICATION, route_prefix="/")
    except Exception as error:  # Ray raises plain ones, with the replicas' own errors in their text
        raise DeploymentFailed(_reason(error)) from error
    yield


def _reason(error: Exception) -> str:
    """The line in which a replica said what is wrong, out of Ray's report."""
    from ray import serve

    said = str(error)
    application = serve.status().applications.get(APPLICATION)
    for deployment in application.deployments.values() if application else ():
        said += "\n" + deployment.message
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    for line in reversed(lines):
        kind, colon, message = line.partition(": ")
        if colon and kind.rpartition(".")[2].endswith(("Error", "Refused", "Mismatch")) and message:
            return message
    said = lines[0] if lines else repr(error)
    return f"the replicas could not start: {said}; see Ray's logs in {session_folder()}/logs"


def config(settings: Settings, host: str, port: int) -> str:
    """The configuration that `serve deploy` takes, as YAML. Paths stay as they are given: relative to the cluster's."""
    deployment = {
        "name": DEPLOYMENT,
        "num_replicas": settings.replicas,
        "user_config": plain_settings(msgspec.structs.replace(settings, replicas=1)),
    }
    plain: dict[str, Any] = {
        "proxy_location": "EveryNode",
        "http_options": {"host": host, "port": port},
        "applications": [
            {
                "name": APPLICATION,
                "route_prefix": "/",
                "import_path": "serve.application:build",
                "deployments": [deployment],
            }
        ],
    }
    text: bytes = msgspec.yaml.encode(plain)
    return text.decode()
