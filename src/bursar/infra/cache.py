"""A small cache in the process: entries expire, the number is bounded, one load at a time for each key."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from bursar.infra.metrics import METRICS, Metrics

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Cache(Generic[Key, Value]):
    """Values by key for ``ttl_s`` seconds, at most ``size_max`` of them; the least recently used goes first.

    Args:
        name: Names the hit ratio in the metrics.
        ttl_s: Seconds a value is served after it was stored.
        size_max: Most entries.
        clock: Monotonic clock, seconds.
        metrics: Where hits and misses are counted.
    """

    def __init__(
        self,
        name: str,
        *,
        ttl_s: float,
        size_max: int,
        clock: Callable[[], float] = time.monotonic,
        metrics: Metrics = METRICS,
    ) -> None:
        self._name = name
        self._ttl_s = ttl_s
        self._size_max = size_max
        self._clock = clock
        self._metrics = metrics
        self._entries: OrderedDict[Key, tuple[float, Value]] = OrderedDict()
        self._loading: dict[Key, asyncio.Future[Value]] = {}

    def __len__(self) -> int:
        """Return the number of entries, expired ones included."""
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """Return the value of ``key``, or None when there is none or it expired."""
        entry = self._entries.get(key)
        if entry is not None and entry[0] > self._clock():
            self._entries.move_to_end(key)
            self._metrics.cache(self._name, hit=True)
            return entry[1]
        if entry is not None:
            del self._entries[key]
        self._metrics.cache(self._name, hit=False)
        return None

    def put(self, key: Key, value: Value) -> None:
        """Store ``value``."""
        self._entries[key] = (self._clock() + self._ttl_s, value)
        self._entries.move_to_end(key)
        while len(self._entries) > self._size_max:
            self._entries.popitem(last=False)

    def drop(self, key: Key) -> None:
        """Forget ``key``; a load that is under way is not stored."""
        self._entries.pop(key, None)
        self._loading.pop(key, None)

    def drop_where(self, condition: Callable[[Key, Value], bool]) -> int:
        """Forget every entry that meets ``condition``; return how many."""
        gone = [key for key, (_, value) in self._entries.items() if condition(key, value)]
        for key in gone:
            del self._entries[key]
        self._loading.clear()
        return len(gone)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._loading.clear()

    async def get_or(self, key: Key, load: Callable[[], Awaitable[Value]]) -> Value:
        """Return the value of ``key``; without one, await ``load`` once for all who ask meanwhile and store it."""
        found = self.get(key)
        if found is not None:
            return found
        waiting = self._loading.get(key)
        if waiting is not None:
            return await asyncio.shield(waiting)
        future: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self._loading[key] = future
        try:
            value = await load()
        except BaseException as error:
            future.set_exception(error if isinstance(error, Exception) else RuntimeError("the load was cancelled"))
            future.exception()  # nobody may be waiting
            raise
        else:
            future.set_result(value)
            if self._loading.get(key) is future:
                self.put(key, value)
            return value
        finally:
            if self._loading.get(key) is future:
                del self._loading[key]
