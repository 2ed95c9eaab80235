"""Subword tokens of a text, joined by spaces, with each piece of a word looked up before it is computed.

`Subwords` is one tokenizer file. `of_text` asks the library for a whole text; `of_words` gives the same for words
that the normalizers cut out of texts (`may_cut` says of which texts that is sound), from the tokens of their
pieces. Everything runs in the calling thread: the library's own thread pool serves batches only, and none are made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from actors.normalizers.pretokenizers import PreTokenizer, recognized
from actors.normalizers.remembered import Remembered
from actors.normalizers.tokenizer_file import TokenizerFile, TokenizerUnusable

END = "\0"
"""Stands between words when many are split at once."""
NO_SPACE = "\x01"
"""Starts a word that has no space before it; a word that starts with no mark has one."""
SPACE = "\x02"
"""A space inside a word: one at which the text must not be cut."""
LINE, TAB, RETURN = "\x03", "\x04", "\x05"
"""An LF, TAB or CR that was taken for itself, with no space before it; a word may start with several."""

_MARKS = END + NO_SPACE + SPACE + LINE + TAB + RETURN
_STARTS = NO_SPACE + LINE + TAB + RETURN
_NOT_PLAIN = re.compile(r"[^ -~\t\n\r\0\x03-\x05]")
_BYTE_LEVEL = str.maketrans({" ": "Ġ", "\t": "ĉ", "\n": "Ċ", "\r": "č"})
_SPACES = re.compile(" {2,}")


class Subwords:
    r"""The tokens of one tokenizer file, without special tokens, each written as its vocabulary entry.

    With `decoded` each is written as the text that it alone decodes to (bytes that are no character become
    U+FFFD), then LF, CR and TAB as `\n`, `\r` and `\t`, and runs of spaces as one. `written` says how the marks
    LINE, TAB and RETURN are written.
    """

    def __init__(self, file: TokenizerFile, written: dict[str, str], *, decoded: bool) -> None:
        from tokenizers import Tokenizer

        try:
            layout = json.loads(file.path.read_bytes())
            self._tokenizer: Any = Tokenizer.from_file(str(file.path))
        except Exception as error:  # the library raises bare Exception on a file that it cannot read
            raise TokenizerUnusable(f"{file.path} is not a tokenizer.json: {error}") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.pre_tokenizer: PreTokenizer | None = recognized(layout)
        added = [token["content"] for token in layout.get("added_tokens") or ()]
        self._added_starts = sorted({content[:2] for content in added})
        self._added = re.compile("|".join(map(re.escape, added)))
        self._decoded = decoded
        self._texts = _Texts(
            (lambda token: self._tokenizer.decode([token])) if decoded else self._tokenizer.id_to_token
        )
        self._written = {END: END, **written}
        self._pieces = Remembered(self._of_pieces)

    def may_cut(self, text: str, kind: str) -> bool:
        """Whether `of_words` is sound for words cut out of this text where a pre-tokenizer of that kind cuts.

        A text that holds a mark could not be told from one that was marked.
        """
        if self.pre_tokenizer is None or self.pre_tokenizer.kind != kind:
            return False
        return not any(mark in text for mark in _MARKS)

    def has_added_token(self, text: str) -> bool:
        """Whether the text holds one of the tokens that the library takes out of a text before it splits it."""
        return any(start in text for start in self._added_starts) and self._added.search(text) is not None

    def of_text(self, text: str) -> str:
        """The tokens of the whole text as the library finds them."""
        return self._joined(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def of_words(self, words: list[str]) -> list[str]:
        """The tokens of each word; marks have the meaning given beside them."""
        blob = f"{END} " + f"{END} ".join(words)
        for mark in _STARTS:
            blob = blob.replace(f"{END} {mark}", END + mark)
        blob = blob[1:].replace(NO_SPACE, "").replace(SPACE, " ")
        if not _NOT_PLAIN.search(blob) and not self.has_added_token(blob):
            return self._of_plain(blob)
        texts = blob.split(END)
        odd = [text for text in texts if _NOT_PLAIN.search(text) or self.has_added_token(text)]
        known = dict(zip(odd, map(self._of_odd, odd), strict=True))
        plain = [text for text in texts if text not in known]
        known.update(zip(plain, self._of_plain(END.join(plain)), strict=False))
        return [known[text] for text in texts]

    def _of_plain(self, blob: str) -> list[str]:
        """The tokens of each of the plain texts that END separates."""
        pieces = self.pre_tokenizer.plain.findall(blob)  # type: ignore[union-attr]
        tokens = " ".join(filter(None, self._pieces.of(pieces)))
        return [text.strip(" ") for text in tokens.split(END)]

    def _of_odd(self, text: str) -> str:
        """The tokens of one text of any characters, which may start with marks."""
        bare = text.lstrip(_STARTS)
        parts = [self._written[mark] for mark in text[: len(text) - len(bare)]]
        if self.has_added_token(bare):
            return " ".join([*parts, self.of_text(bare)])
        split = self._tokenizer.pre_tokenizer.pre_tokenize_str(bare)
        return " ".join(filter(None, [*parts, *self._pieces.of([piece for piece, _ in split])]))

    def _of_pieces(self, pieces: list[str]) -> list[str]:
        """The tokens of each piece as the model finds them, of a run of single digits those of each digit."""
        tokenize, written = self._tokenizer.model.tokenize, self._written
        single = self.pre_tokenizer.single_digits  # type: ignore[union-attr]
        values = []
        for piece in pieces:
            if piece in written:
                values.append(written[piece])
                continue
            parts = piece if single and piece.isdigit() else [piece.replace(" ", "Ġ")]
            if not piece.isprintable():
                parts = [part.translate(_BYTE_LEVEL) for part in parts]
            values.append(self._joined([token.id for part in parts for token in tokenize(part)]))
        return values

    def _joined(self, ids: list[int]) -> str:
        text = " ".join(map(self._texts.__getitem__, ids))
        if not self._decoded:
            return text
        text = text.replace("\n", r"\n").replace("\r", r"\r").replace("\t", r"\t")
        return _SPACES.sub(" ", text).strip(" ")


class _Texts(dict[int, str]):
    """Token id → how the token is written, found when the id is first met; never longer than the vocabulary."""

    def __init__(self, function: Callable[[int], str]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, token: int) -> str:
        self[token] = text = self._function(token)
        return text
