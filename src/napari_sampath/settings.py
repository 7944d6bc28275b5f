"""Fields of settings dataclasses, with limits and labels in their metadata.

Command-line flags and the forms of the docks are generated from these fields, so that the type, limits and description
of a setting are defined once. The metadata keys are those of magicgui: `label`, `tooltip`, `min`, `max`, `step`,
`choices`.
"""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Collection
from dataclasses import field, fields
from numbers import Integral, Real
from typing import Any, get_type_hints

from .errors import ConfigError

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def setting(
    default: Any,
    *,
    min: float | None = None,
    max: float | None = None,
    above: float | None = None,
    step: float | None = None,
    choices: Collection[str] = (),
    label: str = "",
    tooltip: str = "",
) -> Any:
    """Declare a field of a settings dataclass.

    Args:
        default: Its default value.
        min: Smallest allowed value.
        max: Largest allowed value.
        above: Allowed values are larger than this.
        step: Step of the arrows of a number field.
        choices: The allowed texts.
        label: Label in a form; the name of the field if left out.
        tooltip: One sentence for a form; the first sentence of the field's docstring if left out.
    """
    values = {"min": min, "max": max, "above": above, "step": step}
    texts = {"choices": tuple(choices), "label": label, "tooltip": tooltip}
    metadata = {key: value for key, value in values.items() if value is not None}
    return field(default=default, metadata=metadata | {key: value for key, value in texts.items() if value})


def check_settings(settings: Any) -> None:
    """Check the fields of a dataclass that are int, float, bool or str; call it in `__post_init__`.

    Raises:
        ConfigError: If a value is of another type, outside the limits of its field, or none of its choices.
    """
    kinds = get_type_hints(type(settings))
    for info in fields(settings):
        value, kind, limits = getattr(settings, info.name), kinds[info.name], info.metadata
        if kind in _KINDS and not (has_type(value, kind) and _within(value, limits)):
            raise ConfigError(f"{info.name} is {value!r}; give {_allowed(kind, limits)}.")


def has_type(value: object, kind: type) -> bool:
    """Return True if a value has the annotated type (int, float, bool or str); numbers must be finite."""
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is float:
        return isinstance(value, Real) and math.isfinite(value)
    return isinstance(value, Integral if kind is int else kind)


def describe_type(kind: type) -> str:
    """Describe an int, float, bool or str for an error message, such as "a whole number"."""
    return _KINDS[kind]


def field_docs(config: type[Any]) -> dict[str, str]:
    """Read the docstrings under the fields of a class from its source: name of the field -> one line of text."""
    body = ast.parse(textwrap.dedent(inspect.getsource(config))).body[0]
    docs: dict[str, str] = {}
    if not isinstance(body, ast.ClassDef):
        return docs
    for declaration, following in zip(body.body, body.body[1:], strict=False):
        match declaration, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                docs[name] = " ".join(text.split())
    return docs


def _within(value: Any, limits: Any) -> bool:
    return (
        (not limits.get("choices") or value in limits["choices"])
        and value >= limits.get("min", value)
        and value <= limits.get("max", value)
        and ("above" not in limits or value > limits["above"])
    )


def _allowed(kind: type, limits: Any) -> str:
    """Describe the allowed values for an error message."""
    if limits.get("choices"):
        return f"one of {', '.join(limits['choices'])}"
    number = _KINDS[kind]
    low, high, above = limits.get("min"), limits.get("max"), limits.get("above")
    if above is not None:
        return f"{number} above {above:g}" + ("" if high is None else f" and at most {high:g}")
    if low is not None and high is not None:
        return f"{number} from {low:g} to {high:g}"
    if low is not None:
        return f"{number} of at least {low:g}"
    return number if high is None else f"{number} of at most {high:g}"
