"""The prompts that come with Gristmill, by name, and a user's own, by path."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from actors.prompt import Kind, Prompt, PromptError, parse_prompt

_FOLDER = Path(__file__).with_name("prompts")


def names() -> list[str]:
    """The names of the prompts of the library."""
    return sorted(path.stem for path in _FOLDER.glob("*.md"))


def load(name_or_path: str) -> Prompt:
    """The prompt of that name, or the one in that file: a path has a slash or ends in .md. Raises PromptError."""
    if "/" in name_or_path or name_or_path.endswith(".md"):
        return parse_prompt(_read(Path(name_or_path), name_or_path), name_or_path)
    known = names()
    if name_or_path not in known:
        close = get_close_matches(name_or_path, known, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise PromptError(
            f"no prompt {name_or_path!r}: {hint}`gristmill list-prompts` shows all; a file of your own is ./{name_or_path}.md"
        )
    place = f"prompts/{name_or_path}.md"
    return parse_prompt(_read(_FOLDER / f"{name_or_path}.md", place), place)


def task(name_or_path: str) -> Prompt:
    """A prompt that asks for a grade."""
    return _of_kind(name_or_path, "task")


def system(name_or_path: str) -> Prompt:
    """A prompt that says who grades."""
    return _of_kind(name_or_path, "system")


def _of_kind(name_or_path: str, kind: Kind) -> Prompt:
    prompt = load(name_or_path)
    if prompt.kind != kind:
        fitting = [name for name in names() if load(name).kind == kind]
        raise PromptError(
            f"{name_or_path} is a {prompt.kind} prompt, not a {kind} prompt; of that kind are {', '.join(fitting)}"
        )
    return prompt


def _read(path: Path, place: str) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise PromptError(f"{place}: no such file; `gristmill list-prompts` shows the prompts by name") from None
    except UnicodeDecodeError as error:
        raise PromptError(f"{place}: byte {error.start} is not UTF-8: save the prompt as UTF-8") from None
    except OSError as error:
        raise PromptError(f"{place}: cannot be read: {error.strerror}") from None
