"""A prompt: a file with a head in YAML and a body in Jinja2, read strictly and rendered for one row at a time.

Whatever is wrong with the file (its head, its schema, a variable that the body uses and nobody declares) is a
`PromptError` when the file is read, with the file and the line. What is wrong with a row is a `RenderFailed` of that
row. A row's values are put in as they are: braces inside them are text and never read as a template. Cutting long
texts, breaking special tokens and judging answers are not done here (see `truncation`, `special_tokens`,
`answer_check`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any, Literal, NoReturn

import jsonschema_rs
import msgspec
import yaml
from jinja2 import StrictUndefined, Template, TemplateSyntaxError, Undefined, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from actors.expressions import Expression, ExpressionError
from cluster.errors import GristmillError

Kind = Literal["task", "system"]
Rule = Literal["counts", "levels", "sums"]
Path = tuple[str | int, ...]

# What a judgement holds under each rule: the member that is counted or added, and the JSON types it may have.
RULES: Mapping[Rule, tuple[str, frozenset[str]]] = {
    "counts": ("is_pass", frozenset({"boolean"})),
    "levels": ("is_pass", frozenset({"boolean"})),
    "sums": ("points", frozenset({"integer", "number"})),
}
_TASK_ONLY = ("fields", "text", "schema", "score", "embedded")
# Aliases are written out, so that a few lines can stand for very many: a head this large is a mistake or an attack.
_MOST_NODES = 10_000
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+]?[0-9]+)?")
_TAG = re.compile(r"^</?[A-Za-z_][\w-]*>$", re.MULTILINE)
_FENCE = re.compile(r"^---[ \t]*\r?(?:\n|\Z)", re.MULTILINE)
# The name is also the row's field and the provider's name of the schema, so it is held to what all of them take.
_Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
# Structured outputs of the providers do not take these; a schema that has one is sent as a mere request.
_NOT_STRICT = frozenset(
    {
        *("allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties"),
        *("propertyNames", "minProperties", "maxProperties", "unevaluatedProperties", "unevaluatedItems", "contains"),
        *("uniqueItems", "prefixItems"),
    }
)


class PromptError(GristmillError):
    """A prompt file cannot be used; the message names the file, the line and what to change."""


class RenderFailed(Exception):
    """The body cannot be filled from one row's values; the message is one line."""


@dataclass(frozen=True, slots=True)
class Score:
    """Where the score stands in an answer, its range, and the rule that ties it to the judgements in `member`.

    counts: it is the number of judgements that pass. levels: so it is, and those that pass come first without a gap.
    sums: it is the sum of the judgements' points. Judgements are objects; `judgements` has their names in the order
    of the schema.
    """

    field: str
    minimum: float
    maximum: float
    is_whole: bool = True
    rule: Rule | None = None
    member: str | None = None
    judgements: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prompt:
    """What a prompt file says. `fields` are jq programs by name; `digest` changes with every byte of the file."""

    name: str
    version: int
    kind: Kind
    summary: str
    fields: Mapping[str, str] = field(hash=False)
    uses_text: bool
    schema: dict[str, Any] | None = field(hash=False)
    score: Score | None
    embedded: str | None
    body: str
    source: str = field(repr=False)
    place: str = field(compare=False)
    digest: str

    def render(self, values: Mapping[str, Any]) -> str:
        """The body with `text` and the fields put in: strings as they are, other values as JSON.

        Raises RenderFailed where a value is missing, is null, or is something that the body cannot work with.
        """
        try:
            return _template(self.body).render(values)
        except Exception as error:  # the body is a program of its author's; what it raises depends on the row
            nulls = ", ".join(name for name, value in values.items() if value is None)
            detail = f"{nulls} is null" if isinstance(error, _IsNull) and nulls else str(error) or type(error).__name__
            raise RenderFailed(f"prompt {self.name}: {detail}") from error

    @property
    def delimiters(self) -> frozenset[str]:
        """The tags that stand alone on a line of the body, around what is put in: a row's text must not close them."""
        return frozenset(_TAG.findall(self.body))

    @property
    def is_strict(self) -> bool:
        """Whether the schema keeps to what structured outputs demand: closed objects with every member required."""
        return self.schema is not None and _strict(self.schema)


def parse_prompt(text: str, place: str) -> Prompt:
    """Read a prompt file's text; `place` names it in messages. Raises PromptError."""
    head_text, body_text, body_line = _split(text, place)
    plain, at = _read_yaml(head_text, place)
    head = _head(plain, at)
    body, body_line = _trimmed(body_text, body_line)
    allowed = set(head.fields) | ({"text"} if head.kind == "task" and head.text else set())
    _check_fields(head, at)
    _check_body(body, allowed, place, body_line)
    _check_schema(head, at)
    return Prompt(
        name=head.name,
        version=head.version,
        kind=head.kind,
        summary=head.summary,
        fields=head.fields,
        uses_text="text" in allowed,
        schema=head.schema,
        score=_score(head, at),
        embedded=head.embedded,
        body=body,
        source=text,
        place=place,
        digest=hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16],
    )


# The file


def _split(text: str, place: str) -> tuple[str, str, int]:
    """Head, body, and the line on which the body begins."""
    text = text.removeprefix("\ufeff")
    opening = _FENCE.match(text)
    if opening is None:
        raise PromptError(f"{place}:1: a prompt begins with a line ---, its head in YAML, and another line ---")
    closing = _FENCE.search(text, opening.end())
    if closing is None:
        raise PromptError(f"{place}:1: the head has no end: put a line --- before the body")
    return text[opening.end() : closing.start()], text[closing.end() :], text.count("\n", 0, closing.end()) + 1


def _trimmed(body: str, line: int) -> tuple[str, int]:
    body = body.replace("\r\n", "\n")
    inner = body.lstrip("\n")
    return inner.rstrip("\n"), line + len(body) - len(inner)


# The head


class _At:
    """Lines of the head's members, and the error that names one."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._lines: dict[Path, int] = {}

    def note(self, path: Path, line: int) -> None:
        self._lines[path] = line

    def fail(self, path: Path, problem: str) -> NoReturn:
        """Raise the error for what stands at `path`, or for the nearest thing above it."""
        known = next((path[:end] for end in range(len(path), -1, -1) if path[:end] in self._lines), ())
        raise PromptError(f"{self._place}:{self._lines.get(known, 1)}: {problem}")


class _ScoreHead(msgspec.Struct, forbid_unknown_fields=True):
    field: str
    minimum: int | float
    maximum: int | float
    counts: str | None = None
    levels: str | None = None
    sums: str | None = None


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    name: _Name
    version: Annotated[int, msgspec.Meta(ge=1)]
    kind: Kind
    summary: Annotated[str, msgspec.Meta(min_length=1)]
    fields: dict[str, str] = {}
    text: bool = True
    schema: dict[str, Any] | None = None
    score: _ScoreHead | None = None
    embedded: str | None = None


def _head(plain: dict[str, Any], at: _At) -> _Head:
    try:
        head = msgspec.convert(plain, _Head)
    except msgspec.ValidationError as error:
        problem, _, place_in = str(error).partition(" - at ")
        path: Path = tuple(re.findall(r"\w+", place_in.strip("`").removeprefix("$")))
        if unknown := re.match(r"Object contains unknown field `(.*)`", problem):
            known = ", ".join((_ScoreHead if path else _Head).__struct_fields__)
            at.fail((*path, unknown[1]), f"unknown key {unknown[1]!r}; there are {known}")
        where = ".".join(map(str, path))
        at.fail(path, f"{where}: {problem}" if where else f"the head: {problem}")
    if head.kind == "system" and (extra := next((key for key in _TASK_ONLY if key in plain), None)):
        at.fail((extra,), f"{extra}: a system prompt has only name, version, kind and summary")
    return head


def _check_fields(head: _Head, at: _At) -> None:
    for name, program in head.fields.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name == "text" or name in _environment().globals:
            at.fail(("fields", name), f"fields.{name}: not a name for a field; text, range and namespace are taken")
        try:
            Expression(program)
        except ExpressionError as error:
            at.fail(("fields", name), f"fields.{name}: {error}")
    if head.embedded is not None:
        from actors.engines.static_analysis import RUBRICS  # only here: it loads the whole grader

        if head.embedded not in RUBRICS:
            at.fail(("embedded",), f"embedded: no rubric {head.embedded!r}; there are {', '.join(RUBRICS)}")


def _read_yaml(text: str, place: str) -> tuple[dict[str, Any], _At]:
    """The head as plain JSON values: YAML without its surprises, so that what looks like a string is one."""
    at = _At(place)
    at.note((), 2)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        at.note((), (mark.line if mark else 0) + 2)
        at.fail((), f"the head is not YAML: {problem}")
    except RecursionError:
        at.fail((), "the head is nested too deeply")
    if not isinstance(node, yaml.MappingNode):
        at.fail((), "the head is not a mapping: write lines such as name: my_rubric")
    plain: dict[str, Any] = _plain(node, (), at, iter(range(_MOST_NODES)))
    return plain, at


def _plain(node: Any, path: Path, at: _At, budget: Iterator[int]) -> Any:
    if next(budget, None) is None or len(path) > 100:
        at.fail(path, f"the head is nested too deeply or has more than {_MOST_NODES:,} values (do aliases repeat?)")
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, number), at, budget) for number, item in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, path, at)
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = key_node.value
        at.note((*path, str(key)), key_node.start_mark.line + 2)
        if not key_node.tag.endswith(":str"):
            at.fail((*path, str(key)), f"the key {key!r} is no string for YAML: put it in quotes")
        if key in found:
            at.fail((*path, key), f"the key {key!r} stands here for the second time")
        found[key] = _plain(value_node, (*path, key), at, budget)
    return found


def _scalar(node: Any, path: Path, at: _At) -> Any:
    kind, value = node.tag.rpartition(":")[2], node.value
    if kind == "str":
        return value
    if kind == "int" and _INTEGER.fullmatch(value):
        return int(value)
    if kind == "float" and _FLOAT.fullmatch(value):
        return float(value)
    if kind == "bool" and value in ("true", "false"):
        return value == "true"
    if kind == "null" and value in ("null", ""):
        return None
    return at.fail(path, f"{value!r} is {kind} for YAML: put it in quotes, or write true, false, null or 12.5")


# The body


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, finalize=_shown, trim_blocks=True, lstrip_blocks=True
    )
    # The same row has to give the same prompt: no chance, and nothing that keeps count between rows.
    environment.globals = {name: environment.globals[name] for name in ("range", "namespace")}
    del environment.filters["random"]
    return environment


@lru_cache(maxsize=64)
def _template(body: str) -> Template:
    return _environment().from_string(body)


class _IsNull(Exception):
    """A null is to be written; in a prompt it would read like a word."""


def _shown(value: Any) -> Any:
    """What stands in the prompt for a value."""
    if isinstance(value, str | Undefined):
        return value  # an undefined one raises when it is written
    if value is None:
        raise _IsNull("a value is null")
    return msgspec.json.encode(value).decode()


def _check_body(body: str, allowed: set[str], place: str, first_line: int) -> None:
    def fail(line: int, problem: str) -> NoReturn:
        raise PromptError(f"{place}:{first_line + line - 1}: {problem}")

    if not body.strip():
        fail(1, "the body is empty: write the instructions below the head")
    environment = _environment()
    try:
        tree = environment.parse(body)
        _template(body)
    except TemplateSyntaxError as error:
        fail(error.lineno, f"the body is not Jinja2: {error.message}")
    if next(meta.find_referenced_templates(tree), "") != "":
        line = _line_of(tree, nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport)
        fail(line, "the body takes in another file: a prompt is one file")
    used = meta.find_undeclared_variables(tree)
    for name in sorted(used - allowed - set(environment.globals)):
        known = ", ".join(sorted(allowed)) or "none"
        fail(
            _first_use(tree, name), f"unknown variable {name!r} (known: {known}); declare it under fields: in the head"
        )
    for name in sorted(allowed - used):
        way = "set text: false in the head" if name == "text" else "leave it out of fields:"
        fail(1, f"the body never uses {{{{ {name} }}}}: use it or {way}")


def _line_of(tree: nodes.Template, *kinds: type[nodes.Node]) -> int:
    return min((node.lineno for node in tree.find_all(kinds)), default=1)


def _first_use(tree: nodes.Template, name: str) -> int:
    return min((node.lineno for node in tree.find_all(nodes.Name) if node.name == name), default=1)


# The schema and the score


def _check_schema(head: _Head, at: _At) -> None:
    if head.schema is None:
        for key in ("score", "embedded"):
            if getattr(head, key) is not None:
                at.fail((key,), f"{key}: needs a schema: that says where it stands in the answer")
        return
    if head.schema.get("type") != "object":
        at.fail(("schema",), "schema: an answer is an object: write type: object")
    try:
        jsonschema_rs.validator_for(head.schema, offline=True)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        path = ("schema", *getattr(error, "instance_path", ()))
        message = getattr(error, "message", str(error))
        at.fail(path, f"{'.'.join(map(str, path))}: not a JSON schema: {message[:200]}")


def _score(head: _Head, at: _At) -> Score | None:
    """The score's description, held against the schema. Raises PromptError where they do not fit."""
    given, schema = head.score, head.schema
    if given is None or schema is None:
        return None
    rules: list[tuple[Rule, str]] = [(rule, member) for rule in RULES if (member := getattr(given, rule)) is not None]
    if len(rules) > 1:
        at.fail(("score", rules[1][0]), "score: at most one of counts, levels and sums")
    if given.minimum >= given.maximum:
        at.fail(("score", "minimum"), "score.minimum: not below score.maximum")
    look = _SchemaReader(schema, at)
    root = look.resolved(schema)
    kind = look.member(root, given.field, "schema").get("type")
    if kind not in ("integer", "number"):
        look.fail(f"schema.{given.field} is not of type integer or number")
    if not rules:
        return Score(given.field, given.minimum, given.maximum, kind == "integer")
    rule, name = rules[0]
    names = look.judgements(look.member(root, name, "schema"), rule, f"schema.{name}")
    if rule != "sums" and (given.minimum, given.maximum) != (0, len(names)):
        look.fail(f"{rule} of the {len(names)} members of schema.{name} run from 0 to {len(names)}")
    return Score(given.field, given.minimum, given.maximum, kind == "integer", rule, name, names)


class _SchemaReader:
    """Looks up what a score needs in a schema, through its references; what is missing is an error of the score."""

    def __init__(self, root: dict[str, Any], at: _At) -> None:
        self._root, self._at = root, at

    def fail(self, problem: str) -> NoReturn:
        self._at.fail(("score",), f"score: {problem}")

    def member(self, schema: dict[str, Any], name: str, where: str) -> dict[str, Any]:
        found = schema.get("properties", {}).get(name)
        if not isinstance(found, dict) or name not in schema.get("required", ()):
            self.fail(f"{where} has no required property {name!r}")
        return self.resolved(found)

    def judgements(self, member: dict[str, Any], rule: Rule, where: str) -> tuple[str, ...]:
        """The names of the members that the rule counts or adds, in the schema's order."""
        wanted, types = RULES[rule]
        names = tuple(member.get("properties", {}))
        if not names:
            self.fail(f"{where} has no properties to take {rule} of")
        for name in names:
            judged = self.member(self.member(member, name, where), wanted, f"{where}.{name}")
            if str(judged.get("type")) not in types:
                self.fail(f"{where}.{name}.{wanted} is not of type {' or '.join(sorted(types))}")
        return names

    def resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        """What a local reference points at. The library's own way to do this puts the members in another order."""
        for _ in range(100):
            pointer = schema.get("$ref")
            if pointer is None:
                return schema
            found: Any = self._root
            for step in str(pointer).removeprefix("#").split("/")[1:]:
                found = found.get(step) if isinstance(found, dict) else None
            if not isinstance(found, dict):
                break
            schema = found
        return self.fail(f"the reference {schema.get('$ref')!r} in the schema cannot be followed")


def _strict(node: Any) -> bool:
    if not isinstance(node, dict) or not _NOT_STRICT.isdisjoint(node):
        return False
    members = node.get("properties", {})
    if node.get("type") == "object" or members:
        closed = node.get("additionalProperties") is False and set(node.get("required", ())) == set(members)
        if not closed:
            return False
    inner = [*members.values(), *node.get("$defs", {}).values(), *node.get("anyOf", ())]
    return all(map(_strict, [*inner, node["items"]] if "items" in node else inner))
