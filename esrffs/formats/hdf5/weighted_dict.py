"""A dictionary whose values have weights, with a limit for their sum.

Beyond the limit the oldest entries are forgotten.  The sum is kept, not computed anew, because a
file may have many thousands of objects.
"""

from typing import Generic, TypeVar

Value = TypeVar("Value")


class WeightedDict(Generic[Value]):
    """Values by address, whose weights are at most so much in all (but for the last one's)."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[int, tuple[Value, int]] = {}
        self._weight = 0

    def __contains__(self, address: int) -> bool:
        return address in self._values

    def __getitem__(self, address: int) -> Value:
        return self._values[address][0]

    def __len__(self) -> int:
        return len(self._values)

    def put(self, address: int, value: Value, weight: int) -> None:
        """Remember what was not yet."""
        while self._values and self._weight + weight > self._most:
            _, less = self._values.pop(next(iter(self._values)))
            self._weight -= less
        self._values[address] = value, weight
        self._weight += weight
