"""What an answer costs: a versioned table of list prices, which a file of the user's own goes before.

Money is counted in whole nano-dollars (1e-9 USD): sums of integers do not depend on the order of arrival.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.engines.contract import Usage
from cluster.errors import GristmillError

NANO = 1_000_000_000
_DATED = re.compile(r"-\d{4}-?\d{2}-?\d{2}$")
_SHIPPED = Path(__file__).with_name("prices.yaml")


class PriceError(GristmillError):
    """A price file that cannot be used, or a model that has no price."""


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens."""

    input: float
    cached: float
    output: float

    def cost(self, usage: Usage) -> int:
        """Nano-dollars, rounded up."""
        fresh = usage.prompt_tokens - usage.cached_tokens
        # A dollar per million tokens is a thousand nano-dollars a token. Rounding first takes the float's own error off.
        nano = 1000 * (self.input * fresh + self.cached * usage.cached_tokens + self.output * usage.completion_tokens)
        return math.ceil(round(nano, 3))


@dataclass(frozen=True)
class Prices:
    """The prices of one model by service tier; `version` says from which table."""

    model: str
    version: str
    tiers: Mapping[str, Price]

    def of(self, tier: str | None) -> Price:
        """The price in a tier; one that the table does not have costs what the default does."""
        return self.tiers.get(tier or "default", self.tiers["default"])

    def dearest(self, tier: str | None) -> Price:
        """What a request in this tier may cost at most: "auto" leaves the choice to the provider."""
        if tier == "auto":
            live = [price for name, price in self.tiers.items() if name != "batch"]
            return max(live, key=lambda price: price.output)
        return self.of(tier)


def prices_of(model: str, own: str | None = None) -> Prices | None:
    """The prices of a model, from the file `own` if it has them, else from the shipped table; None if neither has.

    A date at the end of the name and a provider before a slash are left out where the whole name is not found.
    Raises PriceError for a file that cannot be read.
    """
    for path in [Path(own).expanduser(), _SHIPPED] if own else [_SHIPPED]:
        table = _table(path)
        for name in (model, _DATED.sub("", model), _DATED.sub("", model.rsplit("/", 1)[-1])):
            if name in table["models"]:
                return Prices(name, str(table.get("version", path.name)), _tiers(table["models"][name], name, path))
    return None


def _table(path: Path) -> dict[str, Any]:
    import yaml

    try:
        table = yaml.safe_load(path.read_text())
    except OSError as error:
        raise PriceError(f"prices {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PriceError(f"prices {path} are no YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(table, dict) or not isinstance(table.get("models"), dict):
        raise PriceError(
            f"prices {path} have no 'models:'; write models: {{NAME: {{default: [input, cached, output]}}}}"
        )
    return table


def _tiers(found: Any, model: str, path: Path) -> dict[str, Price]:
    try:
        tiers = {tier: Price(*(float(amount) for amount in amounts)) for tier, amounts in found.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise PriceError(
            f"prices {path}, model {model}: give each tier three numbers, [input, cached, output] in USD per million tokens"
        ) from error
    if "default" not in tiers or not all(
        math.isfinite(amount) and amount >= 0
        for price in tiers.values()
        for amount in (price.input, price.cached, price.output)
    ):
        raise PriceError(f"prices {path}, model {model}: a price of the tier 'default' is needed, and none is below 0")
    return tiers


def dollars(nano: int | float) -> str:
    """`$12.34`, and as many digits as a small sum needs."""
    amount = nano / NANO
    return f"${amount:,.2f}" if amount >= 1 or not amount else f"${amount:.4f}" if amount >= 0.001 else f"${amount:.7f}"
