"""`import swage.llmcompressor as llmcompressor`, and `python -m swage.llmcompressor script.py` for scripts that stay as
they are."""

from __future__ import annotations

import runpy
import sys

from . import __version__
from ._model_free import model_free_ptq
from ._oneshot import oneshot
from ._session import active_session, create_session, reset_session
from .compat import install, load_context

__all__ = [
    "__version__",
    "active_session",
    "create_session",
    "load_context",
    "model_free_ptq",
    "oneshot",
    "reset_session",
]

if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python -m swage.llmcompressor SCRIPT [ARGUMENTS]")
    install()
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
