"""What can be measured of a program in any language without its grammar: blocks, decisions, names, hazards.

Strings and comments are blanked first, so that what they say is not taken for code. Blocks are followed by braces,
or by indentation where a language has none. The figures are estimates, but every one is computed in time linear
in the text; general parsers (lizard, Pygments' lexers) were measured to take minutes on hostile kilobytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from actors.engines.programming_language import Language

_DECISION = (
    r"\b(?:if|elif|elsif|for|foreach|while|until|unless|case|when|catch|rescue|except|match)\b|&&|\|\||\?(?![.?:])"
)
_DECISIONS = re.compile(_DECISION)
_TOKENS = re.compile(rf"[{{}};]|{_DECISION}")
_CONTROL = re.compile(
    r"\s*(?:else\b|do\b|try\b|if\b|for\b|foreach\b|while\b|switch\b|catch\b|match\b|when\b|synchronized\b|using\b|return\b)"
)
_SIGNATURE = re.compile(r"\b\w+\s{0,9}(?:<[^(){}]{0,80}>)?\s{0,9}\(|=>\s{0,9}\Z")
_CALL = re.compile(r"\b\w+\(")
_WORD = re.compile(r"\b[A-Za-z_]\w*")
# Names that need no explaining: loop counters, coordinates, type parameters, the error and the receiver.
_CUSTOMARY = frozenset("abcefijkmnprstvwxyzCEKRSTV_")
# What stands before an opening brace is looked at this far back.
_HEADER_LENGTH = 400

_BLOCK_COMMENT = r"/\*[\s\S]*?(?:\*/|\Z)"
_LINE_COMMENT = {"slash": r"//[^\n]*", "hash": r"(?:(?<=\s)|^)#[^\n]*", "dash": r"--[^\n]*"}
_COMMENT_OPENINGS = {"slash": ("//", "/*", "*"), "hash": ("#",), "dash": ("--",)}
_QUOTED = {
    '"': r'"(?:[^"\\\n]|\\[\s\S])*+"?',
    "'": r"'(?:[^'\\\n]|\\[\s\S])*+'?",
    "`": r"`(?:[^`\\]|\\[\s\S])*+`?",
}
# Where an apostrophe opens no string it may still hold a bracket as a character, or name a lifetime.
_CHARACTER = r"'(?:[^'\\\n]|\\[^\n]{1,8})'"

_HAZARDS: dict[str, tuple[tuple[str, re.Pattern[str]], ...]] = {
    "": (
        ("empty catch block", re.compile(r"\bcatch\b\s{0,9}(?:\([^(){}]{0,200}\))?\s{0,9}\{\s{0,99}\}")),
        (
            "certificate check switched off",
            re.compile(r"InsecureSkipVerify:\s?true|rejectUnauthorized:\s?false|verify_none"),
        ),
    ),
    "c": (("unbounded copy", re.compile(r"\b(?:gets|strcpy|strcat|vsprintf|sprintf)\s?\(")),),
    "javascript": (
        ("eval of a computed string", re.compile(r"(?<![.\w])eval\(\s?[A-Za-z_]")),
        (
            "markup written from a computed string",
            re.compile(r"\bdocument\.write\(\s?[A-Za-z_]|\.innerHTML\s?\+?=\s?[A-Za-z_]"),
        ),
        ("debugger left in", re.compile(r"^[ \t]*debugger\b", re.MULTILINE)),
    ),
    "php": (
        (
            "code or command from a variable",
            re.compile(r"\b(?:eval|system|shell_exec|passthru|unserialize)\(\s?\$"),
        ),
    ),
    "ruby": (("eval of a computed string", re.compile(r"(?<![.\w])eval\(?\s?[a-z_]|\bMarshal\.load\b")),),
    "perl": (("eval of a computed string", re.compile(r"\beval\s\$")),),
    "shell": (
        (
            "download piped into a shell",
            re.compile(r"\b(?:curl|wget)\b[^|\n]{0,300}\|\s?(?:sudo\s)?(?:ba|z|da)?sh\b"),
        ),
        ("eval of a computed string", re.compile(r"^[ \t]*eval\s[^\n]{0,9}\$", re.MULTILINE)),
    ),
    "java": (("unsafe deserialization", re.compile(r"\bnew ObjectInputStream\(")),),
    "csharp": (("unsafe deserialization", re.compile(r"\bnew BinaryFormatter\(")),),
    "rust": (("transmute", re.compile(r"\bmem::transmute\b")),),
    "python": (
        ("bare except", re.compile(r"^[ \t]*except\s?:", re.MULTILINE)),
        ("eval of a computed string", re.compile(r"(?<![.\w])(?:eval|exec)\(\s?[A-Za-z_]")),
        ("shell command", re.compile(r"\bos\.(?:system|popen)\(")),
    ),
}


@dataclass(slots=True)
class BlockMeasures:
    """One function as far as its block shows it: lines, decision points plus one, and the depth of blocks in it."""

    lines: int
    complexity: int = 1
    depth: int = 0
    is_documented: bool = False


@dataclass(slots=True)
class SourceMeasures:
    """Estimates over one program; `unpaired` counts the brackets without a partner."""

    functions: list[BlockMeasures] = field(default_factory=list)
    decisions: int = 0
    calls: int = 0
    depth: int = 0
    brackets: int = 0
    unpaired: int = 0
    names: int = 0
    cryptic_names: int = 0
    hazards: list[str] = field(default_factory=list)


def measure_source(text: str, language: Language) -> SourceMeasures:
    """Measure a program of `language`."""
    code = _blanking(language).sub(_blank, text)
    found = SourceMeasures(decisions=len(_DECISIONS.findall(code)), calls=len(_CALL.findall(code)))
    # The patterns of a shell's `case` close parentheses that nothing opened.
    pairs = (("{", "}"),) if language.name == "shell" else (("(", ")"), ("[", "]"), ("{", "}"))
    counts = [(code.count(opening), code.count(closing)) for opening, closing in pairs]
    found.brackets = sum(map(sum, counts))
    found.unpaired = sum(abs(opening - closing) for opening, closing in counts)
    names = set(_WORD.findall(code))
    found.names = len(names)
    found.cryptic_names = sum(1 for name in names if len(name) == 1 and name not in _CUSTOMARY)
    found.hazards = _hazards(code, language.name)
    if language.braced:
        _follow_braces(code, text, language, found)
    else:
        _follow_indentation(code, text, language, found)
    return found


def _blanking(language: Language) -> re.Pattern[str]:
    parts = [_QUOTED[quote] for quote in language.quotes]
    if language.name == "python":
        parts = [r'"""[\s\S]*?(?:"""|\Z)', r"'''[\s\S]*?(?:'''|\Z)", *parts]
    if "'" not in language.quotes:
        parts.append(_CHARACTER)
    if language.comments == "slash" or language.name == "php":
        parts.append(_BLOCK_COMMENT)
    parts.append(_LINE_COMMENT[language.comments])
    return re.compile("|".join(parts), re.MULTILINE)


def _blank(match: re.Match[str]) -> str:
    """Nothing but the lines that the match spanned, so that line numbers stay."""
    return "\n" * match[0].count("\n")


def _hazards(code: str, name: str) -> list[str]:
    rules = _HAZARDS[""] + _HAZARDS.get(name, ())
    hits = ((kind, rule.search(code)) for kind, rule in rules)
    return [f"{kind} (line {code.count(chr(10), 0, hit.start()) + 1})" for kind, hit in hits if hit]


def _follow_braces(code: str, text: str, language: Language, found: SourceMeasures) -> None:
    """A block is a function's if its brace follows a signature that opens with no control word."""
    lines = text.split("\n")
    blocks: list[BlockMeasures | None] = []
    # The functions around the current place: each with its depth among the blocks and its first line.
    owners: list[tuple[BlockMeasures, int, int]] = []
    line = previous = header_start = 0
    for token in _TOKENS.finditer(code):
        line += code.count("\n", previous, token.start())
        previous = token.start()
        sign = token[0]
        if sign == "{":
            header = code[max(header_start, previous - _HEADER_LENGTH) : previous]
            blocks.append(_function_of(header, line, lines, language))
            if blocks[-1]:
                owners.append((blocks[-1], len(blocks), line))
                found.functions.append(blocks[-1])
            elif owners:
                owners[-1][0].depth = max(owners[-1][0].depth, len(blocks) - owners[-1][1])
            found.depth = max(found.depth, len(blocks))
        elif sign == "}":
            if blocks and blocks.pop():
                function, _, start = owners.pop()
                function.lines = line - start + 1
        elif sign != ";" and owners:
            owners[-1][0].complexity += 1
        if sign in "{};":
            header_start = token.end()


def _function_of(header: str, line: int, lines: list[str], language: Language) -> BlockMeasures | None:
    """A new function if `header`, which ends on `line`, is a signature."""
    signature: list[str] = []
    for part in reversed(header.split("\n")):
        # A comment was blanked, and a preprocessor line ends nothing: the signature starts after either.
        if signature and (not part.strip() or part.lstrip().startswith("#")):
            break
        if part.strip() or signature:
            signature.append(part)
        else:
            line -= 1
    text = "\n".join(reversed(signature))
    if _CONTROL.match(text) or not _SIGNATURE.search(text):
        return None
    before = line - len(signature)
    return BlockMeasures(0, is_documented=before >= 0 and _is_comment(lines[before], language))


def _follow_indentation(code: str, text: str, language: Language, found: SourceMeasures) -> None:
    """A function's block is every line after its header that stands deeper."""
    lines = text.split("\n")
    open_blocks: list[tuple[BlockMeasures, int, int, int]] = []
    indents: list[int] = []
    last = 0
    for number, line in enumerate(code.split("\n")):
        content = line.strip()
        if not content:
            continue
        indent = len(line[: len(line) - len(line.lstrip())].expandtabs(8))
        while indents and indents[-1] >= indent:
            indents.pop()
        while open_blocks and open_blocks[-1][1] >= indent:
            _close(open_blocks.pop(), last)
        if open_blocks:
            block, _, outside, _ = open_blocks[-1]
            block.complexity += len(_DECISIONS.findall(content))
            block.depth = max(block.depth, len(indents) - outside)
        indents.append(indent)
        found.depth = max(found.depth, len(indents) - 1)
        if language.header and language.header.match(line):
            documented = number > 0 and _is_comment(lines[number - 1], language)
            found.functions.append(BlockMeasures(0, is_documented=documented))
            open_blocks.append((found.functions[-1], indent, len(indents), number))
        last = number
    for entry in open_blocks:
        _close(entry, last)


def _close(entry: tuple[BlockMeasures, int, int, int], last: int) -> None:
    block, _, _, first = entry
    block.lines = last - first + 1


def _is_comment(line: str, language: Language) -> bool:
    return line.lstrip().startswith(_COMMENT_OPENINGS[language.comments])
