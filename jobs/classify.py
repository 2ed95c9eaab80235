"""classify: a served model over every row, its probabilities in a new column."""

from __future__ import annotations

from typing import Any

import click

from jobs.command import Number, input_option, output_option, run, run_options, text_option, verb

EXAMPLES = """
gristmill classify --url http://127.0.0.1:8000 --model quality -i data/raw -o data/scored
gristmill classify --url https://classifiers.example --api-key-file key.txt -i s3://corpus/web -o s3://corpus/scored
"""


@verb("classify", EXAMPLES)
@click.option("--url", required=True, help="The endpoint, as gristmill serve prints it.")
@click.option("-m", "--model", required=True, help="The model's name there.")
@input_option("-i", "--input-dir", "--dataset-dir")
@output_option
@click.option("-c", "--column", default="prediction", show_default=True, help="The field to set.")
@text_option
@click.option("--api-key-file", help="A file that holds the API key. [default: the variable GRISTMILL_API_KEY]")
@click.option("--patience", type=Number(1), default=300.0, show_default=True, help="Seconds to wait for an endpoint.")
@run_options
def command(**arguments: Any) -> Any:
    """Add to each row what a served classifier says of its text: the same bytes as infer-fasttext and infer-model2vec.

    A server that is busy, restarts or goes away is asked again; a run that was stopped continues where it was.
    """
    from actors.endpoint_client import Endpoint, EndpointClient
    from actors.remote_classifier import ClassifyRowsRemotely
    from jobs.job import Job, RunOptions

    options = RunOptions.taken_from(arguments)
    inputs, output = arguments.pop("input_dirs"), arguments.pop("output_dir")
    key_file, patience = arguments.pop("api_key_file"), arguments.pop("patience")
    endpoint = Endpoint(arguments["url"], arguments["model"], key_file, patience)
    with EndpointClient(endpoint) as client:
        model = client.describe()
    with Job("classify", arguments | {"version": model["version"]}, inputs, output, options) as job:
        if not job.complete:
            normalize = _is_left_to_do(model, job.input_form, arguments["url"])
            column, text = arguments["column"], arguments["text_expression"]
            job.write([ClassifyRowsRemotely(endpoint, model["version"], column, text, normalize)])
        return job.finish()


def _is_left_to_do(model: dict[str, Any], found: dict[str, Any] | None, url: str) -> bool:
    """Whether the endpoint has to normalize. Raises FormMismatch for texts that are neither raw nor in its form."""
    from actors.text_form import FormMismatch, form_of_steps, needed, same, steps_of

    wanted = model["normalization_steps"]
    left = steps_of(needed(form_of_steps(wanted), found, f"{model['name']} at {url}", "the dataset"))
    if left and not same(left, wanted):
        raise FormMismatch(
            f"the dataset has gone through {found['name'] if found else 'nothing'}, {model['name']} at {url} wants "
            f"{model['normalization']}: use the dataset as it was before normalize-dataset"
        )
    return bool(left) or not wanted


if __name__ == "__main__":
    run(command)
