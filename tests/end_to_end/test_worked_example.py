"""The commands of the guide as a person types them, on small real data, on local disk and on an S3 server."""

import json
import shlex
from importlib import import_module
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.shards import ChunkSize, shards_of
from jobs.cli import VERBS

TOKENIZERS = Path(__file__).resolve().parents[2].parent / "shared" / "tokenizers"
pytestmark = [pytest.mark.component, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    """Real texts with a numeric score: functions of the standard library, by whether they hold a loop."""
    import sysconfig

    folder = tmp_path_factory.mktemp("parquet")
    rows = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for number, part in enumerate(path.read_text("utf-8", "replace").split("\ndef ")[1:]):
            score = (2 if "for " in part or "while " in part else 0) + (2 if "return" in part else 0)
            rows.append({"id": f"{path.name}:{number}", "text": f"def {part}"[:4000], "score": score})
    assert len(rows) > 1500
    table = pa.Table.from_pylist(rows)
    half = len(rows) // 2
    pq.write_table(table.slice(0, half), folder / "a.parquet", row_group_size=500)
    pq.write_table(table.slice(half), folder / "b.parquet", row_group_size=500)
    return folder


@pytest.fixture(scope="module")
def static_model(tmp_path_factory):
    """A static model made on the spot: random vectors for the words of the data."""
    pytest.importorskip("model2vec")
    import numpy as np
    from model2vec import StaticModel
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    text = [path.read_text("utf-8", "replace") for path in sorted(Path(json.__file__).parent.glob("*.py"))]
    trainer = trainers.WordPieceTrainer(vocab_size=2000, special_tokens=["[PAD]", "[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(text, trainer)
    vectors = np.random.default_rng(0).normal(size=(tokenizer.get_vocab_size(), 32)).astype(np.float32)
    folder = tmp_path_factory.mktemp("static")
    StaticModel(vectors=vectors, tokenizer=tokenizer).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module", params=["local", "s3"])
def place(request, tmp_path_factory):
    """(root of the outputs, endpoint arguments)"""
    if request.param == "local":
        return str(tmp_path_factory.mktemp("local")), []
    server = request.getfixturevalue("s3_server")
    import boto3

    boto3.client("s3", endpoint_url=server, region_name="us-east-1").create_bucket(Bucket="worked-example")
    return "s3://worked-example/run", ["--endpoint-url", server]


def rows_of(url, endpoint):
    found = []
    for shard in shards_of([url], endpoint[1] if endpoint else None):
        for chunk in shard.chunks(ChunkSize()):
            found += [(shard.name.split("/")[0], json.loads(line)) for line in chunk.payload.splitlines()]
    return found


def test_the_worked_example_runs_as_typed(ray_session, parquet, static_model, place):
    root, endpoint = place

    def gristmill(line):
        verb, *arguments = shlex.split(line.replace(" d/", f" {root}/"))
        command = import_module(f"jobs.{VERBS[verb][0]}").command
        return command.main([*arguments, "--quiet", *endpoint], prog_name=verb, standalone_mode=False)

    imported = gristmill(f"import-hf-dataset --name {parquet} --output-dir d/raw --test-split 300")
    raw = rows_of(f"{root}/raw", endpoint)
    assert imported["rows_out"] == len(raw) > 1500
    assert sum(split == "test" for split, _ in raw) == 300

    label = """'{score: (if .score < 3 then "neg" else "pos" end)}'"""
    gristmill(f"transform-dataset --input-dir d/raw --output-dir d/labelled --label-transform {label}")
    assert {row["score"] for _, row in rows_of(f"{root}/labelled", endpoint)} == {"neg", "pos"}

    gristmill("normalize-dataset --input-dir d/labelled --output-dir d/potion -n potion")
    assert not any("\n" in row["text"] for _, row in rows_of(f"{root}/potion", endpoint))

    counts = gristmill("label-distribution --dataset-dir d/potion --label-expression .score --output-dir d/labels")
    assert counts["rows_out"] == len(raw)

    gristmill("balance-dataset --input-dir d/potion --output-dir d/balanced")
    gristmill("reshard-dataset --dataset-dir d/balanced --output-dir d/resharded --num-files 32")
    resharded = shards_of([f"{root}/resharded"], endpoint[1] if endpoint else None)
    assert len(resharded) == 32
    three = "--input-dir d/potion --input-dir d/balanced --input-dir d/resharded"
    gristmill(f"balance-dataset {three} --output-dir d/three")
    for split in ("train", "test"):
        labels = [row["score"] for where, row in rows_of(f"{root}/three", endpoint) if where == split]
        assert labels.count("pos") == labels.count("neg") > 0

    sample = gristmill("sample-dataset --dataset-dir d/raw --output-dir d/sample --target-size 1GB")
    assert sample["rows_out"] == len(raw)
    small = gristmill("sample-dataset --dataset-dir d/raw --output-dir d/small --target-size 500kB")
    assert abs(small["kept_bytes"] - 500_000) < 10_000

    gristmill("deduplicate-dataset --input-dir d/raw --output-dir d/deduplicated")

    tokenizer = TOKENIZERS / "ultra_fineweb_tokenizer.json"
    normal = f"ultrafine --tokenizer {tokenizer}" if tokenizer.exists() else "plsfix"
    gristmill(f"convert-to-fasttext --input-dir d/labelled --output-dir d/ft --normalization {normal}")
    gristmill("train-fasttext --dataset-dir d/ft --output-dir d/m/ft --dimension 16 --bucket 20000 --epoch 40 --lr 0.5")
    figures = gristmill("eval-fasttext --dataset-dir d/ft --model-dir d/m/ft")["tables"]["figures"]
    assert next(row for row in figures if row["figure"] == "accuracy")["value"] > 0.7
    again = gristmill("eval-fasttext --dataset-dir d/labelled --model-dir d/m/ft --output-dir d/again")["tables"][
        "figures"
    ]
    assert again == figures

    training = f"--model-name {static_model} --max-epochs 8 --learning-rate 0.01"
    gristmill(f"train-model2vec --dataset-dir d/balanced --dataset-dir d/potion --output-dir d/m/m2v {training}")
    figures = gristmill("eval-model2vec --dataset-dir d/potion --model-dir d/m/m2v")["tables"]["figures"]
    assert next(row for row in figures if row["figure"] == "accuracy")["value"] > 0.6

    gristmill("infer-fasttext --model-dir d/m/ft --input-dir d/raw --output-dir d/scored --column quality")
    scored = rows_of(f"{root}/scored", endpoint)
    assert len(scored) == len(raw)
    assert all(abs(sum(row["quality"].values()) - 1) < 1e-4 for _, row in scored)
    gristmill("infer-model2vec --model-dir d/m/m2v --input-dir d/labelled --output-dir d/scored2")

    expression = "--prediction-expression .quality.pos --label-expression .score"
    gristmill(f"train-calibration --dataset-dir d/scored --output-dir d/m/calibration {expression}")
    judged = gristmill(
        f"eval-calibration --dataset-dir d/scored --output-dir d/calibrated --model-dir d/m/calibration {expression}"
    )
    table = {(row["scores"], row["figure"]): row["value"] for row in judged["tables"]["calibration"]}
    assert table["after", "Brier"] < table["before", "Brier"]

    gristmill("annotate-dataset --dataset-dir d/raw --output-dir d/graded --annotation-task-prompt code_quality")
    agreed = gristmill(
        "annotation-agreement --dataset1 d/graded --dataset2 d/raw --key-expression .id --output-dir d/agreement "
        "--label-expression '.code_quality.score // .score' --ordinal"
    )
    assert agreed["common_keys"] == len(raw)
    compared = gristmill(
        "compare-agreement --pair d/graded d/raw --pair d/raw d/sample --key-expression .id --output-dir d/compared "
        "--label-expression '.code_quality.score // .score' --ordinal"
    )
    assert compared["verdict"]
