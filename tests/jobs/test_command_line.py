"""The command line: help, errors in one line, and exit status."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from jobs.cli import CONTENTS, VERBS

GRISTMILL = [sys.executable, "-m", "jobs"]
ROOT = Path(__file__).resolve().parents[2]


def gristmill(*arguments, cwd=ROOT):
    return subprocess.run([*GRISTMILL, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, check=False)


def test_help_names_every_verb_and_imports_none():
    script = "import sys; from jobs.cli import command; command.main(['--help'], standalone_mode=False); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    text, _, modules = done.stdout.rpartition("\n[")
    for section, verbs in CONTENTS.items():
        assert section in text
        assert all(verb in text for verb in verbs)
    assert not {"'ray'", "'numpy'", "'torch'", "'pyarrow'"} & set(modules.rstrip("]\n").split(", "))


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_a_module_with_help_and_examples(verb):
    module = import_module(f"jobs.{VERBS[verb][0]}")
    from click.testing import CliRunner

    shown = CliRunner().invoke(module.command, ["--help"]).output
    assert "Examples:" in shown
    assert f"gristmill {verb}" in shown
    assert module.command.name == verb


def test_an_unknown_verb_suggests_the_nearest_and_exits_2():
    done = gristmill("normalise-dataset")
    assert done.returncode == 2
    assert "did you mean 'normalize-dataset'?" in done.stderr


def test_a_wrong_flag_exits_2():
    done = gristmill("sample-dataset", "--target-sice", "1GB")
    assert done.returncode == 2
    assert "--target-size" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-i", "{tmp}/nowhere"], "nowhere: no such directory"),
        (["-i", "{tmp}/file.txt"], "file.txt: is a file, not a dataset directory"),
        (["-i", "{tmp}/empty"], "empty: no shards here; a dataset holds"),
        (["-i", "{tmp}/data", "--text-expression", ".a["], "jq"),
        (["-i", "{tmp}/data", "-n", "nothing"], "no normalization 'nothing'; there are whitespace"),
        (["-i", "{tmp}/data", "-n", "ultrafine"], "needs a tokenizer"),
        (["-i", "{tmp}/data", "-n", "ultrafine", "--tokenizer", "{tmp}/no.json"], "no.json"),
    ],
)
def test_what_a_person_gets_wrong_is_one_line_that_names_it(tmp_path, arguments, message):
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").write_text('{"text":"a"}\n')
    filled = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    done = gristmill("normalize-dataset", *filled, "-o", tmp_path / "out")
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "(unexpected;" not in done.stderr
    assert not (tmp_path / "out" / "_run").exists()


def test_an_output_that_holds_other_files_is_left_alone(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").write_text('{"text":"a"}\n')
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("precious")
    for more in ([], ["--fresh"]):
        done = gristmill("normalize-dataset", "-i", tmp_path / "data", "-o", tmp_path / "out", *more)
        assert done.returncode == 1
        assert "not empty (it holds mine.txt)" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.ray
def test_a_finished_run_says_so_another_configuration_is_refused_and_fresh_starts_over(tmp_path, ray_session):
    from jobs.normalize_dataset import command

    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").write_bytes(
        b'{"text":"A  b","n":007}\n{"text":"A  b","n":"007"}\n{"n":1}\nnot json\n'
    )
    place = ["-i", str(tmp_path / "data"), "-o", str(tmp_path / "out"), "--quiet"]

    def run(*arguments):
        return command.main([*place, *arguments], standalone_mode=False)

    first = run("-n", "whitespace")
    assert (first["rows_in"], first["rows_out"], first["quarantined"]) == (4, 1, 3)
    assert (tmp_path / "out" / "a.jsonl").read_bytes() == b'{"text":"A b","n":"007"}\n'
    assert run("-n", "whitespace") == first
    refused = gristmill("normalize-dataset", *place, "-n", "potion")
    assert refused.returncode == 1
    assert 'config.normalization.name: was "whitespace", now "potion"' in refused.stderr
    run("-n", "potion", "--fresh")
    assert (tmp_path / "out" / "a.jsonl").read_bytes() == b'{"text":"a b","n":"007"}\n'


@pytest.mark.ray
def test_too_many_quarantined_rows_fail_the_run_and_keep_what_is_finished(tmp_path, ray_session):
    from jobs.job import TooManyQuarantined
    from jobs.normalize_dataset import command

    (tmp_path / "data").mkdir()
    rows = ['{"text":"a"}'] * 98 + ["broken", "{}"]
    (tmp_path / "data" / "a.jsonl").write_text("\n".join(rows))
    place = ["-i", str(tmp_path / "data"), "-o", str(tmp_path / "out"), "--quiet", "-n", "whitespace"]
    with pytest.raises(TooManyQuarantined, match=r"2 of 100 rows are quarantined, more than --max-quarantined 0.01"):
        command.main([*place, "--max-quarantined", "0.01"], standalone_mode=False)
    assert len((tmp_path / "out" / "a.jsonl").read_text().splitlines()) == 98
    done = command.main([*place, "--max-quarantined", "2"], standalone_mode=False)
    assert done["quarantined"] == 2
    import zstandard

    data = (tmp_path / "out" / "_quarantine").rglob("*")
    (file,) = [path for path in data if path.is_file()]
    text = (
        zstandard.ZstdDecompressor().stream_reader(file.read_bytes()).read()
        if file.suffix == ".zst"
        else file.read_bytes()
    )
    assert [json.loads(line)["line"] for line in text.splitlines()] == [99, 100]
