"""`source/speed`: what reads tell of a file system."""

import pytest

from esrffs.source.speed import READ_NBYTES, FileSystemSpeed

MIB = 1 << 20


def read(speed: FileSystemSpeed, latency: float, parallel: int, count: int, start: float) -> float:
    """Reads of 1 MiB, so many at a time; the time at the end."""
    now = start
    for _ in range(count):
        for _ in range(parallel):
            speed.begin(now)
        now += latency
        for _ in range(parallel):
            speed.end(now, latency, MIB)
    return now


def test_what_was_not_measured_may_be_slow() -> None:
    assert FileSystemSpeed().is_slow


def test_what_comes_from_memory_or_a_near_server_is_not_slow() -> None:
    speed = FileSystemSpeed()
    read(speed, 0.00035, 1, 100, 0.0)
    assert not speed.is_slow


@pytest.mark.parametrize("latency", [0.003, 0.01, 0.03])
def test_latency_is_measured_and_reads_from_the_page_cache_do_not_hide_it(latency: float) -> None:
    speed = FileSystemSpeed()
    now = read(speed, latency, 1, 10, 0.0)
    assert speed.latency == pytest.approx(latency)
    now = read(speed, 0.0002, 1, 20, now)
    assert speed.latency == pytest.approx(latency)
    assert speed.is_slow


def test_the_window_follows_latency_times_throughput() -> None:
    speed = FileSystemSpeed()
    read(speed, 0.01, 8, 200, 0.0)
    assert speed.throughput == pytest.approx(8 * MIB / 0.01, rel=0.1)
    assert speed.window_nbytes(32) == pytest.approx(16 * MIB, rel=0.1)  # twice: room to grow


def test_the_window_has_at_least_two_reads_and_at_most_as_many_as_are_allowed() -> None:
    assert FileSystemSpeed().window_nbytes(32) == 2 * READ_NBYTES
    speed = FileSystemSpeed()
    read(speed, 0.05, 30, 50, 0.0)
    assert speed.window_nbytes(32) == 32 * READ_NBYTES
    assert speed.window_nbytes(4) == 4 * READ_NBYTES


def test_a_reader_who_pauses_is_not_a_slow_server() -> None:
    speed, now = FileSystemSpeed(), 0.0
    for _ in range(200):
        now = read(speed, 0.01, 8, 4, now) + 60
    assert speed.throughput == pytest.approx(8 * MIB / 0.01, rel=0.2)


def test_counts() -> None:
    speed = FileSystemSpeed()
    speed.begin(0.0)
    speed.begin(0.0)
    assert speed.in_flight == 2
    speed.end(0.01, 0.01, 10)
    speed.give_up()
    assert (speed.in_flight, speed.reads, speed.nbytes) == (0, 1, 10)
