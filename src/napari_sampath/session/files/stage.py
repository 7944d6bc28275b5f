"""The stages of SAM's data engine (Segment Anything, section 4)."""

from __future__ import annotations

from typing import Literal, TypeAlias

Stage: TypeAlias = Literal["assisted", "semi-automatic", "automatic"]
