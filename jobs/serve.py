"""serve: classifiers behind an HTTP endpoint on this machine, with a page to try them on."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterable
from typing import Any

import click

from jobs.command import Number, run, verb

EXAMPLES = """
gristmill serve --model quality=quickstart/models/fasttext
gristmill serve --model fast=models/fasttext --model static=models/model2vec --replicas 2 --port 8080
gristmill serve --model quality=s3://models/quality --host 0.0.0.0 --api-keys keys.txt
gristmill serve --model quality=models/fasttext --print-config > config.yaml && serve deploy config.yaml
"""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Named(click.ParamType[tuple[str, str]]):
    """NAME=VALUE."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, equals, rest = str(value).partition("=")
        if not (name and equals and rest):
            self.fail(f"{value!r}: write NAME=DIR, for instance quality=models/fasttext", param, ctx)
        return name, rest


NAMED = Named()


@verb("serve", EXAMPLES)
@click.option("-m", "--model", "models", type=NAMED, multiple=True, required=True, help="A name and a model directory.")
@click.option("--calibration", "calibrations", type=NAMED, multiple=True, help="A model's name and its calibration.")
@click.option("--calibration-label", "labels", type=NAMED, multiple=True, help="A model's name and the label it is of.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; another than this needs keys.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--api-keys", type=click.Path(dir_okay=False), help="A file with one API key on each line.")
@click.option("--without-api-keys", is_flag=True, help="Let anybody in who reaches --host.")
@click.option(
    "--replicas", type=click.IntRange(1), default=1, show_default=True, help="Processes; each fills one core."
)
@click.option("--max-wait-ms", type=click.IntRange(1), help="Refuse what would wait for longer. [default: 50]")
@click.option("--reload-seconds", type=Number(0), help="Look for new models so often; 0: never. [default: 10]")
@click.option("--endpoint-url", help="Endpoint for s3:// paths (MinIO, Swift, R2 …).")
@click.option("--print-config", is_flag=True, help="Print the configuration for `serve deploy`, and serve nothing.")
def command(**arguments: Any) -> None:
    """Serve trained classifiers over HTTP: POST /v1/models/NAME:classify, a page at /, the interface at /docs.

    A model directory that is written anew is taken up while requests go on. On a cluster, deploy the configuration
    that --print-config prints with Ray's own `serve deploy`.
    """
    from serve.settings import settings_from

    settings = settings_from(_plain(arguments))
    host, port = arguments["host"], arguments["port"]
    if host not in LOOPBACK and not (settings.api_keys_file or arguments["without_api_keys"]):
        raise click.UsageError(
            f"--host {host} lets other machines in: give --api-keys FILE, or --without-api-keys if anybody may ask"
        )
    if arguments["print_config"]:
        from serve.deployment import config

        click.echo(config(settings, host, port), nl=False)
        return
    _serve(settings, host, port)


def _plain(arguments: dict[str, Any]) -> dict[str, Any]:
    """The settings as the options give them."""
    models = _of_models("--model", arguments["models"], None)
    calibrations = _of_models("--calibration", arguments["calibrations"], models)
    labels = _of_models("--calibration-label", arguments["labels"], calibrations)
    plain: dict[str, Any] = {
        "models": {
            name: {"dir": place, "calibration": calibrations.get(name), "calibration_label": labels.get(name)}
            for name, place in models.items()
        },
        "api_keys_file": arguments["api_keys"],
        "endpoint_url": arguments["endpoint_url"],
        "replicas": arguments["replicas"],
    }
    if arguments["reload_seconds"] is not None:
        plain["reload_seconds"] = arguments["reload_seconds"]
    if arguments["max_wait_ms"] is not None:
        plain["limits"] = {"max_wait_ms": arguments["max_wait_ms"]}
    return plain


def _of_models(option: str, pairs: Iterable[tuple[str, str]], known: dict[str, str] | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise click.UsageError(f"{option}: {name} is given twice")
        if known is not None and name not in known:
            raise click.UsageError(
                f"{option} {name}={value}: there is no {name}; there are {', '.join(known) or 'none'}"
            )
        found[name] = value
    return found


def _serve(settings: Any, host: str, port: int) -> None:
    from serve.deployment import check, deployed
    from serve.local import serving, wait_until_answering

    served = check(settings)
    stop = threading.Event()
    with serving(host, port, settings.replicas), deployed(settings):
        wait_until_answering(host, port)
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, lambda *_: stop.set())
        print(_welcome(served, host, port, settings.api_keys_file), file=sys.stderr, flush=True)
        stop.wait()
        print("gristmill: stopping; requests in flight are answered", file=sys.stderr, flush=True)


def _welcome(served: dict[str, str], host: str, port: int, keys: str | None) -> str:
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{port}"
    first = next(iter(served))
    key = " -H 'Authorization: Bearer KEY'" if keys else ""
    lines = [f"serving {name}: {what}" for name, what in served.items()]
    lines += [
        f"  try it     {url}/",
        f'  ask it     curl {url}/v1/models/{first}:classify{key} -d \'{{"inputs": ["def add(a, b): return a + b"]}}\'',
        f"  interface  {url}/docs",
        f"  API keys   {f'one of {keys}' if keys else 'none: whoever reaches this address may ask'}",
        "Ctrl-C stops it; a model directory that is written anew is taken up by itself.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    run(command)
