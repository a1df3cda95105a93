"""The command `swage` of the wheel: the program beside libswage.so."""

from __future__ import annotations

import os
import sys

from . import _swage
from ._library import library_file, libraries_of_environment, torch_of_environment


def main() -> None:
    """Becomes the program."""
    if torch_of_environment() not in (None, _swage.torch_version):
        sys.exit(f"swage: error: torch {torch_of_environment()} is installed; pip install torch=={_swage.torch_version}")
    program = library_file().parent / "swage"
    paths = [*libraries_of_environment(), os.environ.get("LD_LIBRARY_PATH", "")]
    os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(path for path in paths if path)
    os.execv(program, [str(program), *sys.argv[1:]])


if __name__ == "__main__":
    main()
