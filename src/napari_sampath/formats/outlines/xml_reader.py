"""Reading of XML element by element, with a bound on nesting, and without entities."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn
from xml.etree.ElementTree import Element
from xml.parsers import expat

from ...errors import ImageError, refuse

MAX_DEPTH = 32
"""Maximum nesting depth of elements; files of known programs have less than 10."""
_MAX_TEXT = 1000
"""Maximum length of the text of an element, in characters; longer text is cut, because only names are needed."""
_CHUNK_BYTES = 2**18
_MAX_TAG_BYTES = 2**23
"""Longest tag or comment in bytes. Versions of expat before 2.6 start again with it at each chunk."""


def elements(stream: BinaryIO, path: Path) -> Iterator[tuple[bool, Element]]:
    """Yield each element twice: at its start with its attributes, and at its end with its content.

    The caller clears the elements that it no longer needs, so that memory does not grow with the file.

    Args:
        stream: The XML.
        path: For error messages.

    Yields:
        True and the element at its start; False and the same element at its end.

    Raises:
        ImageError: If it is not XML or too deeply nested, has too long a tag, or declares a document type, which can
            define entities.
    """
    stack: list[Element] = []
    queue: list[tuple[bool, Element]] = []

    unparsed = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        if len(stack) >= MAX_DEPTH:
            refuse(path, f"has elements nested more than {MAX_DEPTH} deep", "export it again")
        element = Element(tag, attributes)
        if stack:
            stack[-1].append(element)
        stack.append(element)
        queue.append((True, element))

    def end(_tag: str) -> None:
        queue.append((False, stack.pop()))

    def text(data: str) -> None:
        nonlocal unparsed
        unparsed = 0
        stack[-1].text = ((stack[-1].text or "") + data)[:_MAX_TEXT]

    def doctype(*_: Any) -> NoReturn:
        refuse(path, "declares a document type, which could make a program read other files", "remove it")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = text, doctype
    try:
        while chunk := stream.read(_CHUNK_BYTES):
            unparsed += len(chunk)
            parser.Parse(chunk, False)
            unparsed = 0 if queue else unparsed
            if unparsed > _MAX_TAG_BYTES:
                refuse(path, f"has a tag of more than {_MAX_TAG_BYTES:,} bytes", "export it again")
            yield from queue
            queue.clear()
        parser.Parse(b"", True)
        yield from queue
    except ImageError:
        raise
    except (expat.ExpatError, LookupError, ValueError) as error:
        refuse(path, f"is not XML or is damaged ({error})", "export it again")


def root_of(head: bytes) -> str:
    """Return the tag of the root element, given the first bytes of a file; "" if they are not XML."""
    tags: list[str] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda tag, _: tags.append(tag)
    with contextlib.suppress(expat.ExpatError, LookupError, ValueError):
        parser.Parse(head, False)
    return tags[0] if tags else ""
