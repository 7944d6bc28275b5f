"""Files of any kind: atomic writing, locks, names, opening for reading, and reading of untrusted JSON."""

from .atomic import LEFTOVER_S, Write, remove_leftovers, write_atomically
from .json_reader import JsonError, convert, from_json, parse_json, read_json
from .locks import LOCK_S, locked
from .names import check_length, file_stem, find_file, free_name, is_stem_of, name_key
from .opening import open_regular
from .together import WriteFolder, remove_staged, settle, write_together

__all__ = [
    "LEFTOVER_S",
    "LOCK_S",
    "JsonError",
    "Write",
    "WriteFolder",
    "check_length",
    "convert",
    "file_stem",
    "find_file",
    "free_name",
    "from_json",
    "is_stem_of",
    "locked",
    "name_key",
    "open_regular",
    "parse_json",
    "read_json",
    "remove_leftovers",
    "remove_staged",
    "settle",
    "write_atomically",
    "write_together",
]
