"""Finds libswage.so and the libtorch it was built for, and runs its functions: in this process, or in one of their own
where this process has, or would get, a libtorch of another version (two of them cannot live in one process)."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import logging
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Optional

from . import _swage
from ._errors import IoError

_HERE = Path(__file__).resolve().parent
_ARROW = "26"  # the major version whose library libswage.so asks for by name
_WITHOUT_LIBTORCH = {"inspect", "schemes", "scheme_for"}
_logger = logging.getLogger("swage")

Progress = Callable[[dict[str, Any]], None]
OnText = Callable[[int, int, str], None]


def library_file() -> Path:
    """Where libswage.so lies: what SWAGE_LIBRARY says, beside the package, or in the source tree's build."""
    said = os.environ.get("SWAGE_LIBRARY")
    places = [Path(said)] if said else [_HERE / "lib" / "libswage.so", _HERE.parents[1] / "build" / "libswage.so"]
    for place in places:
        if place.is_file():
            return place
    raise IoError(f"libswage.so is missing: looked for {', '.join(map(str, places))}; set SWAGE_LIBRARY to where it is")


def _base(version: str) -> str:
    return version.split("+")[0]


def torch_of_environment() -> Optional[str]:
    """Version of the torch that is imported, or would be; None without one. Does not import it."""
    imported = sys.modules.get("torch")
    if imported is not None and hasattr(imported, "__version__"):
        return _base(str(imported.__version__))
    try:
        return _base(importlib.metadata.version("torch"))
    except importlib.metadata.PackageNotFoundError:
        return None


def runs_in_process() -> bool:
    """Whether libswage.so can be loaded here: the environment has the torch it was built for, or none."""
    if os.environ.get("SWAGE_IN_WORKER") == "1":
        return True
    found = torch_of_environment()
    return found is None or found == _swage.torch_version


def _preload(package: str, folder: str, patterns: tuple[str, ...]) -> None:
    """Maps a package's own libraries, so that libswage.so, which asks for them by name, takes these and no copy."""
    spec = importlib.util.find_spec(package)
    for place in spec.submodule_search_locations or [] if spec else []:
        for pattern in patterns:
            for file in sorted(Path(place, folder).glob(pattern)):
                try:
                    ctypes.CDLL(str(file))
                except OSError as error:  # another version, or what it needs is missing: the loader says so below
                    _logger.debug("%s: %s", file, error)


def open_library() -> None:
    """Loads libswage.so into this process. Raises swage.IoError saying which wheel to install if libtorch is missing."""
    if _swage.library_is_open():
        return
    file = library_file()
    if torch_of_environment() == _swage.torch_version:
        _preload("torch", "lib", ("libc10.so", "libtorch_cpu.so"))
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the program has it: threads that wait give the processor away
    try:
        _swage.open_library(str(file))
    except IoError as error:
        raise _explained(error) from None


def what_to_install() -> str:
    """The command that installs the wheels whose libraries libswage.so needs; empty if they are here."""
    wanted = []
    if torch_of_environment() != _swage.torch_version:
        wanted.append(f"torch=={_swage.torch_version}")
    try:
        arrow = importlib.metadata.version("pyarrow")
    except importlib.metadata.PackageNotFoundError:
        arrow = ""
    if arrow.split(".")[0] != _ARROW:
        wanted.append(f"'pyarrow=={_ARROW}.*'")
    return f"pip install {' '.join(wanted)}" if wanted else ""


def _explained(error: IoError) -> IoError:
    missing = what_to_install()
    if not missing:
        return error
    found = torch_of_environment()
    return IoError(f"{error} (torch {found} is installed)" if found else str(error), f"install what is missing: {missing}")


def log(severity: str, message: str) -> None:
    """Where swage's messages go: the logger "swage"."""
    _logger.log(logging.WARNING if severity == "warning" else logging.INFO, message)


def call(
    function: str,
    options: dict[str, Any],
    progress: Optional[Progress] = None,
    on_text: Optional[OnText] = None,
) -> Any:
    """Runs a function of swage.h. Options that are None are left out. Raises swage.Error, or KeyboardInterrupt after
    what was finished is kept."""
    given = {name: value for name, value in options.items() if value is not None}
    if function in _WITHOUT_LIBTORCH:
        return _swage.call(function, given, dict(os.environ), log, None, None)
    if not runs_in_process():
        return _call_worker(function, given, progress, on_text)
    open_library()
    return _swage.call(function, given, dict(os.environ), log, progress, on_text)


def _call_worker(function: str, options: dict[str, Any], progress: Optional[Progress], on_text: Optional[OnText]) -> Any:
    _logger.debug("torch %s is here, libswage.so needs %s: it runs in a process of its own", torch_of_environment(), _swage.torch_version)
    environment = dict(os.environ, SWAGE_IN_WORKER="1", PYTHONPATH=os.pathsep.join([str(_HERE.parent), os.environ.get("PYTHONPATH", "")]))
    worker = subprocess.Popen(
        [sys.executable, "-m", "swage._worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert worker.stdin is not None and worker.stdout is not None
    handlers: dict[str, Callable[..., None]] = {"log": log}
    if progress is not None:
        handlers["progress"] = progress
    if on_text is not None:
        handlers["text"] = on_text
    interrupted = False
    try:
        pickle.dump((function, options, progress is not None, on_text is not None), worker.stdin)
        worker.stdin.flush()
        while True:
            try:
                what, value = pickle.load(worker.stdout)
                if what in handlers:
                    handlers[what](*value)
                    continue
                break
            except KeyboardInterrupt:  # the worker ends at the next layer's end and keeps what is finished
                if interrupted:
                    raise
                interrupted = True
                worker.send_signal(signal.SIGINT)
    except (EOFError, BrokenPipeError):
        if interrupted:
            raise KeyboardInterrupt from None
        raise IoError(f"the process that ran {function} ended with status {worker.wait()}") from None
    finally:
        worker.stdin.close()
        worker.stdout.close()
        if worker.poll() is None and sys.exc_info()[0] is not None:
            worker.send_signal(signal.SIGINT)
        worker.wait()
    if what == "result" and not interrupted:
        return value
    if what == "interrupt" or interrupted:
        raise KeyboardInterrupt
    raise value


def libraries_of_environment() -> list[str]:
    """Folders of the shared libraries of torch and pyarrow, without importing them."""
    out = []
    for package, folder in (("torch", "lib"), ("pyarrow", "")):
        spec = importlib.util.find_spec(package)
        out += [str(Path(place, folder)) for place in spec.submodule_search_locations or []] if spec else []
    return out
