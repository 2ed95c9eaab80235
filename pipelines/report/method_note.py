"""The last section of every report: how its intervals were made, and which of them are approximate.

Words only; the facts come from the resampling that made the figures.
"""

from __future__ import annotations

from pipelines.curation.bootstrap import Resampling
from pipelines.report.document import Prose
from pipelines.report.numbers import count_text


def interval_method(resampling: Resampling, approximate: bool, *extra: str) -> Prose:
    """The section on intervals, followed by `extra` paragraphs on the figures of this report."""
    level = f"{resampling.level * 100:g}"
    paragraphs = [
        f"Under or beside a figure stands its {level} % interval: the range in which the figure would mostly fall if "
        f"as many rows were drawn again. It is the percentile interval of {count_text(resampling.resamples)} bootstrap "
        f"resamples of the rows (seed {resampling.seed}). Figures that follow from counts are resampled as a "
        "multinomial over the table of counts, which is the same bootstrap at less cost.",
    ]
    if approximate:
        paragraphs.append(
            f"≈ marks an interval that is approximate: with more than {count_text(resampling.max_rows)} rows, figures "
            "that need the single rows (areas under curves, rank correlation, Brier score, calibration error) use the "
            "normal limit of the bootstrap, from the influence of each row on the figure, on a logit scale for areas "
            "and on Fisher’s z scale for correlations."
        )
    else:
        paragraphs.append("No figure here has an approximate interval.")
    return Prose("How the figures were made", (*paragraphs, *extra))
