"""export-training-data: rows of training data as Parquet files, or as a dataset saved to disk."""

from __future__ import annotations

from typing import Any

import click

from jobs.command import output_option, run, verb

EXAMPLES = """
gristmill export-training-data -d data/rows -o exports/parquet
gristmill export-training-data -d data/rows -o exports/hf --format hf
"""


@verb("export-training-data", EXAMPLES)
@click.option("-d", "--dataset-dir", "--input-dir", "input_dir", required=True, help="What build-training-data wrote.")
@output_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "hf"]),
    default="parquet",
    show_default=True,
    help="parquet: files for load_dataset. hf: a directory for load_from_disk.",
)
@click.option("--endpoint-url", help="Endpoint for s3:// paths (MinIO, Swift, R2 …).")
@click.option("--fresh", is_flag=True, help="Delete an earlier run's output and start over.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="No output but errors.")
def command(input_dir: str, output_dir: str, form: str, **arguments: Any) -> Any:
    """Write the rows with grids as nested lists, splits as train and validation.

    Parquet lies in data/, as on the Hugging Face hub, and is read by load_dataset("parquet", data_dir=…) or
    load_dataset(DIR); hf needs the datasets library. Work is done on this machine, batch by batch, without Ray.
    """
    from jobs.job import Job, RunOptions
    from pipelines.program_synthesis.data_files import find_data
    from pipelines.program_synthesis.export import export_parquet, export_saved

    options = RunOptions.taken_from(arguments)
    data = find_data(input_dir, options.endpoint_url)
    place = data.files.root.url if data.files.root else input_dir
    with Job(
        "export-training-data",
        {"format": form},
        [place],
        output_dir,
        options,
        find_sources=lambda urls, endpoint: data.files.inputs(),
    ) as job:
        found: dict[str, Any] = {}
        if not job.complete:
            rows = (export_saved if form == "hf" else export_parquet)(data, job.output)
            found = {f"{split}_rows": count for split, count in rows.items()}
        return job.finish(**found)


if __name__ == "__main__":
    run(command)
