"""Threads and memory."""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import threading

import inctrl
import pytest
from conftest import same


def test_threads_with_scorers_of_their_own_give_the_same_bits(engine, bank, good, bad):
    images = [*good[4:], bad]
    expected = [engine.scorer(bank).score(image) for image in images]

    def score(_):
        scorer = engine.scorer(bank)
        return [scorer.score(image) for image in images]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for scores in pool.map(score, range(8)):
            assert all(map(same, scores, expected))


def test_threads_may_share_a_scorer(scorer, good, bad):
    images = [*good[4:], bad]
    expected = scorer.score_batch(images)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert all(map(same, pool.map(scorer.score, images * 5), expected * 5))


def test_others_run_while_it_scores(engine, bank, bad):
    """While one thread scores a long list in one call, another goes on in Python."""
    scorer = engine.scorer(bank, capacity=64)
    turns, done = 0, threading.Event()

    def score():
        scorer.score_batch([bad] * 64)
        done.set()

    thread = threading.Thread(target=score)
    thread.start()
    while not done.wait(0.001):
        turns += 1
    thread.join()
    assert turns > 1


def resident():
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not pathlib.Path("/proc/self/statm").exists(), reason="no /proc on this system")
def test_memory_stays_flat(tiny, bad):
    """INCTRL_PYTHON_SCORES scores: a leak of 40 bytes a score shows in 100,000."""
    count = int(os.environ.get("INCTRL_PYTHON_SCORES", 5000))
    small = bad[:32, :32].copy()
    engine = inctrl.Engine(tiny, device="cpu", threads=1)
    scorer = engine.scorer(engine.build_bank([small, bad], class_name="label"))

    def work(count):
        for _ in range(count):
            scorer.score(small)
        for _ in range(count // 20):
            scorer.score_batch([small, small])
            with pytest.raises(ValueError):
                scorer.score(small, format="grey8")

    work(1000)
    before = resident()
    work(count)
    grown = resident() - before
    # What the allocator keeps is no function of the count.
    assert grown < 4 << 20, f"{grown} bytes more after {count} scores"
