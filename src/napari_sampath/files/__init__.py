"""Files of any kind: atomic writing, opening for reading, and reading of JSON that may be damaged or hostile."""

from .atomic import LEFTOVER_S, LOCK_S, Write, locked, remove_leftovers, write_atomically, write_together
from .json_reader import JsonError, convert, from_json, parse_json, read_json
from .opening import open_regular

__all__ = [
    "LEFTOVER_S",
    "LOCK_S",
    "JsonError",
    "Write",
    "convert",
    "from_json",
    "locked",
    "open_regular",
    "parse_json",
    "read_json",
    "remove_leftovers",
    "write_atomically",
    "write_together",
]
