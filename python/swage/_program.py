"""The command `swage` of the wheel: the program beside libswage.so."""

from __future__ import annotations

import os
import subprocess
import sys

from ._library import libraries_of_environment, library_file, what_to_install


def main() -> None:
    """Becomes the program; where a wheel is missing that most commands need, says so if it failed."""
    program = [str(library_file().parent / "swage"), *sys.argv[1:]]
    missing = what_to_install()
    if missing:
        code = subprocess.call(program)
        if code != 0:
            print(f"swage: libraries are missing here: {missing}", file=sys.stderr)
        sys.exit(code)
    paths = [*libraries_of_environment(), os.environ.get("LD_LIBRARY_PATH", "")]
    os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(path for path in paths if path)
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
