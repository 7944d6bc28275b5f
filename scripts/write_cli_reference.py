"""Write `docs/cli-reference.md` from the argument parsers of the command line."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from napari_sampath.cli import SUBCOMMANDS, build_parser

PAGE = Path(__file__).parents[1] / "docs" / "cli-reference.md"
INTRODUCTION = """# Command line reference

After reading this page, you know every argument of every subcommand. It is written from the program itself by
`scripts/write_cli_reference.py`; [Command line](command-line.md) explains how to use it.

All subcommands also have the flags `--json`, `--quiet`, `--device` and `--cache`.
"""
COMMON = ("help", "version", "json", "quiet", "device", "cache")
"""Arguments of all subcommands."""


def page() -> str:
    """Return the page; arguments that SAMPATH_DATA replaces are required on it, whether or not it is set."""
    lines = [INTRODUCTION]
    with mock.patch.dict(os.environ):
        os.environ.pop("SAMPATH_DATA", None)
        for name, subcommand in SUBCOMMANDS.items():
            parser = _subparsers(build_parser([name]))[name]
            lines += [f"## sampath {name}\n", f"{parser.description}\n"]
            lines += [f"```bash\n{subcommand.example}\n```\n", *_arguments(parser, f"sampath {name}")]
    return "\n".join(lines)


def _arguments(parser: argparse.ArgumentParser, command: str) -> Iterator[str]:
    """Describe the arguments of a parser, and of the parsers of its actions."""
    actions = [
        action for action in parser._actions if action.dest not in COMMON and action.help != "==SUPPRESS=="
    ]
    nested = _subparsers(parser)
    rows = [
        f"| {_words(action)} | {_help(action, command)} |"
        for action in actions
        if not isinstance(action, argparse._SubParsersAction)
    ]
    if rows:
        yield "\n".join(["| argument | effect |", "|---|---|", *rows]) + "\n"
    elif not nested:
        yield "No arguments of its own.\n"
    for name, child in nested.items():
        yield f"### {command} {name}\n"
        if child.description:
            yield f"{child.description}\n"
        yield from _arguments(child, f"{command} {name}")


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return name -> parser of the subcommands."""
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found[0].choices) if found else {}


def _words(action: argparse.Action) -> str:
    """Return how an argument is written, such as `-o, --output FILE`, and whether it is required."""
    names = [action.metavar] if isinstance(action.metavar, str) else list(action.metavar or ())
    if not names and action.nargs != 0:
        names = [f"{{{_choices(action)}}}" if action.choices else action.dest.upper()]
    value = " ".join(names * action.nargs if isinstance(action.nargs, int) and len(names) == 1 else names)
    value += " ..." if action.nargs in ("+", "*") else ""
    if not action.option_strings:
        return f"`{value}`".replace("|", "\\|")
    required = ", required" if action.required else ""
    return f"`{', '.join(action.option_strings)}{' ' * bool(value)}{value}`{required}".replace("|", "\\|")


def _help(action: argparse.Action, command: str) -> str:
    text = " ".join((action.help or "").split()) % {**vars(action), "prog": command}
    text = text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
    choices = _choices(action)
    return f"{text}; one of {choices}" if choices and isinstance(action.metavar, str) else text


def _choices(action: argparse.Action) -> str:
    return ",".join(map(str, action.choices or ()))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
