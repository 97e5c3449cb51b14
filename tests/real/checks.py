"""Checks that are counted, and named where they do not hold."""

from __future__ import annotations


class Checks:
    """Called with what should hold, and what it is about."""

    def __init__(self) -> None:
        self.count = self.failures = 0

    def __call__(self, holds: object, what: str) -> None:
        self.count += 1
        if not holds:
            self.failures += 1
            print(f"FAILED: {what}")

    def exit_code(self) -> int:
        """Prints how many there were."""
        print(f"{self.count} checks, {self.failures} failed")
        return 1 if self.failures else 0
