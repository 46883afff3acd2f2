"""The streams that a decider remembers, as far as it has followed the log."""

from collections.abc import Iterable, Sequence
from itertools import islice

import structlog

from commands import snapshots
from commands.batch import UNKNOWN, Known, evolved
from commands.order import Order
from events import codec
from events.codec import Row, UnreadableEvent
from events.envelope import product_stream
from events.log import FAR_BEHIND, Snapshot, Writer

log = structlog.get_logger()


class Remembered:
    """Streams by name, at most so many, each as it is at `position` at least. Reads them with the decider's writer."""

    def __init__(self, writer: Writer, most: int) -> None:
        self._writer = writer
        self._most = most
        self._streams: dict[str, Known | UnreadableEvent] = {}  # the least recently used first
        self._absent: set[str] = set()  # those of them that are not there
        self._grown: dict[str, Known] = {}  # to be kept as snapshots
        self.position = 0

    def __contains__(self, stream: str) -> bool:
        return stream in self._streams

    def __len__(self) -> int:
        return len(self._streams)

    def state(self, stream: str) -> Known:
        """A stream as it is. Raises `UnreadableEvent`."""
        known = self._streams.get(stream)
        if known is None:
            self.load([stream])
            known = self._streams[stream]
        if isinstance(known, UnreadableEvent):
            raise known
        return known

    # What happens -----------------------------------------------------------------------------------------------

    def follow(self, head: int, news: Iterable[Row]) -> None:
        """Be as new as the head of the log, by what others appended since `position`: all but the first of an order."""
        if head - self.position > FAR_BEHIND:
            self.clear()
        for row in news:
            self._follow(row)
        for stream in self._absent:
            self._streams.pop(stream, None)
        self._absent.clear()
        self.position = head

    def _follow(self, row: Row) -> None:
        stream, version = row[0], row[1]
        known = self._streams.get(stream)
        if isinstance(known, Known) and version > known.version:
            if version == known.version + 1:
                self._streams[stream] = _folded([row], known)
            else:
                del self._streams[stream]

    def moved(self, streams: dict[str, Known], position: int) -> None:
        """Be as new as our own append has left the log."""
        self._absent.difference_update(streams)
        for stream, known in streams.items():
            before = self._streams.pop(stream, None)
            self._streams[stream] = known
            if known.version >= snapshots.EVERY and snapshots.are_due(_version(before), known.version):
                self._grown[stream] = known
        self.position = position

    def forget(self) -> None:
        """What is more than `most`: streams that were only asked about, and refused, are remembered too."""
        too_many = max(len(self._streams) - self._most, 0)
        for stream in [*islice(self._streams, too_many)]:  # in one walk: each from the front passes those that are gone
            del self._streams[stream]
            self._absent.discard(stream)

    def clear(self) -> None:
        self._streams.clear()
        self._absent.clear()

    # What is read -----------------------------------------------------------------------------------------------

    def load(self, streams: Iterable[str]) -> None:
        """Read those that are not remembered, and the products for which the orders among them have stock reserved."""
        known = self._streams
        missing = set()
        for stream in streams:
            if stream in known:
                known[stream] = known.pop(stream)  # used most recently
            else:
                missing.add(stream)
        if not missing:
            return
        kept, found = self._writer.load(missing, snapshots.SHAPE)
        rows: dict[str, list[Row]] = {stream: [] for stream in missing}
        for row in found:
            rows[row[0]].append(row)
        start = dict.fromkeys(missing, UNKNOWN) | self._decoded(kept, rows)
        for stream, its_rows in rows.items():
            self._remember(stream, its_rows, start[stream])
        if more := self._reserved_by(missing):
            self.load(more)

    def _decoded(self, kept: Iterable[Snapshot], rows: dict[str, list[Row]]) -> dict[str, Known]:
        """Where the streams with snapshots start. One that cannot be read has all its rows read instead."""
        start = {}
        for snapshot in kept:
            stream, version = snapshot.stream, snapshot.version
            try:
                start[stream] = Known(version, snapshots.decode(stream, snapshot.state))
            except ValueError as error:  # the stream says it all, only slower
                log.warning("snapshot cannot be read", stream=stream, version=version, error=str(error))
                rows[stream] = self._writer.streams([stream])
        return start

    def _remember(self, stream: str, rows: list[Row], start: Known) -> None:
        self._streams[stream] = folded = _folded(rows, start)
        if isinstance(folded, Known) and folded.state is None:
            self._absent.add(stream)
        if len(rows) >= snapshots.EVERY and isinstance(folded, Known):
            self._grown[stream] = folded

    def _reserved_by(self, streams: Iterable[str]) -> set[str]:
        return {
            product_stream(line.sku)
            for stream in streams
            if isinstance(one := self._streams[stream], Known) and isinstance(one.state, Order)
            for line in one.state.lines.values()
            if line.reserved
        }

    def keep_grown(self) -> None:
        """Keep what long streams have come to. Before a batch, not after one: it may fail, and the batch is decided."""
        if not self._grown:
            return
        kept = [
            Snapshot(stream, one.version, snapshots.encode(one.state))
            for stream, one in self._grown.items()
            if one.state is not None
        ]
        self._writer.keep(kept, snapshots.SHAPE)
        self._grown.clear()


def _version(known: Known | UnreadableEvent | None) -> int:
    return known.version if isinstance(known, Known) else 0


def _folded(rows: Sequence[Row], start: Known) -> Known | UnreadableEvent:
    version, state = start.version, start.state
    try:
        for row in rows:
            recorded = codec.decode(row)
            version, state = recorded.version, evolved(state, recorded.event)
    except UnreadableEvent as unreadable:
        return unreadable
    return Known(version, state)
