"""Values that break readers: huge, negative, not finite, nested, of another type."""

from __future__ import annotations

import copy
import functools
import json
import os
import pickle
from dataclasses import dataclass
from random import Random
from typing import Any

CANARY = "SAMPATH_FUZZ_CANARY"
"""Environment variable with the path of a folder that exists only after code of a file was run."""


@dataclass(frozen=True)
class Raw:
    """JSON text that Python's encoder does not write, such as a number of a thousand digits."""

    text: str

    def __str__(self) -> str:
        return self.text


NUMBERS: tuple[Any, ...] = (
    0, -1, 1, 2, 3, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -(2**31), 2**32, 2**53, 2**63 - 1, 2**63, 2**64, 10**30,
    0.5, -0.5, 1e9, 1e18, 1e308, -1e308, 1e-300, Raw("1e400"), Raw("-1e400"), Raw("NaN"),
    Raw("Infinity"), Raw("9" * 5000),
)  # fmt: skip
TEXTS = (
    "", " ", "x", "0", "../../x", "/etc/passwd", "\0", "\ud800", "\u202e", "\x1b[2J\x07", "a" * 100_000, "<img src=x>",
    "CON",     "ü×%", "1e999", "NaN", "file:///etc/passwd", "http://127.0.0.1:9/x", "pickle", "\r\n",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    *NUMBERS, *TEXTS, None, True, False, [], {}, [[]], [None], [{}], {"a": None}, [0], [0, 0], [1e308] * 4, ["x"] * 6,
    Raw("[" * 3000 + "]" * 3000), Raw('{"a":' * 3000 + "1" + "}" * 3000), [0] * 5000, {str(i): i for i in range(2000)},
)  # fmt: skip


def value(rng: Random) -> Any:
    """Choose a value."""
    return copy.deepcopy(rng.choice(VALUES))


class _Canary:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ.get(CANARY, "/nonexistent/canary"),)


@functools.cache
def payloads() -> tuple[bytes, ...]:
    """Return contents that run code, or start a program, in readers that trust them."""
    return (
        pickle.dumps(_Canary(), protocol=2),
        pickle.dumps(_Canary(), protocol=4),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n{} loop\n",
        b"#!/bin/sh\ntouch canary\n",
    )


def dump(document: Any) -> bytes:
    """Encode as compact JSON, with `Raw` texts as they are and unpaired surrogates escaped."""
    texts: list[str] = []

    def default(value: Any) -> str:
        texts.append(value.text)
        return f"\0raw{len(texts) - 1}\0"

    text = json.dumps(document, default=default, separators=(",", ":"))
    for index, replacement in enumerate(texts):
        text = text.replace(f'"\\u0000raw{index}\\u0000"', replacement)
    return text.encode()
