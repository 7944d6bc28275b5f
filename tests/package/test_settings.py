from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from napari_sampath.errors import ConfigError
from napari_sampath.settings import check_settings, field_docs, setting


@dataclass(frozen=True)
class Example:
    count: int = setting(3, min=1, label="Count", step=2)
    """How many,
    as a number."""
    share: float = setting(0.5, above=0, max=1)
    rate: float = 0.1
    mode: str = setting("fast", choices=("fast", "exact"), tooltip="Choose one.")
    enabled: bool = True
    extra: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_settings(self)


def test_allowed_values_are_accepted() -> None:
    Example(np.int64(1), 1, np.float32(-3), "exact", False, (1.0,))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 0}, "count is 0; give a whole number of at least 1."),
        ({"count": 1.0}, "count is 1.0; give a whole number of at least 1."),
        ({"count": True}, "count is True; give a whole number of at least 1."),
        ({"share": 0}, "share is 0; give a number above 0 and at most 1."),
        ({"share": 1.5}, "share is 1.5; give a number above 0 and at most 1."),
        ({"rate": float("nan")}, "rate is nan; give a number."),
        ({"rate": "1"}, "rate is '1'; give a number."),
        ({"mode": "slow"}, "mode is 'slow'; give one of fast, exact."),
        ({"enabled": 1}, "enabled is 1; give true or false."),
    ],
)
def test_other_values_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Example(**values)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_docstrings_of_fields_are_read_from_the_source() -> None:
    assert field_docs(Example) == {"count": "How many, as a number."}


def test_metadata_has_the_keys_of_magicgui() -> None:
    fields = Example.__dataclass_fields__
    assert dict(fields["count"].metadata) == {"min": 1, "step": 2, "label": "Count"}
    assert dict(fields["mode"].metadata) == {"choices": ("fast", "exact"), "tooltip": "Choose one."}
