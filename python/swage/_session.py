"""What old scripts ask of LLM Compressor's session: there is none here, each oneshot() stands by itself."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator


class Session:
    """An empty one."""

    def reset(self) -> None:
        """Does nothing: nothing is kept between runs."""

    def initialize(self, **_: object) -> None:
        """Does nothing."""

    def finalize(self, **_: object) -> None:
        """Does nothing."""


_ONLY = Session()


def active_session() -> Session:
    """The session."""
    return _ONLY


@contextmanager
def create_session() -> Iterator[Session]:
    """The session, for the time of a with block."""
    yield _ONLY


def reset_session() -> None:
    """Does nothing."""
