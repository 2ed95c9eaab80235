"""Inference of a static-embedding network, with tokenizers and numpy alone.

The outputs are those of the network that model2vec trained, to the last few bits of float32. A text's outputs do not
depend on which others are asked about with it: served alone it gets the very bits that it gets in a dataset.
Probabilities and labels are not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from model2vec import StaticModel
    from model2vec.inference.mlp import MLPHead

Floats = npt.NDArray[np.float32]

# model2vec cuts a text to this many characters per token before it tokenizes for training; inference does the same.
_CHARACTERS_PER_TOKEN = 10
_TEXTS_PER_BATCH = 1024


class StaticNetwork:
    """Mean of token vectors, normalized, through linear layers with ReLU between them; numpy alone.

    model2vec's `StaticModel.encode` cuts a text at another length than training does, so it is not used here.
    """

    def __init__(self, model: StaticModel, head: MLPHead) -> None:
        self._tokenizer = model.tokenizer
        self._tokenizer.no_truncation()
        self._unknown = model.unk_token_id
        self._length = model.max_length
        self._vectors = np.nan_to_num(model.embedding.astype(np.float32, copy=False))
        self._rows, self._weights = model.token_mapping, model.weights
        self._normalize = model.normalize
        self._layers = [(layer.weight.T.astype(np.float32), layer.bias.astype(np.float32)) for layer in head.layers]

    def __call__(self, texts: Sequence[str]) -> Floats:
        """The last layer's outputs, of shape (texts, outputs), before any softmax."""
        outputs = [self._outputs(texts[at : at + _TEXTS_PER_BATCH]) for at in range(0, len(texts), _TEXTS_PER_BATCH)]
        return np.concatenate(outputs) if outputs else np.zeros((0, len(self._layers[-1][1])), np.float32)

    def _outputs(self, texts: Sequence[str]) -> Floats:
        *hidden, (weight, bias) = self._layers
        # Each text is a matrix of one row: in a product of several, BLAS rounds a row by its place among the others
        # (by which places depends on the machine). It costs a few microseconds a text, less than tokenizing it.
        values = self._embeddings(texts)[:, np.newaxis, :]
        for inner, shift in hidden:
            values = np.maximum(values @ inner + shift, 0.0)
        outputs: Floats = (values @ weight + bias)[:, 0, :]
        return outputs

    def _embeddings(self, texts: Sequence[str]) -> Floats:
        if self._length is not None:
            texts = [text[: self._length * _CHARACTERS_PER_TOKEN] for text in texts]
        result = np.zeros((len(texts), self._vectors.shape[1]), np.float32)
        for position, encoding in enumerate(self._tokenizer.encode_batch_fast(_utf8(texts), add_special_tokens=False)):
            ids = np.array(encoding.ids, np.intp)
            if self._unknown is not None:
                ids = ids[ids != self._unknown]
            ids = ids[: self._length]
            if len(ids):
                result[position] = self._mean(ids)
        if self._normalize:
            result /= np.maximum(np.linalg.norm(result, axis=1, keepdims=True), 1e-12)
        return result

    def _mean(self, ids: npt.NDArray[np.intp]) -> Floats:
        vectors = self._vectors[ids if self._rows is None else self._rows[ids]]
        if self._weights is not None:
            vectors = vectors * self._weights[ids, None]
        return cast(Floats, vectors.mean(axis=0))


def _utf8(texts: Sequence[str]) -> list[str]:
    """Texts that a tokenizer can take: a lone surrogate, which has no UTF-8, becomes U+FFFD."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return [text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") for text in texts]
    return list(texts)
