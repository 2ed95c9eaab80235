from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors.classifiers.card import ModelError, read_card
from actors.classifiers.fasttext import Autotune, FastTextClassifier, FastTextParams, train

fasttext = pytest.importorskip("fasttext")

ROOT = Path(__file__).resolve().parents[3]
SMALL = FastTextParams(dimension=8, bucket=100, min_count=1)


def digests(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}


def test_training_writes_a_model_and_its_card(train_file: Path, tmp_path: Path):
    card = train(train_file, tmp_path / "model", SMALL, normalization={"name": "whitespace"}, max_length=99)
    assert sorted(digests(tmp_path / "model")) == ["README.md", "card.json", "model.bin"]
    assert read_card(tmp_path / "model") == card
    assert card.labels == ("car", "fruit")
    assert card.training["label_counts"] == {"car": 100, "fruit": 100}
    assert (card.training["rows"], card.training["words"]) == (200, 73)
    assert (card.normalization, card.max_length) == ({"name": "whitespace"}, 99)
    assert card.library["version"]


def test_the_same_lines_give_the_same_bytes(train_file: Path, tmp_path: Path):
    """Without cleared memory a model this small differs from run to run, or fails with a NaN."""
    for name in ("one", "two", "three"):
        assert train(train_file, tmp_path / name, SMALL).reproducible
    assert digests(tmp_path / "one") == digests(tmp_path / "two") == digests(tmp_path / "three")


def test_a_large_model_is_what_the_library_makes(train_file: Path, tmp_path: Path):
    params = FastTextParams(dimension=256, bucket=70_000, min_count=1)
    train(train_file, tmp_path / "model", params)
    code = (
        "import fasttext, sys; fasttext.train_supervised(sys.argv[1], lr=.1, wordNgrams=3, minCount=1, epoch=3, "
        "bucket=70000, dim=256, ws=5, neg=5, loss='softmax', seed=42, thread=1, verbose=0).save_model(sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", code, str(train_file), str(tmp_path / "own.bin")], check=True)
    assert (tmp_path / "model" / "model.bin").read_bytes() == (tmp_path / "own.bin").read_bytes()


def test_several_files_are_trained_on_as_one(train_file: Path, tmp_path: Path):
    lines = train_file.read_text().splitlines(keepends=True)
    (tmp_path / "a.txt").write_text("".join(lines[:120]).rstrip("\n"))
    (tmp_path / "b.txt").write_text("".join(lines[120:]))
    train(train_file, tmp_path / "whole", SMALL)
    card = train([tmp_path / "a.txt", tmp_path / "b.txt"], tmp_path / "parts", SMALL)
    assert card.training["rows"] == 200
    assert digests(tmp_path / "whole")["model.bin"] == digests(tmp_path / "parts")["model.bin"]
    assert "train.txt" not in digests(tmp_path / "parts")


def test_the_seed_and_every_parameter_reach_the_model(train_file: Path, tmp_path: Path):
    params = FastTextParams(
        learning_rate=0.3, word_ngrams=2, min_count=2, epoch=2, bucket=200, min_char_ngram=2, max_char_ngram=3,
        window_size=4, dimension=9, loss="ova", num_negatives=7, seed=1,
    )  # fmt: skip
    train(train_file, tmp_path / "model", params)
    found = fasttext.load_model(str(tmp_path / "model" / "model.bin")).f.getArgs()
    names = ("wordNgrams", "minCount", "epoch", "bucket", "minn", "maxn", "ws", "dim", "neg")
    assert [getattr(found, name) for name in names] == [2, 2, 2, 200, 2, 3, 4, 9, 7]
    assert found.loss.name == "ova"
    train(train_file, tmp_path / "other", replace(params, seed=2))
    assert digests(tmp_path / "model")["model.bin"] != digests(tmp_path / "other")["model.bin"]


def test_more_threads_train_and_are_said_to_be_irreproducible(train_file: Path, tmp_path: Path):
    card = train(train_file, tmp_path / "model", replace(SMALL, threads=2))
    assert not card.reproducible
    assert "2 threads" in card.reproducibility


def test_autotune_searches_what_is_not_fixed(train_file: Path, tmp_path: Path):
    autotune = Autotune(train_file, duration=2, fixed=frozenset({"dimension"}))
    card = train(train_file, tmp_path / "model", SMALL, autotune=autotune)
    assert card.parameters["dimension"] == 8
    assert card.parameters["epoch"] != SMALL.epoch or card.parameters["learning_rate"] != SMALL.learning_rate
    assert not card.reproducible
    assert "autotune" in card.reproducibility


def test_pretrained_vectors_of_another_dimension_are_told_before_training(train_file: Path, tmp_path: Path):
    (tmp_path / "v.vec").write_text("1 4\napple1 1 2 3 4\n")
    with pytest.raises(ModelError, match="dimension 4, not 8; set the dimension to 4"):
        train(train_file, tmp_path / "model", replace(SMALL, pretrained_vectors=tmp_path / "v.vec"))
    card = train(train_file, tmp_path / "model", replace(SMALL, dimension=4, pretrained_vectors=tmp_path / "v.vec"))
    assert card.parameters["pretrained_vectors"] == "v.vec"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 1e9}, "diverged.*lower the learning rate"),
        ({"min_count": 500}, "no word occurs 500 times"),
        ({"bucket": 2**31 - 1, "dimension": 10_000}, "the model needs about .* GB free"),
    ],
)
def test_what_cannot_be_trained_is_told_and_leaves_nothing(train_file: Path, tmp_path: Path, changes, message):
    with pytest.raises(ModelError, match=message) as caught:
        train(train_file, tmp_path / "out" / "model", replace(SMALL, **changes))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_a_fixed_bucket_needs_fixed_ngrams_in_autotune(train_file: Path):
    """fastText would end by a division by zero after its first trial without n-grams."""
    with pytest.raises(ModelError, match="only together with word_ngrams"):
        Autotune(train_file, fixed=frozenset({"bucket"}))


@pytest.mark.parametrize(
    "changes",
    [{"loss": "mse"}, {"epoch": 0}, {"bucket": 0}, {"learning_rate": 0.0}, {"max_char_ngram": 2, "min_char_ngram": 3}],
)
def test_nonsense_parameters_are_refused(changes):
    with pytest.raises(ModelError):
        FastTextParams(**changes)


def test_a_disk_that_fills_up_while_saving_is_noticed(train_file: Path, tmp_path: Path):
    """fastText does not look whether its writes worked."""
    code = (
        "import resource, sys; from pathlib import Path; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "from actors.classifiers.fasttext import train, FastTextParams\n"
        "train(Path(sys.argv[1]), Path(sys.argv[2]), FastTextParams(dimension=64, bucket=1000, min_count=1))"
    )
    command = [sys.executable, "-c", code, str(train_file), str(tmp_path / "model")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "fastText wrote only" in done.stderr
    assert not (tmp_path / "model").exists()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds: float = 20.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)
    return found


NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc to see processes")


def long_training(train_file: Path, output: Path) -> tuple[subprocess.Popen[str], int]:
    """A training that would take hours, and the process id of its child."""
    code = (
        "import sys; from pathlib import Path; from actors.classifiers.fasttext import train, FastTextParams\n"
        "train(Path(sys.argv[1]), Path(sys.argv[2]), FastTextParams(dimension=64, bucket=1000, epoch=1000000))"
    )
    command = [sys.executable, "-c", code, str(train_file), str(output)]
    parent = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    child = wait_until(lambda: children(parent.pid))[0]
    time.sleep(0.5)
    return parent, child


@NEEDS_PROC
def test_a_killed_training_leaves_no_model_and_no_process(train_file: Path, tmp_path: Path):
    output = tmp_path / "out" / "model"
    parent, child = long_training(train_file, output)
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    wait_until(lambda: not running(child))
    assert not output.exists()
    train(train_file, output, SMALL)
    assert [path.name for path in output.parent.iterdir()] == ["model"]


@NEEDS_PROC
def test_running_out_of_memory_is_an_error_with_a_way_out(train_file: Path, tmp_path: Path):
    parent, child = long_training(train_file, tmp_path / "out" / "model")
    os.kill(child, signal.SIGKILL)
    assert "fastText was killed, for want of memory perhaps" in parent.communicate()[1]
    assert not any((tmp_path / "out").iterdir())


@pytest.fixture(params=["softmax", "hs", "ova"])
def model_dir(request, train_file: Path, tmp_path: Path) -> Path:
    train(train_file, tmp_path / "model", replace(SMALL, loss=request.param, learning_rate=0.5, epoch=20))
    return tmp_path / "model"


def test_probabilities_are_those_of_the_library(model_dir: Path, rows):
    texts = [*rows(50, seed=5)[0], "", "unheard of", "apple1"]
    model = FastTextClassifier.load(model_dir)
    found = model.probabilities(texts)
    library = fasttext.load_model(str(model_dir / "model.bin"))
    for text, row in zip(texts, found, strict=True):
        labels, values = library.predict(text, k=-1)
        expected = {label: min(value, 1.0) for label, value in zip(labels, values, strict=True)}
        assert row.tolist() == pytest.approx(
            [expected.get(f"__label__{label}", 0.0) for label in model.labels], abs=1e-6
        )
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1


def test_the_model_has_learnt_its_labels(model_dir: Path, rows):
    texts, labels = rows(50, seed=5)
    model = FastTextClassifier.load(model_dir)
    best = [model.labels[column] for column in model.probabilities(texts).argmax(1)]
    assert best == labels


def test_line_breaks_and_stray_labels_in_a_text_do_not_change_its_reading(model_dir: Path):
    model = FastTextClassifier.load(model_dir)
    plain, wild = model.probabilities(["apple1 apple2 pear3", "apple1\napple2\r\n__label__pear3 </s>"])
    assert plain.tolist() == wild.tolist()
    assert model.probabilities(["apple1\ud800"]).shape == (1, 2)


def test_no_texts_have_no_probabilities(model_dir: Path):
    assert FastTextClassifier.load(model_dir).probabilities([]).shape == (0, 2)


def test_a_text_that_the_model_knows_nothing_of_gets_even_odds(tmp_path: Path):
    """With fewer lines than the minimum count, not even the end of a line is a word."""
    (tmp_path / "t.txt").write_text("__label__a x x x\n__label__b y y y\n")
    train(tmp_path / "t.txt", tmp_path / "model", replace(SMALL, min_count=3, word_ngrams=1))
    assert FastTextClassifier.load(tmp_path / "model").probabilities(["z"]).tolist() == [[0.5, 0.5]]


def test_a_model_of_another_program_loads_without_a_card(model_dir: Path):
    labels = FastTextClassifier.load(model_dir).labels
    (model_dir / "card.json").unlink()
    model = FastTextClassifier.load(model_dir)
    assert model.labels == labels
    assert model.card.normalization is None


def test_what_is_no_model_is_told(tmp_path: Path):
    with pytest.raises(ModelError, match=r"model\.bin does not exist"):
        FastTextClassifier.load(tmp_path)
    (tmp_path / "model.bin").write_text("text")
    with pytest.raises(ModelError, match="cannot be loaded"):
        FastTextClassifier.load(tmp_path)
