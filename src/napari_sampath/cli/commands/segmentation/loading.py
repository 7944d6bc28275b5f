"""The head, the model and the settings that the arguments of `sampath segment` select."""

from __future__ import annotations

import argparse
from dataclasses import fields
from functools import cached_property
from typing import TYPE_CHECKING

from ....errors import ConfigError
from ...fields import from_args
from ...output import Output
from ...subcommand import load

if TYPE_CHECKING:
    from ....heads import LoadedHead
    from ....predict import Model
    from ....predict.instances.settings import InstanceSettings


class HeadAndModel:
    """The head and the model of a command, each loaded when it is first used, and kept for all images of a folder.

    Args:
        args: The arguments; a precision that is set later counts until the model is loaded.
        output: The output, for the progress.
    """

    def __init__(self, args: argparse.Namespace, output: Output) -> None:
        self.args = args
        self._output = output

    def load(self, model: bool = True) -> None:
        """Load the head, and the model unless `model` is False, before any image is read."""
        _ = self.model if model else self.head

    @cached_property
    def head(self) -> LoadedHead:
        """The head."""
        from ....heads import load_head

        return load_head(self.args.head)

    @cached_property
    def model(self) -> Model:
        """The model; by default that of the head."""
        self.args.model = self.args.model or self.head.encoder_name
        return load(self.args, self._output)


def instance_settings(args: argparse.Namespace, outlines: bool = True) -> InstanceSettings | None:
    """Return the settings of `--objects`; None for a class map.

    Args:
        args: The arguments.
        outlines: Whether the model outlines objects by default.

    Raises:
        ConfigError: If a setting of `--objects` is given without this flag, or `--agreement` without outlines.
    """
    from ....predict.instances.settings import InstanceSettings

    given = [field.name for field in fields(InstanceSettings) if getattr(args, field.name) is not None]
    if given and not args.objects:
        flag = "--" + given[0].replace("_", "-")
        raise ConfigError(f"{flag} is a setting of --objects; add --objects or remove {flag}.")
    if args.agreement is not None and not (outlines if args.outlines is None else args.outlines):
        raise ConfigError("--agreement is a setting of --outlines; add --outlines or remove --agreement.")
    return from_args(InstanceSettings, args) if args.objects else None
