"""Mutations of files that keep the structure of their format, so that they reach behind its first check."""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

from .values import NUMBERS, dump, payloads, value

Mutate = Callable[[Random, bytes], bytes]


def mutate(rng: Random, path: Path, others: list[bytes]) -> None:
    """Change a file in place; `others` are files to splice with."""
    content = path.read_bytes()
    choices = [_structured(path.name, content)] * 3 + [raw]
    choice = rng.choice(choices)
    try:
        changed = choice(rng, content)
    except (
        ValueError,
        KeyError,
        IndexError,
        struct.error,
        zipfile.BadZipFile,
        zlib.error,
        OverflowError,
        SyntaxError,
        RuntimeError,  # also NotImplementedError and RecursionError
        EOFError,
        AttributeError,
        TypeError,
    ):
        changed = content  # already damaged by an earlier mutation
    if changed == content:
        changed = splice(rng, content, others) if rng.random() < 0.1 else raw(rng, content)
    path.write_bytes(changed[: 2**24])


def _structured(name: str, content: bytes) -> Mutate:
    start = content.lstrip()[:1]
    if name.endswith(".jsonl"):
        return journal
    if content.startswith(b"\x89PNG"):
        return png
    if content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return tiff
    if content.startswith(b"PK\x03\x04"):
        return archive
    if content.startswith(b"\x93NUMPY"):
        return npy
    if content[8:9] == b"{" and len(content) > 8:
        return safetensors
    if start in (b"{", b"[") or name.endswith((".json", ".geojson", ".zattrs", ".zarray", ".zgroup")):
        return json_text
    if start == b"<" or name.endswith(".xml"):
        return xml
    if name.endswith((".txt", ".csv", ".yaml", ".yml")):
        return text
    return raw


def raw(rng: Random, content: bytes) -> bytes:
    """Flip, cut, insert, repeat or overwrite bytes."""
    data = bytearray(content)
    kind = rng.randrange(8)
    at = rng.randrange(len(data) + 1)
    size = min(len(data) - at, rng.choice((1, 2, 4, 8, 64, 1024)))
    if kind == 0 and data:
        for _ in range(rng.choice((1, 1, 2, 8, 64))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        del data[at : at + size]
    elif kind == 3:
        data[at:at] = rng.choice((b"\0" * 64, b"\xff" * 64, rng.randbytes(16), *payloads()))
    elif kind == 4:
        data[at:at] = data[at : at + size] * rng.choice((1, 10, 1000))
    elif kind == 5:
        number = rng.choice((0, 1, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1))
        width = rng.choice((1, 2, 4, 8))
        data[at : at + width] = (number % 256**width).to_bytes(width, rng.choice(("little", "big")))
    elif kind == 6:
        data[at : at + size] = rng.choice((b"\0", b"\xff", b"[", b"9")) * size
    else:
        return rng.choice((b"", b"\0", b"[" * 40_000, b"{}", b"[]", b"null", *payloads()))
    return bytes(data)


def splice(rng: Random, content: bytes, others: list[bytes]) -> bytes:
    """Continue a file with a part of another one."""
    other = rng.choice(others) if others else content
    return content[: rng.randrange(len(content) + 1)] + other[rng.randrange(len(other) + 1) :]


def json_text(rng: Random, content: bytes) -> bytes:
    """Replace, remove, repeat, rename or nest values of a JSON document."""
    return dump(change_json(rng, json.loads(content)))


def change_json(rng: Random, document: Any) -> Any:
    places = list(_places(document))
    if not places:
        return value(rng)
    # Prefer values near the root, because long lists would otherwise take all mutations.
    depth = rng.randrange(max(len(path) for path, _ in places)) + 1
    path, _ = rng.choice([place for place in places if len(place[0]) == depth] or places)
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    key, old = path[-1], holder[path[-1]]
    kind = rng.randrange(9)
    if kind <= 3:
        holder[key] = value(rng)
    elif kind == 4 and isinstance(old, int | float):
        holder[key] = rng.choice((*NUMBERS, old + 1, -old, old * 10**6, str(old)))
    elif kind == 5 and isinstance(old, list) and old:
        holder[key] = old * rng.choice((2, 10, 1000)) if rng.random() < 0.5 else old[:-1]
    elif kind == 6:
        del holder[key]
    elif kind == 7:
        holder[key] = rng.choice(([old], {"x": old}, str(old)))
    elif isinstance(holder, dict):
        holder[rng.choice((f"{key}x", "\ud800", "", "__class__", *holder))] = holder.pop(key)
    else:
        rng.shuffle(holder)
    return document


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    found = [(path, value)] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        if len(found) > 5000:
            break
        found += _places(part, (*path, key))
    return found


def journal(rng: Random, content: bytes) -> bytes:
    """Change a line of a journal and repair its checksum; or swap, repeat and drop lines."""
    lines = content.split(b"\n")
    index = rng.randrange(max(1, len(lines) - 1))
    kind = rng.randrange(6)
    if kind == 4:
        lines.insert(rng.randrange(len(lines)), lines[index])
    elif kind == 5:
        del lines[index]
    else:
        body, mark, _ = lines[index].rpartition(b',"sum":"')
        if not mark:
            return raw(rng, content)
        changed = dump(change_json(rng, json.loads(body + b"}"))).rstrip()[:-1]
        lines[index] = changed + mark + hashlib.sha256(changed).hexdigest()[:32].encode() + b'"}'
    return b"\n".join(lines)


def png(rng: Random, content: bytes) -> bytes:
    """Change, drop, repeat or add a chunk of a PNG, with its checksum repaired."""
    chunks, at = [], 8
    while at + 8 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    index = rng.randrange(len(chunks))
    name, body = chunks[index]
    kind = rng.randrange(6)
    if kind == 0 and body:
        chunks[index] = name, raw(rng, body)
    elif kind == 1:
        del chunks[index]
    elif kind == 2:
        chunks.insert(rng.randrange(len(chunks)), (name, body))
    elif kind == 3 and name == b"IHDR":
        fields = list(struct.unpack(">IIBBBBB", body))
        place = rng.randrange(7)
        fields[place] = rng.choice(
            (0, 1, 2, 3, 4, 6, 8, 16, 255) + ((2**16, 2**31 - 1, 10**9) if place < 2 else ())
        )
        chunks[index] = name, struct.pack(">IIBBBBB", *fields)
    elif kind == 4:
        text = zlib.compress(b"x" * rng.choice((10, 10**7)))
        extras = (
            (b"zTXt", b"k\0\0" + text),
            (b"iCCP", b"p\0\0" + text),
            (b"eXIf", rng.randbytes(40)),
            (b"tRNS", b"\0" * 300),
            (b"acTL", struct.pack(">II", 2**31, 0)),
            (b"PLTE", b"\1\2\3" * 256),
        )
        chunks.insert(1, rng.choice(extras))
    elif name == b"IDAT":
        chunks[index] = name, zlib.compress(bytes(rng.choice((0, 1, 10**7))))
    parts = [content[:8]]
    for name, body in chunks:
        parts += [struct.pack(">I", len(body)), name, body, struct.pack(">I", zlib.crc32(name + body))]
    return b"".join(parts)


def tiff(rng: Random, content: bytes) -> bytes:
    """Change the type, count or value of a tag of the first directory, or the offset of the next one."""
    data = bytearray(content)
    order = "<" if content[:2] == b"II" else ">"
    if content[2] + content[3] != 42:
        return raw(rng, content)
    (first,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, first)
    kind = rng.randrange(8)
    if kind == 0:
        struct.pack_into(
            order + "I", data, first + 2 + 12 * count, rng.choice((first, 8, 0, 2**32 - 1, len(data)))
        )
        return bytes(data)
    if kind == 1:
        struct.pack_into(order + "H", data, first, rng.choice((0, 1, count + 1, 65535)))
        return bytes(data)
    at = first + 2 + 12 * rng.randrange(count)
    tag, dtype, number, _ = struct.unpack_from(order + "HHII", data, at)
    if kind == 2:
        dtype = rng.randrange(20)
    elif kind == 3:
        number = rng.choice((0, 1, 2, 1000, 2**31, 2**32 - 1))
    elif kind == 4:
        tag = rng.choice(
            (254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 279, 284, 317, 320, 322, 323, 330, 338, 339)
        )
    else:
        number_value = rng.choice(
            (0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 33, 64, 255, 32773, 34712, 50000, 65535, 2**31, 2**32 - 1)
        )
        struct.pack_into(order + "HHII", data, at, tag, dtype, number, number_value)
        return bytes(data)
    struct.pack_into(order + "HHI", data, at, tag, dtype, number)
    return bytes(data)


def safetensors(rng: Random, content: bytes) -> bytes:
    """Change the header, a JSON text in its metadata, or a tensor."""
    length = int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    metadata = header.get("__metadata__", {})
    texts = [key for key, text in metadata.items() if str(text).startswith(("{", "["))]
    kind = rng.randrange(4)
    if kind <= 1 and texts:
        key = rng.choice(texts)
        metadata[key] = (
            dump(change_json(rng, json.loads(metadata[key]))).decode("utf-8", "surrogatepass").strip()
        )
        if rng.random() < 0.9:
            metadata.pop("sampath_sha256", None)
    elif kind == 2:
        header = change_json(rng, header)
    else:
        metadata.pop("sampath_sha256", None)
        body = raw(rng, body)
    text = dump(header)
    return len(text).to_bytes(8, "little") + text + body


def npy(rng: Random, content: bytes) -> bytes:
    """Change the header of a numpy file."""
    size = int.from_bytes(content[8:10], "little")
    header = content[10 : 10 + size].decode("latin-1")
    choice = rng.choice(
        (
            ("'descr': '[^']*'", "'descr': '|O'"),
            (
                "'descr': '[^']*'",
                f"'descr': '{rng.choice(('<f8', '<U9', '|V9', '<i8', '>u2', '<M8[s]', '<c16'))}'",
            ),
            (
                r"\([\d, ]*\)",
                f"({rng.choice(('', '-1,', '10**9,', '1000000000, 1000000000', '0, 5', '1,' * 40))})",
            ),
            ("False", "True"),
            ("{", "{" * rng.choice((2, 5000))),
        )
    )
    text = re.sub(choice[0], choice[1].replace("\\", ""), header, count=1).encode("latin-1")
    return content[:8] + struct.pack("<H", len(text) % 65536) + text + content[10 + size :]


def archive(rng: Random, content: bytes) -> bytes:
    """Change, rename, repeat or add a member of a zip file."""
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        members = [(entry.filename, source.read(entry), entry.compress_type) for entry in source.infolist()]
    index = rng.randrange(len(members))
    name, body, method = members[index]
    kind = rng.randrange(6)
    if kind <= 2:
        members[index] = name, _structured(name, body)(rng, body), method
    elif kind == 3:
        members[index] = (
            rng.choice(("../x", "/etc/x", "a\\b", "x" * 300, "ü", "", "CON", f"{name}/")),
            body,
            method,
        )
    elif kind == 4:
        members.append((f"big{name}", bytes(rng.choice((10, 10**8))), zipfile.ZIP_DEFLATED))
    else:
        del members[index]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        for name, body, method in members:
            target.writestr(zipfile.ZipInfo(name or "x"), body, method)
    return stream.getvalue()


_ENTITIES = b"".join(b'<!ENTITY a%d "%s">' % (i, b"&a%d;" % (i - 1) * 10) for i in range(1, 9))
_XML = (
    b'<!DOCTYPE x [<!ENTITY a0 "aaaaaaaaaa">' + _ENTITIES + b"]><x>&a8;</x>",
    b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
    b"<a>" * 20_000,
)
"""Entities that expand to a gigabyte, an entity of another file, and deep nesting."""


def xml(rng: Random, content: bytes) -> bytes:
    """Change an attribute, a text or the order of elements; or add an entity."""
    root = ElementTree.fromstring(content)
    element = rng.choice(list(root.iter()))
    kind = rng.randrange(7)
    if kind <= 2 and element.attrib:
        element.set(rng.choice(list(element.attrib)), str(value(rng)))
    elif kind == 3:
        element.text = str(value(rng))
    elif kind == 4:
        element.extend(list(element)[:50] * rng.choice((1, 20)))
    elif kind == 5 and element.attrib:
        del element.attrib[rng.choice(list(element.attrib))]
    elif kind == 6:
        return rng.choice(_XML)
    else:
        for child in list(element):
            element.remove(child)
    return ElementTree.tostring(root, "utf-8", xml_declaration=True)


def text(rng: Random, content: bytes) -> bytes:
    """Replace a word of a text, or repeat a line."""
    words = re.split(rb"([\s,]+)", content)
    if rng.random() < 0.7 and len(words) > 1:
        words[rng.randrange(0, len(words), 2)] = str(value(rng)).encode("utf-8", "surrogatepass")
        return b"".join(words)
    lines = content.split(b"\n")
    lines.insert(rng.randrange(len(lines)), rng.choice(lines) * rng.choice((1, 2, 1000)))
    return b"\n".join(lines)
