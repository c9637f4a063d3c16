"""The errors Circinus raises, sorted by what a caller can do about them.

* :class:`InvalidInput` - the user's document or option is wrong: exit code 2, nothing started.
* :class:`NoData` - what was asked for is not there; a number is never invented.
* :class:`Transient` - worth retrying.

A bug is none of these: it is not caught and keeps its traceback.
"""

from __future__ import annotations

__all__ = ["CircinusError", "InvalidInput", "NoData", "Transient"]


class CircinusError(Exception):
    """Base of every error this package raises on purpose."""


class InvalidInput(CircinusError, ValueError):
    """The user's document, option or message is wrong.

    Args:
        problem: What is wrong, in one clause.
        file: The file or source it stands in, if there is one.
        key: Where in the document, as a dotted path (``queries[2].slo.percentile``).
        remedy: What to do about it.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | None = None,
        key: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.problem = problem
        self.file = file
        self.key = key
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        where = ": ".join(part for part in (self.file, self.key) if part)
        text = f"{where}: {self.problem}" if where else self.problem
        return f"{text} ({self.remedy})" if self.remedy else text

    def within(self, *, file: str | None = None, key: str | None = None) -> InvalidInput:
        """The same error, placed in `file` and below `key`."""
        joined = self.key
        if key and joined:
            joined = f"{key}{joined}" if joined.startswith("[") else f"{key}.{joined}"
        return InvalidInput(
            self.problem, file=self.file or file, key=joined or key, remedy=self.remedy
        )


class NoData(CircinusError):
    """What was asked for is not there: a profile, a query, a file.

    Args:
        what: What is not there, as a sentence: ``there is no query 'gate'``.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(what)


class Transient(CircinusError):
    """Failed now, may succeed later."""
