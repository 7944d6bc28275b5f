"""The JSON reader: whatever the bytes are, the answer is a value or a `JsonError`; and the JSON writer."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sampath.files import JsonError, convert, from_json, parse_json, read_json
from napari_sampath.files.json_reader import Range
from napari_sampath.files.json_writer import to_json

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(-1e300, 1e300) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def reason_of(read: Callable[[], object]) -> str | None:
    try:
        read()
    except JsonError as error:
        return str(error)
    return None


@given(value=values, ascii_only=st.booleans(), mark=st.sampled_from(["", "\ufeff"]))
def test_every_plain_value_is_read_unchanged(value: Any, ascii_only: bool, mark: str) -> None:
    text = mark + json.dumps(value, ensure_ascii=ascii_only)
    assert parse_json(text) == parse_json(text.encode()) == value


@given(st.binary() | st.text(alphabet='[]{}",:\\0e9N').map(str.encode))
def test_other_bytes_are_refused_with_a_reason(content: bytes) -> None:
    reason = reason_of(lambda: parse_json(content))
    assert reason is None or (reason and "\n" not in reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested more than 64 deep"),
        ('{"a":' * 65 + "1" + "}" * 65, "nested more than 64 deep"),
        ('["\\\\", ' * 70, "nested more than 64 deep"),
        ("[1e999]", "the number 1e999, which is not finite"),
        ("[-1E+0400]", "not finite"),
        ("[NaN]", "the number NaN"),
        ("[-Infinity]", "not finite"),
        (f"[{10**400}]", "more than 64 bits"),
        ("[" + "9" * 5000 + "]", "more than 64 bits"),
        (f"[{10**400}.5]", "not finite"),
        (f"[{2**63}]", "more than 64 bits"),
        ('{"a": 1, "a": 2}', "two values of 'a'"),
        ("", "Expecting value"),
        (b"\xff", "byte 0 is not UTF-8"),
        (b"\xff\xfe[\x00]\x00", "not UTF-8"),
    ],
)
def test_content_out_of_bounds_is_refused(text: str | bytes, reason: str) -> None:
    with pytest.raises(JsonError, match=reason):
        parse_json(text)


def test_brackets_in_strings_are_not_nesting() -> None:
    nested = json.dumps(["[{" * 500, '"[\\' * 500, "é[" * 100])
    assert parse_json(nested) == json.loads(nested)
    assert parse_json("[" * 64 + "]" * 64)
    large = "[" + "[1.25,2],".ljust(2**23) + '"' + "[" * 2**23 + '",' + "[" * 63 + "]" * 63 + "]"
    assert len(parse_json(large)) == 3


def test_equal_duplicates_and_numbers_of_64_bits_are_read() -> None:
    assert parse_json('{"a": [1], "a": [1]}') == {"a": [1]}
    numbers = [2**63 - 1, -(2**63) + 1, 0.1234567890123456789012345, 1e300, 5e-324]
    assert parse_json(json.dumps(numbers)) == numbers


def test_unpaired_surrogates_are_replaced() -> None:
    raw = '{"\\ud800": ["a\\udfff", "\\ud83d\\ude00"]}'
    assert parse_json(raw) == {"\ufffd": ["a\ufffd", "\U0001f600"]}
    assert parse_json('"\ud800"'.encode("utf-8", "surrogatepass")) == "\ufffd"


def test_files_are_bounded_and_regular(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(path) == [1]
    with pytest.raises(JsonError, match="has 6 bytes, more than 5"):
        read_json(path, limit_bytes=5)
    os.mkfifo(tmp_path / "pipe")
    for special in (tmp_path, "/dev/zero", tmp_path / "pipe"):
        with pytest.raises(OSError, match=r"directory|device"):
            read_json(special)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "gone.json")


def test_large_files_are_parsed_in_linear_time() -> None:
    text = json.dumps([[float(number), "x\\"] for number in range(300_000)]).encode()
    start = time.process_time()
    json.loads(text)
    plain = time.process_time() - start
    start = time.process_time()
    parse_json(text)
    assert time.process_time() - start < 10 * plain + 0.5


@dataclass
class Inner:
    name: str
    share: float = 0.5


@dataclass
class Outer:
    size: tuple[int, int]
    number: Annotated[int, Range(1, 255)]
    kind: Literal["a", "b"] = "a"
    inner: Inner | None = None
    names: Mapping[str, list[str]] = field(default_factory=dict)
    flags: Sequence[bool] = ()
    extra: Any = None


def test_a_dataclass_is_made_from_checked_values() -> None:
    content = {
        "size": [3, 4.0],
        "number": 7,
        "kind": "b",
        "inner": {"name": "x", "share": 1},
        "names": {"a": ["b"]},
        "flags": [True],
        "extra": {"any": [None]},
        "unknown": 1,
    }
    expected = Outer((3, 4), 7, "b", Inner("x", 1.0), {"a": ["b"]}, (True,), {"any": [None]})
    made = from_json(Outer, content)
    assert made == expected
    assert isinstance(made.inner, Inner)
    assert type(made.size[1]) is int
    assert type(made.inner.share) is float


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": [3]}, "'size' is .3., not a list of 2"),
        ({"size": 3}, "not a list"),
        ({"size": [3, 4.5]}, "not a whole number"),
        ({"size": [True, 1]}, "'size' is true, not a whole number"),
        ({"size": [1, "4"]}, "not a whole number"),
        ({"size": [1, 1e300]}, "not a whole number"),
        ({"number": 256}, "'number' is 256, not from 1 to 255"),
        ({"kind": "c"}, "not one of a, b"),
        ({"kind": 1}, "not one of a, b"),
        ({"inner": {}}, "'name' is missing"),
        ({"inner": []}, "not an object"),
        ({"inner": {"name": "x", "share": 1e300}}, "'share' is 1e.300, not a finite number"),
        ({"names": {"a": "b"}}, "'a' is \"b\", not a list"),
        ({"flags": [1]}, "not true or false"),
        ({"flags": "x" * 100}, "x{39}\\.\\.\\., not a list"),
    ],
)
def test_values_of_other_types_are_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(JsonError, match=reason):
        from_json(Outer, {"size": [1, 2], "number": 1, **change})


@given(values, st.sampled_from([Outer, int, float, str, tuple[int, ...], dict[str, float], list[Inner]]))
def test_convert_gives_a_value_or_a_reason(value: Any, kind: Any) -> None:
    assert reason_of(lambda: convert(value, kind)) != ""


@given(value=values, levels=st.integers(0, 5), ascii_only=st.booleans())
def test_json_encoded_in_parts_is_that_of_python(value: Any, levels: int, ascii_only: bool) -> None:
    whole = json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":"))
    assert to_json(value, levels, ascii_only) == whole


def test_numbers_that_json_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        to_json({"a": [[float("nan")]]})
