"""Memory with permissions for reading and writing: of the device, and of a block."""

import numpy as np

from .parser import Fault

# Where the device's memory begins, and the window through which generic addresses reach shared memory.
GLOBAL = 1 << 33
SHARED = 1 << 60
# Bytes between allocations.
GAP = 512
NOBODY = -1
# What no kernel has written: every half, float and integer of it is conspicuous, floats are NaN.
POISON = 0xFF


class Mistake(Fault):
    """A wrong access; `lane` is its place among the lanes that made it."""

    def __init__(self, message, lane):
        super().__init__(message)
        self.lane = int(lane)


def first(bad):
    """The lane of the first wrong access of `[lanes]` or `[lanes, ..]`."""
    return np.argwhere(bad)[0][0]


class Device:
    """The device's memory. Every access must lie within one allocation, aligned to its own width."""

    def __init__(self):
        self.parts, self.top = [], GAP

    def allocate(self, array, name, writable):
        """The address of a copy of `array`."""
        flat = np.ascontiguousarray(array).view(np.uint8).ravel()
        start = -(-self.top // 256) * 256
        self.top = start + flat.size + GAP
        self.parts.append((start, flat, name, writable))
        return GLOBAL + start

    def seal(self):
        """Lays the allocations out; none can be added after."""
        self.bytes = np.full(-(-self.top // 16) * 16, POISON, np.uint8)
        for start, flat, _, _ in self.parts:
            self.bytes[start : start + flat.size] = flat
        self.words = {width: self.bytes.view(f"u{width}") for width in (1, 2, 4, 8)}
        self.starts = np.array([start for start, *_ in self.parts])
        self.ends = np.array([start + flat.size for start, flat, *_ in self.parts])
        self.writable = np.array([writable for *_, writable in self.parts])
        self.stored = np.zeros(len(self.parts), bool)
        self.constant = np.zeros(len(self.parts), bool)
        # Who has stored each byte.
        self.owner = None

    def claim(self, threads, places, width):
        """Threads, by their number in the launch, store here; no two may store in one place, whatever the values."""
        if self.owner is None:
            self.owner = np.full(len(self.bytes), NOBODY, np.int32)
        units, threads = places[:, None] + np.arange(width), threads[:, None]
        owner = self.owner[units]
        wrong = (owner != NOBODY) & (owner != threads)
        self.owner[units] = threads
        # Of one instruction, the last of two is the owner.
        if (wrong := wrong | (self.owner[units] != threads)).any():
            raise Mistake("stores where another thread of the launch has stored", first(wrong))

    def content(self, number):
        start, flat, *_ = self.parts[number]
        return self.bytes[start : start + flat.size]

    def at(self, addresses, width, store=False, constant=False):
        """Places in `bytes` of accesses of `width` bytes; `constant` for those that need memory nobody writes."""
        if (wrong := addresses % np.uint64(width) != 0).any():
            raise Mistake(f"the address is not aligned to {width} bytes", first(wrong))
        places = addresses.astype(np.int64) - GLOBAL
        part = np.searchsorted(self.starts, places, side="right") - 1
        wrong = (part < 0) | (places + width > self.ends[part])
        if wrong.any():
            lane = first(wrong)
            name = self.parts[part[lane]][2]
            beyond = int(places[lane] - self.ends[part[lane]])
            raise Mistake(f"{width} bytes outside an allocation, {beyond} bytes after the end of `{name}`", lane)
        used = np.unique(part)
        if store:
            if (wrong := ~self.writable[part]).any():
                raise Mistake(f"a store to the input `{self.parts[part[first(wrong)]][2]}`", first(wrong))
            self.stored[used] = True
        if constant:
            self.constant[used] = True
        if (self.stored & self.constant).any():
            name = self.parts[np.flatnonzero(self.stored & self.constant)[0]][2]
            raise Mistake(f"`{name}` is written, and read through the cache of constant memory", 0)
        return places


# Shared memory is watched in units of so many bytes.
UNIT = 2
# A stamp is epoch * EPOCH + who; who is a warp, ASYNC + a thread, or MANY.
EPOCH = 1 << 12
ASYNC = 1 << 11
MANY = EPOCH - 1


class Shared:
    """The shared memory of several blocks, poisoned. An epoch of a block ends where all its threads meet.

    A warp that reads what another has written in this epoch, or writes what another has read or written in it, is in a race,
    whatever the order in which warps happen to run. Bytes with an asynchronous copy in flight belong to nobody; when its
    thread has waited for it, it may read them, and others once they have met.
    """

    def __init__(self, blocks, size):
        self.size, self.stride = size, max(16, -(-size // 16) * 16)
        self.bytes = np.full(blocks * self.stride, POISON, np.uint8)
        self.words = {width: self.bytes.view(f"u{width}") for width in (1, 2, 4, 8)}
        units = blocks * self.stride // UNIT
        self.epoch = np.full(blocks, EPOCH, np.int32)
        self.written = np.zeros(units, np.int32)
        self.seen = np.zeros(units, np.int32)
        self.flying = np.zeros(units, bool)

    def at(self, blocks, addresses, width):
        """Places in `bytes`; `blocks` tells whose memory each lane addresses."""
        if (wrong := addresses % np.uint64(width) != 0).any():
            raise Mistake(f"the address in shared memory is not aligned to {width} bytes", first(wrong))
        if (wrong := addresses + np.uint64(width) > np.uint64(self.size)).any():
            lane = first(wrong)
            raise Mistake(f"{width} bytes at {int(addresses[lane])} of {self.size} bytes of shared memory", lane)
        return addresses.astype(np.int64) + blocks * self.stride

    def units(self, places, width):
        return (places // UNIT)[:, None] + np.arange(max(1, width // UNIT))

    def read(self, blocks, warp, threads, places, width):
        units, now = self.units(places, width), self.epoch[blocks][:, None]
        if self.flying[units].any():
            raise Mistake("reads where an asynchronous copy is in flight", first(self.flying[units]))
        written = self.written[units]
        wrong = (written >= now) & (written != now + warp) & (written != now + ASYNC + threads[:, None])
        if wrong.any():
            raise Mistake(f"race: reads what {who(written[wrong][0])} has written since the last barrier", first(wrong))
        seen = self.seen[units]
        self.seen[units] = np.where((seen >= now) & (seen != now + warp), now + MANY, now + warp)

    def write(self, blocks, warp, places, width, flying=False):
        units, now = self.units(places, width), self.epoch[blocks][:, None]
        if self.flying[units].any():
            raise Mistake("writes where an asynchronous copy is in flight", first(self.flying[units]))
        for stamps, what in ((self.written[units], "written"), (self.seen[units], "read")):
            if (wrong := (stamps >= now) & (stamps != now + warp)).any():
                raise Mistake(f"race: writes what {who(stamps[wrong][0])} has {what} since the last barrier", first(wrong))
        if flying:
            self.flying[units] = True
        else:
            self.written[units] = now + warp

    def landed(self, blocks, threads, places, width):
        """A copy's thread has waited for it."""
        units = self.units(places, width)
        self.flying[units] = False
        self.written[units] = self.epoch[blocks][:, None] + ASYNC + threads[:, None]

    def meet(self, blocks):
        """All threads of these blocks have come to a barrier."""
        self.epoch[blocks] += EPOCH


def who(stamp):
    number = stamp % EPOCH
    if number == MANY:
        return "several warps"
    return f"a copy of thread {number - ASYNC}" if number >= ASYNC else f"warp {number}"
