"""jq programs over JSON rows, with a native subset; see `expression`."""

from actors.expressions.expression import Expression, ExpressionError

__all__ = ["Expression", "ExpressionError"]
