"""Checks of this computer for `sampath doctor`: each reports its result and how to solve a problem.

What can end the process, such as Qt without a display or a broken PyTorch, is tried in another process.
"""

from .check import Check, State
from .checks import check_computer

__all__ = ["Check", "State", "check_computer"]
