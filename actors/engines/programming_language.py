"""Which programming language a source text is written in, by a handful of tell-tale lines each.

It answers None rather than guess: prose, data and markup are no programming language here. It reads the opening
of the text only, and does not tell dialects apart (C and C++, JavaScript and TypeScript are one each).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# A file shows its language within its first screens; more would only cost time.
READ = 20_000
# One tell-tale line may stand in prose that speaks of code.
ENOUGH = 2


@dataclass(frozen=True, slots=True)
class Language:
    """How a language marks comments, strings, blocks and functions.

    `comments` is a key of `line_measures.COMMENT_MARKERS`; `quotes` the characters that open a string; `header`
    finds the line of a function where blocks are not braced; `decisive` alone proves the language.
    """

    name: str
    signs: tuple[re.Pattern[str], ...]
    decisive: re.Pattern[str] | None = None
    comments: str = "slash"
    quotes: str = '"'
    braced: bool = True
    header: re.Pattern[str] | None = None


def _language(
    name: str, signs: str, decisive: str | None = None, header: str | None = None, **rest: object
) -> Language:
    return Language(
        name,
        tuple(re.compile(sign, re.MULTILINE) for sign in signs.split()),
        decisive=re.compile(decisive, re.MULTILINE) if decisive else None,
        header=re.compile(header, re.MULTILINE) if header else None,
        **rest,  # type: ignore[arg-type]
    )


# Signs are separated by blanks, so each spells its own as \x20 or \s. No repetition may cross a line or follow another
# over the same characters: this is what keeps the time linear on any text.
LANGUAGES: tuple[Language, ...] = (
    _language(
        "python",
        r"""
        ^[\x20\t]*def\s\w+\(.*:[\x20\t]*$ ^[\x20\t]*(?:from\s[\w.]+\s)?import\s\w+(?:[.,\s]+\w+)*[\x20\t]*$
        ^[\x20\t]*class\s\w+.*:[\x20\t]*$ ^[\x20\t]*(?:if|for|while|elif|else|try|except|with)\b.*:[\x20\t]*$
        ^[\x20\t]*print\s[\"'\w] \bself\.\w+ ^if\s__name__\s==
        """,
        decisive=r"\A#!.*\bpython",
        comments="hash",
        quotes="\"'",
        braced=False,
        header=r"^[ \t]*(?:async )?def \w+.*$",
    ),
    _language(
        "c",
        r"""
        ^[\x20\t]*#\s*include\s*[<\"] ^[\x20\t]*#\s*(?:define|ifdef|ifndef|pragma)\b
        \b(?:int|void|char|double|size_t)\s\**\w+\([^;\n]{0,200}$ \bstruct\s\w+\s*\{ \bstd::\w+ ^[\x20\t]*template\s*<
        ^[\x20\t]*namespace\s\w+ \bsizeof\( \w->\w
        """,
        decisive=r"^[\x20\t]*#\s*include\s*<\w[\w./]*>",
    ),
    _language(
        "java",
        r"""
        ^import\s[\w.]+\*?;[\x20\t]*$ ^package\s[\w.]+;[\x20\t]*$
        \bpublic\s(?:final\s|abstract\s)?(?:class|interface|enum)\s\w+
        \b(?:private|protected|public)\s(?:static\s)?(?:final\s)?[\w<>\[\]]+\s\w+\s*[(;=] @Override\b \bSystem\.out\.
        """,
    ),
    _language(
        "csharp",
        r"""
        ^using\s[\w.]+;[\x20\t]*$ ^[\x20\t]*namespace\s[\w.]+\s*[{;]?[\x20\t]*$
        \bpublic\s(?:sealed\s|static\s|partial\s)?class\s\w+ \{\s*get;\s*(?:private\s)?(?:set;|init;)?\s*\}
        \bConsole\.Write
        """,
    ),
    _language(
        "javascript",
        r"""
        ^[\x20\t]*(?:export\s)?(?:const|let)\s[\w{\[][^=\n]{0,200}=\s \bfunction\s?\w*\([^)\n]{0,200}\)\s?\{
        =>\s*[{(\w] ^[\x20\t]*import\s.{0,200}from\s*['\"] \brequire\(['\"] \bmodule\.exports\b \bconsole\.\w+\(
        \bdocument\.\w+ ^[\x20\t]*(?:export\s)?(?:default\s)?(?:class|interface|type|async\sfunction)\s\w+ ===
        """,
        quotes="\"'`",
    ),
    _language(
        "go",
        r"""
        ^func\s ^import\s[(\"] \s:=\s \berr\s!=\snil\b ^type\s\w+\s(?:struct|interface)\b
        """,
        decisive=r"^package\s\w+[\x20\t]*$",
        quotes='"`',
    ),
    _language(
        "rust",
        r"""
        ^[\x20\t]*(?:pub(?:\(\w+\))?\s)?fn\s\w+ ^[\x20\t]*use\s[\w:]+::[\w:{*] \blet\s(?:mut\s)?\w+ ^[\x20\t]*impl\b
        #\[\w+ \w!\( ->\s*(?:Result|Option|Self|&)
        """,
    ),
    _language(
        "ruby",
        r"""
        ^[\x20\t]*def\s[\w.?!]+ ^[\x20\t]*end[\x20\t]*$ ^require(?:_relative)?\s['\"]
        ^[\x20\t]*(?:module|class)\s[A-Z]\w*(?:\s<\s\S+)?[\x20\t]*$ \bdo\s\|\w+ ^[\x20\t]*attr_\w+\s: @\w+\s=
        """,
        decisive=r"\A#!.*\bruby",
        comments="hash",
        quotes="\"'",
        braced=False,
        header=r"^[ \t]*def .*$",
    ),
    _language(
        "php",
        r"""
        \$\w+\s*=\s*[^=] \bfunction\s\w+\([^)\n]{0,200}\$ \$this-> \becho\s
        """,
        decisive=r"<\?php",
        quotes="\"'",
    ),
    _language(
        "shell",
        r"""
        ^[\x20\t]*(?:fi|done|esac)[\x20\t]*$ ^[\x20\t]*if\s\[ \$\{?\w+\}? ^[\x20\t]*(?:echo|export|local|source)\s
        ;\s*then[\x20\t]*$ ;\s*do[\x20\t]*$
        """,
        decisive=r"\A#!.*\b(?:ba|z|da|k)?sh\b",
        comments="hash",
        quotes="\"'",
        braced=False,
        header=r"^[ \t]*(?:function )?[\w:-]+ ?\(\).*$",
    ),
    _language(
        "kotlin",
        r"""
        ^[\x20\t]*(?:(?:private|internal|override|suspend)\s)*fun\s[\w<.] \bva[lr]\s\w+\s*[:=]
        ^import\s[\w.]+[\x20\t]*$ \bdata\sclass\s \?:\s
        """,
    ),
    _language(
        "swift",
        r"""
        ^[\x20\t]*(?:(?:public|private|static|override)\s)*func\s\w+ \b(?:let|var)\s\w+\s*[:=]
        ^import\s(?:Foundation|UIKit|SwiftUI)\b \bguard\slet\b \bextension\s\w+
        """,
    ),
    _language(
        "scala",
        r"""
        ^[\x20\t]*(?:(?:override|private)\s)*def\s\w+.*= \b(?:case\sclass|object|trait)\s\w+ ^import\s[\w.]+\.[_{]
        \bva[lr]\s\w+\s*[:=]
        """,
    ),
    _language(
        "r",
        r"""
        <-\s*function\( ^[\x20\t]*\w[\w.]*\s<-\s ^library\( \b(?:data\.frame|c)\( %>%
        """,
        comments="hash",
        quotes="\"'",
    ),
    _language(
        "lua",
        r"""
        ^[\x20\t]*local\s(?:function\s)?\w+ \bfunction\s?[\w.:]*\([^)\n]{0,200}\)[\x20\t]*$ ^[\x20\t]*end\b
        \bthen[\x20\t]*$ \brequire\s*\(?['\"]
        """,
        comments="dash",
        quotes="\"'",
        braced=False,
        header=r"^.*\bfunction\b.*$",
    ),
    _language(
        "perl",
        r"""
        ^use\s(?:strict|warnings)\b ^[\x20\t]*sub\s\w+ \bmy\s[\$@%(] \$\w+->
        """,
        decisive=r"\A#!.*\bperl",
        comments="hash",
        quotes="\"'",
    ),
    _language(
        "sql",
        r"""
        (?i)^[\x20\t]*(?:create|alter|drop)\s(?:or\sreplace\s)?(?:table|view|index|function)\b (?i)^[\x20\t]*select\b
        (?i)^[\x20\t]*insert\sinto\b (?i)^[\x20\t]*from\s\w+ (?i)^[\x20\t]*where\b
        """,
        comments="dash",
        quotes="\"'",
        braced=False,
    ),
)
BY_NAME = {language.name: language for language in LANGUAGES}

# Pages and manuals quote programs without being one.
_DOCUMENT = re.compile(r"\A\s{0,99}<(?:!doctype|html|\?xml|svg)\b|^```", re.MULTILINE | re.IGNORECASE)


def programming_language(text: str) -> Language | None:
    """The language whose tell-tale lines are the most (the earlier of the table on a tie), or None."""
    opening = text[:READ]
    for language in LANGUAGES:
        if language.decisive and language.decisive.search(opening):
            return language
    if _DOCUMENT.search(opening):
        return None
    scores = [sum(1 for sign in language.signs if sign.search(opening)) for language in LANGUAGES]
    best = max(scores)
    return LANGUAGES[scores.index(best)] if best >= ENOUGH else None
