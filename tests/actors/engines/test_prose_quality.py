import random
import time

import orjson
import pytest

from actors.engines.prose_quality import CRITERIA, grade_prose

PROSE = """The tide comes in twice a day along this coast, and the people who live there have learnt to read it with care.
They know that a falling barometer and a wind from the west bring higher water than the tables say. Boats are tied with
longer lines, and the children are called in from the flats before the channels fill.

In the harbour the keeper writes the height of every tide into a book that his grandmother began. Two floods in it have
a page of their own. Nobody has to be told which years they were, because the marks are cut into the wall of the church.
"""

GERMAN = """Zweimal am Tag steigt das Wasser an dieser Küste, und wer hier wohnt, liest die Zeichen mit Sorgfalt.
Ein fallendes Barometer und Wind aus Westen bringen höheres Wasser, als die Tafeln sagen.
Dann macht man die Boote an längeren Leinen fest und ruft die Kinder aus dem Watt, bevor die Priele volllaufen.
Im Hafen trägt der Wärter jede Flut in ein Buch ein, das seine Großmutter begann.
"""


def failed(text):
    return {name for name, criterion in grade_prose(text).criteria.items() if not criterion.is_pass}


def test_good_prose_meets_every_criterion():
    grade = grade_prose(PROSE)
    assert grade.score == 5
    assert tuple(grade.criteria) == CRITERIA


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("It rained all day. They stayed at home with the books. Nobody came to the door.", {"gopher_quality"}),
        (GERMAN, {"gopher_quality"}),
        (PROSE.replace(" ", " # ", 30), {"gopher_quality"}),
        ("\n".join(f"- {line}" for line in PROSE.splitlines() if line), {"gopher_quality"}),
        (PROSE + PROSE, {"gopher_repetition", "fineweb_quality"}),
        (PROSE + "{}", {"c4_boilerplate"}),
        (PROSE + "Lorem ipsum.", {"c4_boilerplate"}),
        ("\n".join(PROSE.split()), {"c4_sentences", "fineweb_quality"}),
        (PROSE.replace(".", ""), {"c4_sentences", "fineweb_quality"}),
    ],
)
def test_each_heuristic_sees_what_it_is_for(text, lost):
    assert failed(text) == lost


def test_lines_about_cookies_and_scripts_are_not_counted_as_prose():
    line = "Please enable JavaScript in your browser to read this page. It is needed. Thank you."
    assert "c4_sentences" in failed("\n".join([line] * 5))
    assert "c4_sentences" in failed("\n".join(["By going on you accept our Cookie Policy. Thank you. Bye."] * 5))


def test_the_explanation_names_the_figures_and_their_limits():
    explanation = grade_prose(PROSE).criteria["gopher_quality"].explanation
    assert f"{len(PROSE.split())} words (50 to 100,000)" in explanation
    assert "different stop words (at least 2)" in explanation


def reference_repeated_share(words, n):
    """Character by character: which lie in an n-gram that stood before."""
    covered, seen = [False] * len(words), set()
    for start in range(len(words) - n + 1):
        ngram = tuple(words[start : start + n])
        if ngram in seen:
            covered[start : start + n] = [True] * n
        seen.add(ngram)
    return sum(len(word) for word, is_covered in zip(words, covered, strict=True) if is_covered) / sum(map(len, words))


def reference_top_share(words, n):
    ngrams = [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
    most = max(map(ngrams.count, ngrams))
    if most < 2:
        return 0.0
    longest = max(sum(map(len, each)) for each in ngrams if ngrams.count(each) == most)
    return min(1.0, most * longest / sum(map(len, words)))


@pytest.mark.parametrize("seed", range(4))
def test_ngram_shares_are_those_of_counting_them_one_by_one(seed):
    import numpy as np

    from actors.engines.prose_quality import _NGrams

    generator = random.Random(seed)
    words = generator.choices(["a", "bb", "ccc", "dddd", "eeeee"], k=120)
    ngrams = _NGrams(words, np.array([len(word) for word in words]))
    for n in range(2, 11):
        assert ngrams.repeated(n) == pytest.approx(reference_repeated_share(words, n))
        assert ngrams.top(n) == pytest.approx(reference_top_share(words, n))


HOSTILE = {
    "nothing": "",
    "white space": " \n\t" * 100_000,
    "null bytes": "\x00" * 100_000,
    "a surrogate": "\ud800 the and of",
    "one word": "a" * 5_000_000,
    "one letter": "a " * 1_000_000,
    "full stops": ". " * 500_000,
    "quotes": "\"')." * 300_000,
    "line ends": "a\n" * 500_000,
    "paragraphs": "a\n\n" * 300_000,
    "braces": "{" * 1_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_are_graded_in_bounded_time(name):
    started = time.process_time()
    grade = grade_prose(HOSTILE[name])
    assert time.process_time() - started < 15
    assert grade.score < 5
    orjson.dumps(grade.to_dict())
