"""The cache: bounded, and nobody works twice."""

from dataclasses import dataclass

import pytest
import trio
import trio.lowlevel

from esrffs.cache import ByteCache, CacheKey


def test_what_was_used_longest_ago_goes_first() -> None:
    async def main() -> None:
        cache = ByteCache(100)

        async def put(key: str) -> None:
            async def make() -> str:
                return key

            await cache.get_or_compute(key, make, lambda _: 40)

        await put("a")
        await put("b")
        await put("a")
        await put("c")
        assert [key for key in "abc" if cache.lookup(key)] == ["a", "c"]
        assert cache.size == 80
        assert cache.counts.dropped == 1

    trio.run(main)


def test_what_is_larger_than_the_limit_is_given_but_not_kept() -> None:
    async def main() -> None:
        cache = ByteCache(10)

        async def make() -> str:
            return "large"

        assert await cache.get_or_compute("key", make, lambda _: 11) == "large"
        assert cache.size == 0
        assert cache.lookup("key") is None

    trio.run(main)


def test_room_is_made_for_what_is_needed_for_a_moment() -> None:
    async def main() -> None:
        cache = ByteCache(100)
        for key in "abcd":

            async def make() -> str:
                return "value"

            await cache.get_or_compute(key, make, lambda _: 25)
        cache.evict_for(40)
        assert cache.size == 50
        assert [key in cache for key in "abcd"] == [False, False, True, True]
        cache.evict_for(1000)  # more than there can be: what there is goes
        assert cache.size == 0

    trio.run(main)


def test_a_second_asker_waits_for_the_first() -> None:
    async def main() -> None:
        cache = ByteCache(100)
        made = []

        async def make() -> str:
            made.append("once")
            await trio.sleep(0.01)
            return "value"

        async def ask() -> None:
            assert await cache.get_or_compute("key", make, len) == "value"

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
        assert made == ["once"]

    trio.run(main)


def test_a_failure_is_not_remembered_and_the_next_asker_tries_again() -> None:
    async def main() -> None:
        cache = ByteCache(100)
        answers = iter([OSError("first"), "second"])

        async def make() -> str:
            await trio.lowlevel.checkpoint()
            answer = next(answers)
            if isinstance(answer, OSError):
                raise answer
            return answer

        async def fails() -> None:
            with pytest.raises(OSError, match="first"):
                await cache.get_or_compute("key", make, len)

        async def succeeds() -> None:
            assert await cache.get_or_compute("key", make, len) == "second"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails)
            await trio.lowlevel.checkpoint()
            nursery.start_soon(succeeds)

    trio.run(main)


def test_who_gives_up_does_not_strand_the_others() -> None:
    async def main() -> None:
        cache = ByteCache(100)

        async def slow() -> str:
            await trio.sleep(30)
            return "never"

        async def quick() -> str:
            return "value"

        async with trio.open_nursery() as nursery:
            with trio.move_on_after(0.01):
                nursery.start_soon(lambda: cache.get_or_compute("other", quick, len))
                await cache.get_or_compute("key", slow, len)
        assert await cache.get_or_compute("key", quick, len) == "value"

    trio.run(main)


@dataclass(frozen=True, slots=True)
class NameKey(CacheKey[str]):
    name: str


@dataclass(frozen=True, slots=True)
class TitleKey(CacheKey[str]):
    name: str


def test_keys_of_different_classes_are_different() -> None:
    async def main() -> None:
        cache = ByteCache(100)

        async def name() -> str:
            return "name"

        async def title() -> str:
            return "title"

        assert await cache.get_or_compute(NameKey("x"), name, nbytes=len) == "name"
        assert await cache.get_or_compute(TitleKey("x"), title, nbytes=len) == "title"
        assert cache.lookup(NameKey("x")) == "name"

    trio.run(main)


def test_a_value_that_is_not_current_is_computed_again() -> None:
    async def main() -> None:
        cache = ByteCache(100)
        values = iter(["first", "second", "third"])
        current = "first"

        async def compute() -> str:
            await trio.lowlevel.checkpoint()
            return next(values)

        async def is_current(value: str) -> bool:
            await trio.lowlevel.checkpoint()
            return value == current

        async def get() -> str:
            return await cache.get_or_compute(NameKey("x"), compute, len, is_current)

        assert [await get(), await get()] == ["first", "first"]
        current = "second"
        found: list[str] = []

        async def ask() -> None:
            found.append(await get())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
        assert found == ["second", "second"]  # computed once for both
        assert cache.size == len("second")

    trio.run(main)
