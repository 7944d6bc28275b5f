"""Commits whose masks are not ready yet; they are carried out in the order in which the user made them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from psygnal import Signal

from ...errors import PromptError, SampathError, StorageError
from ..editor import Editor
from ..large_changes import LARGE_PX, LargeChanges, box_px
from ..objects.overlap import MaskMode, Overlap, OverlapRule, find_duplicate
from ..undone import UndoneItems
from .answerer import Answer, PromptRequest
from .candidate import Candidate
from .commit import make_commit, overlap_of
from .prompt_state import PromptState
from .session_prompts import SessionPrompts

if TYPE_CHECKING:
    from ...annotations import AnnotatedObject, Document, Operation

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CommitRules:
    """Class and rules of a commit, as they were when the user made it."""

    class_id: int
    overlap: OverlapRule
    mask_mode: MaskMode
    only_new: bool = False
    """Whether a mask that equals an existing object of the class is dropped, as after a double click."""


@dataclass(slots=True, eq=False)
class WaitingCommit:
    """A committed prompt whose mask is not in the document yet."""

    state: PromptState
    rules: CommitRules
    chosen: int
    """Index of the candidate that the user selected, best first."""
    request: PromptRequest | None
    """The request for the masks; None if there was no model yet."""
    answer: Answer | None = None
    overlap: Overlap | None = None
    """The objects under the mask, while the user is asked about them."""

    @property
    def candidate(self) -> Candidate | None:
        """The mask to commit; None before the answer."""
        return (
            None if self.answer is None else self.answer.candidates[self.chosen % len(self.answer.candidates)]
        )

    @property
    def model_name(self) -> str | None:
        """Name of the model that predicts the mask."""
        return None if self.request is None else self.request.tiles.model.name


class WaitingCommits:
    """Queue of the commits of a session that wait for their masks.

    A waiting prompt is closed: the next point begins another object. The commits are carried out in order, each with
    the class, rules and model that were selected when the user made it, so that the result does not depend on the speed
    of the model. Use the queue in the thread of the session.

    Args:
        editor: The document and its undo history.
        prompts: The pending prompt.
        large_changes: Adds large masks, and all masks while it is busy.
    """

    changed = Signal()
    """Emitted when a commit was added, carried out or removed."""
    committed = Signal(object, str)
    """Emitted with the `AnnotatedObject` of each commit that was carried out, and a remark or ""."""
    overlap_found = Signal(object)
    """Emitted with the `Overlap` of a commit with the rule "ask"; the later commits wait for `decide`."""

    def __init__(self, editor: Editor, prompts: SessionPrompts, large_changes: LargeChanges) -> None:
        self._editor = editor
        self._large_changes = large_changes
        self._prompts = prompts
        self._items: list[WaitingCommit] = []
        self._undone: UndoneItems[WaitingCommit] = UndoneItems(editor.history)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def items(self) -> tuple[WaitingCommit, ...]:
        """The waiting commits, oldest first."""
        return tuple(self._items)

    @property
    def overlap(self) -> Overlap | None:
        """The overlap that the user is asked about; None if there is none."""
        return self._items[0].overlap if self._items else None

    def hold(self, rules: CommitRules) -> None:
        """Close the pending prompt and commit it as soon as its mask is ready and the earlier commits are done.

        Raises:
            PromptError: If there is no pending prompt.
        """
        prompts = self._prompts
        if prompts.state.empty:
            raise PromptError("There is nothing to commit; click on an object in the image first.")
        self._items.append(
            WaitingCommit(prompts.state, rules, prompts.chosen, prompts.request(), prompts.current_answer)
        )
        self._undone.forget()
        prompts.clear()
        if len(self._items) > 1 or self._items[0].answer is None:
            self.changed.emit()
        self.land()

    def request(self, item: WaitingCommit) -> PromptRequest | None:
        """Return the request for the mask of a commit that has no answer; None if there is no model yet."""
        if item.request is None:
            item.request = self._prompts.request_for(item.state)
        return item.request

    def accept(self, answer: Answer) -> bool:
        """Take an answer, and carry out the commits that are ready; return False if none waits for it."""
        for item in self._items:
            if item.state is answer.state:
                item.answer = answer
                self.land()
                return True
        return False

    def land(self) -> None:
        """Carry out the commits that are ready, up to the first that is not."""
        before = len(self._items), self.overlap
        while self._items and self._items[0].answer is not None and self._items[0].overlap is None:
            if not self._carry_out(self._items[0]):
                break
        if (len(self._items), self.overlap) != before:
            self.changed.emit()

    def decide(self, rule: OverlapRule | None) -> None:
        """Answer the question about an overlap; None returns the prompt to the user instead of committing it."""
        item = self._items[0] if self.overlap is not None else None
        if item is None:
            return
        item.overlap = None
        if rule is None:
            self._take_back(item, "" if self._prompts.state.empty else "You cancelled it.")
        else:
            item.rules = replace(item.rules, overlap=rule)
        self.land()

    def fail(self, state: PromptState, reason: str) -> None:
        """Return a prompt whose mask could not be predicted, for a reason (a sentence), to the user."""
        for item in self._items:
            if item.state is state:
                self._take_back(item, reason)
                self.land()
                return

    def undo(self) -> bool:
        """Remove the newest waiting commit; return False if there is none."""
        if not self._items:
            return False
        item = self._items.pop()
        self._undone.add(item)
        self._editor.message.emit(f"Undid {self._name(item)}, whose mask was still being computed.")
        self.changed.emit()
        return True

    def redo(self) -> bool:
        """Repeat the commit that `undo` removed last; return False if there is none."""
        item = self._undone.take()
        if item is None:
            return False
        self._items.append(item)
        self.changed.emit()
        self.land()
        return True

    def finish(self, limit_s: float) -> int:
        """Carry out all commits now, without asking questions, before the session is closed.

        Args:
            limit_s: No further mask is predicted after this time, in seconds.

        Returns:
            The number of commits that were not carried out.
        """
        end, failed = time.monotonic() + limit_s, 0
        for item in list(self._items):
            item.overlap = None
            if item.rules.overlap == "ask":
                item.rules = replace(item.rules, overlap="keep")
            request = self.request(item)
            if item.answer is None and request is not None and time.monotonic() < end:
                try:
                    item.answer = self._prompts.answerer.answer(request)
                except Exception:  # Of any kind: the window is closing.
                    logger.exception("A mask could not be predicted")
                    self._items.remove(item)
                    failed += 1
        self.land()
        return len(self._items) + failed

    def _carry_out(self, item: WaitingCommit) -> bool:
        """Carry out a commit; return False if it stays in the queue."""
        document, rules, candidate = self._editor.document, item.rules, item.candidate
        if candidate is None:
            return False
        if rules.overlap == "ask":
            item.overlap = overlap_of(document, candidate, item.state, rules.class_id, rules.mask_mode)
            if item.overlap is not None:
                self.overlap_found.emit(item.overlap)
                return False
        if rules.only_new and find_duplicate(document, candidate.mask, rules.class_id):
            self._items.remove(item)
            self._editor.message.emit(f"{self._name(item).capitalize()} exists already; nothing was added.")
            return True
        try:
            if candidate.box is None:
                raise PromptError("The mask is empty; add a point or choose another candidate.")
            class_id = document.classes.by_id(rules.class_id).id
            if box_px(candidate.mask) > LARGE_PX or len(self._large_changes):
                self._items.remove(item)
                self._submit(item, candidate, class_id)
                return True
            commit = make_commit(
                document, candidate, item.state, class_id, item.model_name, rules.overlap, rules.mask_mode
            )
            patch = self._editor.save(commit.operation, below_prompts=True)
        except SampathError as error:
            if isinstance(error, StorageError) and not self._prompts.state.empty:
                # It stays first in the queue; the next commit tries again.
                self._editor.message.emit(str(error))
                return False
            self._take_back(item, str(error))
            return True
        self._items.remove(item)
        self._editor.announce(patch)
        self.committed.emit(document.objects[commit.object_id], commit.remark)
        return True

    def _submit(self, item: WaitingCommit, candidate: Candidate, class_id: int) -> None:
        """Add the mask of a commit in a worker thread."""
        rules = item.rules

        def run(document: Document, do: Callable[[Operation], None]) -> Overlap | tuple[AnnotatedObject, str]:
            if rules.overlap == "ask":  # With objects of changes that were not in the document before.
                covered = overlap_of(document, candidate, item.state, class_id, rules.mask_mode)
                if covered is not None:
                    return covered
            commit = make_commit(
                document, candidate, item.state, class_id, item.model_name, rules.overlap, rules.mask_mode
            )
            do(commit.operation)
            return document.objects[commit.object_id], commit.remark

        self._large_changes.submit(
            run,
            box_px(candidate.mask),
            self._name(item),
            done=lambda result: self._on_added(item, result),
            failed=lambda error: self._on_failed(item, error),
        )

    def _on_added(self, item: WaitingCommit, result: object) -> None:
        if not isinstance(result, Overlap):
            self.committed.emit(*cast("tuple[AnnotatedObject, str]", result))
            return
        if self._items:
            self._items[0].overlap = None  # It is asked about again after this one.
        item.overlap = result
        self._items.insert(0, item)
        self.overlap_found.emit(result)
        self.changed.emit()

    def _on_failed(self, item: WaitingCommit, error: SampathError) -> None:
        reopened = self._prompts.state.empty
        self._reopen(item)
        if not reopened:
            self._editor.message.emit(f"{self._name(item).capitalize()} was not added. {error}")

    def _reopen(self, item: WaitingCommit) -> None:
        if self._prompts.state.empty:
            self._prompts.reopen(item.state, item.answer, item.chosen)

    def _take_back(self, item: WaitingCommit, reason: str) -> None:
        """Remove a commit; its prompt becomes the pending prompt, unless another one was begun."""
        self._items.remove(item)
        reopened = self._prompts.state.empty
        self._reopen(item)
        if reason:
            lost = "" if reopened else f"{self._name(item).capitalize()} was not added. "
            self._editor.message.emit(lost + reason)
        self.changed.emit()

    def _name(self, item: WaitingCommit) -> str:
        """Return a name for messages: "the nucleus at (120, 45)"."""
        x, y = item.state.positions().mean(axis=0)
        classes = {info.id: info.name for info in self._editor.classes}
        return f"the {classes.get(item.rules.class_id, 'object')} at ({x:.0f}, {y:.0f})"
