"""Computation of blocks, in which reading, encoder and head, blending, and writing run at the same time.

    threads    read and preprocess the tiles (`encoding`)
    a thread   runs encoder and head, and yields logits
    threads    upscale the logits
    the job    blends them
    a thread   writes the last block

Each works on the next tiles while the following one is busy, also across the borders of blocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..blending import Canvas, part_of
from ..lookahead import iterate_ahead, map_ahead
from ..segmentation import tile_logits, upscaled_probabilities

if TYPE_CHECKING:
    from ...arrays import FloatArray
    from ...formats.maps.slide_result import Block
    from ...geometry import Frame
    from .slide_plan import SlidePlan

_ENCODED = 32
"""Maximum number of tiles waiting to be blended; not less than a batch of the encoder."""
_UPSCALERS = 2
"""Number of threads that upscale logits; upscaling a tile takes as long as blending it."""


@dataclass(slots=True, eq=False)
class _Tile:
    """A tile as part of a block."""

    block: Block
    frame: Frame
    is_last: bool
    """Whether it is the last tile of the block."""
    is_blank: bool
    same: _Tile | None = None
    """The same tile as part of an earlier block, if that has not been computed yet."""
    logits: FloatArray | None = None


class BlockStream:
    """Computes blocks one by one; while a block is written, the first tiles of the next one are encoded.

    Args:
        plan: The run.
    """

    def __init__(self, plan: SlidePlan) -> None:
        self.plan = plan
        self._coming: deque[Block] = deque()
        self._started: Generator[int] | None = None
        self._expected: Block | None = None

    def compute(self, block: Block, following: Block | None = None) -> None:
        """Compute a block and write it.

        Args:
            block: The block.
            following: The block that will probably be computed next.

        Raises:
            StorageError: If the block cannot be written.
        """
        try:
            for _ in range(2):
                if self._started is None or self._expected != block:
                    self._restart(block)
                if following is not None:
                    self._coming.append(following)
                self._expected = following
                if self._is_written(block):
                    return
                # The blocks ended before this one was added.
                self._expected = None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop encoding tiles ahead."""
        if self._started is not None:
            self._started.close()
        self._started = self._expected = None

    def _restart(self, block: Block) -> None:
        self.close()
        self._coming = deque([block])
        self._started = compute_blocks(self.plan, self._blocks(self._coming))

    @staticmethod
    def _blocks(coming: deque[Block]) -> Iterator[Block]:
        while coming:
            yield coming.popleft()

    def _is_written(self, block: Block) -> bool:
        """Continue until a block is complete, or all blocks are."""
        for _ in self._started or ():
            if self.plan.result.is_done(block):
                return True
        return self.plan.result.is_done(block)


def compute_blocks(
    plan: SlidePlan, blocks: Iterable[Block], on_block: Callable[[Block], object] = lambda block: None
) -> Generator[int]:
    """Compute blocks and write them.

    Args:
        plan: The run.
        blocks: The blocks, read in a thread shortly before they are computed.
        on_block: Called in a thread after a block has been written.

    Yields:
        The number of tiles with tissue that are finished.

    Raises:
        StorageError: If a block cannot be written.
        ImageError: If the slide cannot be read, or was changed since it was opened.
    """

    def write(block: Block, canvas: Canvas) -> None:
        plan.slide.slide.check_unchanged()
        plan.result.write(block, canvas.labels, canvas.confidence)
        on_block(block)

    done, canvas = 0, None
    written: Future[None] | None = None
    with ExitStack() as stack:
        writer = stack.enter_context(ThreadPoolExecutor(1, "slide-writer"))
        encoded = stack.enter_context(closing(_encoded(plan, blocks)))
        ahead = stack.enter_context(closing(iterate_ahead(encoded, _ENCODED, "slide-encoder")))
        upscaled = map_ahead(_upscaled, ahead, _UPSCALERS, 2 * _UPSCALERS, "slide-upscaler")
        for tile, probabilities in stack.enter_context(closing(upscaled)):
            if canvas is None:
                canvas = Canvas(plan.frames(tile.block), tile.block.box, plan.head.classes, compact=True)
            if probabilities is None:
                canvas.add_background(tile.frame)
            else:
                canvas.add(tile.frame, probabilities)
                done += 1
            if written is not None and (tile.is_last or written.done()):
                written.result()
            if tile.is_last:
                canvas.finish()
                written, canvas = writer.submit(write, tile.block, canvas), None
            yield done
        if written is not None:
            written.result()


def _encoded(plan: SlidePlan, blocks: Iterable[Block]) -> Generator[_Tile]:
    """Yield the tiles of blocks in order, with their logits."""
    network = plan.head.head.to(plan.model.device).eval()
    waiting: deque[_Tile] = deque()
    computing: dict[Frame, _Tile] = {}

    def missing() -> Iterator[Frame]:
        """Line up the tiles of all blocks, and yield those that the encoder has to compute."""
        for block in blocks:
            frames = plan.frames(block)
            for number, frame in enumerate(map(plan.model.encoder.adapt_frame, frames), start=1):
                tile = _Tile(block, frame, number == len(frames), plan.is_blank(frame))
                waiting.append(tile)
                if tile.is_blank:
                    continue
                tile.same = computing.get(frame)
                tile.logits = plan.shared.get(frame)
                if tile.same is None and tile.logits is None:
                    computing[frame] = tile
                    yield frame

    def ready() -> Iterator[_Tile]:
        """Yield the tiles up to the next one that the encoder has to compute."""
        while waiting and computing.get(waiting[0].frame) is not waiting[0]:
            tile = waiting.popleft()
            if tile.same is not None:
                tile.logits, tile.same = tile.same.logits, None
            yield tile

    for features in plan.model.read_tiles(plan.slide, missing(), network.spec, in_memory=False):
        yield from ready()
        tile = waiting.popleft()
        del computing[tile.frame]
        tile.logits = tile_logits(network, features)
        if plan.is_shared(tile.frame):
            plan.shared.put(tile.frame, tile.logits)
        yield tile
    yield from ready()


def _upscaled(tile: _Tile) -> tuple[_Tile, FloatArray | None]:
    """Return a tile with its probabilities (K, h, w) in its block; None without tissue."""
    if tile.logits is None:
        return tile, None
    probabilities = upscaled_probabilities(tile.frame, tile.logits, part_of(tile.frame, tile.block.box))
    return tile, probabilities
