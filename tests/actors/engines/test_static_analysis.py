import platform

import pytest

from actors.engines.static_analysis import RUBRICS, VERSION, StaticAnalysis


def test_each_rubric_has_its_own_criteria():
    text = "def f(x):\n    return x\n"
    code, prose = (StaticAnalysis(rubric).grade(text) for rubric in RUBRICS)
    assert "well_structured" in code.criteria
    assert "gopher_quality" in prose.criteria


def test_an_unknown_rubric_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="static-analysis has code_quality and prose_quality"):
        StaticAnalysis("pairwise")


@pytest.mark.parametrize("rubric", RUBRICS)
def test_a_grade_depends_on_the_text_alone(rubric):
    text = "import os\n\ndef f(x):\n    return eval(x)\n"
    assert StaticAnalysis(rubric).grade(text) == StaticAnalysis(rubric).grade(text)


def test_it_says_what_it_is():
    meta = StaticAnalysis("code_quality").meta()
    assert meta["engine"] == "static-analysis"
    assert meta["engine_version"] == VERSION
    assert meta["method"] == "measurements of the text, no language model"
    assert platform.python_version().startswith(meta["grammar"].removeprefix("Python "))
    assert "grammar" not in StaticAnalysis("prose_quality").meta()
