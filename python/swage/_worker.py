"""Runs one function of swage.h for another process: a request comes through stdin, messages and the result go out
through stdout, pickled."""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any


def main() -> None:
    """Until the request is answered."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not come between

    def send(what: str, value: Any) -> None:
        pickle.dump((what, value), out)
        out.flush()

    from . import _swage
    from ._errors import Error
    from ._library import open_library

    function, options, wants_progress, wants_text = pickle.load(sys.stdin.buffer)
    try:
        open_library()
        result = _swage.call(
            function,
            options,
            dict(os.environ),
            lambda *values: send("log", values),
            (lambda *values: send("progress", values)) if wants_progress else None,
            (lambda *values: send("text", values)) if wants_text else None,
        )
        send("result", result)
    except KeyboardInterrupt:
        send("interrupt", None)
    except Error as error:
        send("error", error)


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # nobody waits for an answer any more
        sys.exit(1)
