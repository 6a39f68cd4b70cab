"""Contestants in turns."""

import itertools
import random
from time import perf_counter

# Turns not timed, and the timed calls of a turn.
WARM_UP, CALLS = 1, 2


def taken_in_turns(contestants, rounds, seed):
    """Seconds of each call. `contestants` are functions of the number of the call.

    A turn is one call that is not timed and CALLS that are, back to back: the first takes cores and caches back from the
    contestant before, whose threads may still spin, as ONNX Runtime's do.
    """
    times = {name: [] for name in contestants}
    order, calls = list(contestants), itertools.count()
    shuffled = random.Random(seed)
    for turn in range(rounds + WARM_UP):
        shuffled.shuffle(order)
        for name in order:
            contestants[name](next(calls))
            for _ in range(CALLS):
                number = next(calls)
                start = perf_counter()
                contestants[name](number)
                taken = perf_counter() - start
                if turn >= WARM_UP:
                    times[name].append(taken)
    return times
