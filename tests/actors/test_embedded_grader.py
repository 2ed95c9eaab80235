import pickle

import orjson
import pytest

from actors.embedded_grader import GradeRows
from actors.expressions import ExpressionError
from cluster.rows import Rows

CODE = "import os\n\n\ndef f(x):\n    return os.path.join(x, 'a')\n"


def run(stage, *lines):
    stage = pickle.loads(pickle.dumps(stage))
    stage.setup()
    return stage.process(Rows("train/a.jsonl.zst", list(lines), list(range(1, len(lines) + 1))))


def test_a_row_comes_back_whole_with_its_grade_at_the_end():
    line = b'{ "id": 7.50e1,"text": ' + orjson.dumps(CODE) + b', "a":"\\u00e9" }'
    rows = run(GradeRows("code_quality"), line)
    (graded,) = rows.lines
    assert graded.startswith(line.removesuffix(b" }"))
    answer = orjson.loads(graded)["code_quality"]
    assert list(answer) == ["criteria", "overall_assessment", "score", "_meta"]
    assert list(answer["criteria"]) == ["functional", "no_red_flags", "readable", "well_structured", "exemplary"]
    assert answer["score"] == sum(criterion["is_pass"] for criterion in answer["criteria"].values())
    assert rows.counters == {f"score {answer['score']}": 1}


def test_meta_says_what_graded_and_nothing_that_changes():
    line = orjson.dumps({"text": CODE})
    first, second = (run(GradeRows("code_quality"), line).lines[0] for _ in range(2))
    assert first == second
    meta = orjson.loads(first)["code_quality"]["_meta"]
    assert meta["engine"] == "static-analysis"
    assert meta["subject"] == "python"
    assert meta["truncated"] is None


def test_field_and_text_may_lie_elsewhere():
    line = orjson.dumps({"body": {"content": "The text, and nothing but the text."}})
    rows = run(GradeRows("prose_quality", field="quality", text_expression=".body.content"), line)
    assert "gopher_quality" in orjson.loads(rows.lines[0])["quality"]["criteria"]


def test_an_earlier_grade_is_replaced_in_place():
    line = b'{"code_quality":3,"text":"x = f(1)"}'
    graded = run(GradeRows("code_quality"), line).lines[0]
    assert graded.startswith(b'{"code_quality":{"criteria"')
    assert graded.endswith(b',"text":"x = f(1)"}')


def test_a_long_text_is_cut_at_the_head_and_says_so():
    text = CODE + "\n\ndef g(x):\n    return f(x)\n"
    rows = run(GradeRows("code_quality", max_text_length=len(text) - 3), orjson.dumps({"text": text}))
    answer = orjson.loads(rows.lines[0])["code_quality"]
    assert answer["_meta"]["truncated"] == {"kept_characters": len(text) - 3, "of_characters": len(text)}
    assert answer["criteria"]["functional"]["is_pass"]
    assert rows.counters["truncated"] == 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": 1}', "no text: .text gives null"),
        (b'{"text": ["x"]}', 'no text: .text gives ["x"]'),
        (b"not json", "not JSON"),
        (b"[1]", "not a JSON object"),
    ],
)
def test_a_row_without_a_text_is_quarantined_and_its_neighbours_go_on(line, reason):
    good = orjson.dumps({"text": CODE})
    rows = run(GradeRows("code_quality"), good, line, good)
    assert len(rows.lines) == 2
    (rejected,) = rows.rejected
    assert (rejected.line, rejected.raw) == (2, line)
    assert rejected.reason.startswith(reason)
    assert sum(rows.counters.values()) == 2


def test_an_empty_text_is_graded_zero():
    assert orjson.loads(run(GradeRows("code_quality"), b'{"text":""}').lines[0])["code_quality"]["score"] == 0


def test_wrong_settings_are_refused_at_once():
    with pytest.raises(ValueError, match="rubric 'fluency'"):
        GradeRows("fluency")
    with pytest.raises(ValueError, match="max_text_length=0"):
        GradeRows("code_quality", max_text_length=0)
    with pytest.raises(ExpressionError):
        GradeRows("code_quality", text_expression=".text |")
