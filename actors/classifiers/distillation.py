"""Static embeddings distilled from a sentence-transformers model, to train classifiers from.

Every token of the model's vocabulary is embedded once, then PCA and a weighting by rank follow (model2vec). The
result is safetensors and JSON. The teacher is read from safetensors alone, and no code that comes with it is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from actors.classifiers.base_models import public_name, teacher
from actors.classifiers.card import Card, ModelError, write_card
from actors.classifiers.model2vec import library
from actors.classifiers.model_directory import new_model_directory
from actors.classifiers.steady_torch import bars, steady_torch

Pooling = Literal["mean", "last", "first", "pooler"]


def distill(
    model_name: str,
    output_dir: Path,
    *,
    pca_dims: int | float | Literal["auto"] | None = 256,
    sif_coefficient: float | None = 1e-4,
    pooling: Pooling = "mean",
    quantize_to: Literal["float16", "float32", "int8"] = "float16",
    threads: int | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Card:
    """Distill `model_name`, a hub id or a directory, into `output_dir`; deterministic for a number of threads.

    `pca_dims` is a number of dimensions, a share of the variance below 1, `auto` (rotate, keep all) or None. `threads`
    None takes as many as torch would. Raises `ModelError`.
    """
    if sif_coefficient is not None and not 0 < sif_coefficient < 1:
        raise ModelError(f"SIF coefficient {sif_coefficient} must lie between 0 and 1")
    if isinstance(pca_dims, int | float) and not pca_dims > 0:
        raise ModelError(f"PCA dimensions {pca_dims} must be above 0")
    with new_model_directory(output_dir, overwrite=overwrite) as directory:
        model, tokenizer = teacher(model_name)
        from model2vec.distill import distill_from_model

        with steady_torch(threads) as used, bars(progress):
            static = distill_from_model(
                model,
                tokenizer,
                device="cpu",
                pca_dims=pca_dims,
                sif_coefficient=sif_coefficient,
                pooling=pooling,
                quantize_to=quantize_to,
            )
        name = public_name(model_name)
        static.config["tokenizer_name"] = name
        static.base_model_name = name
        static.save_pretrained(directory)
        vocabulary, dimension = static.embedding.shape
        return write_card(
            directory,
            Card(
                kind="static-embeddings",
                task="embedding",
                parameters={
                    "model_name": name,
                    "pca_dims": pca_dims,
                    "sif_coefficient": sif_coefficient,
                    "pooling": pooling,
                    "quantize_to": quantize_to,
                    "threads": used,
                },
                training={"tokens": vocabulary, "dimension": dimension},
                library=library(),
                reproducible=True,
                reproducibility=f"With {used} thread(s) on a CPU of the same kind, it gives the same bytes again.",
            ),
        )
