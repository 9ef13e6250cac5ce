"""
Kill this process, as kill -9 does, before it writes a file whose path FTCTL_KILL_AT matches.

Python imports a module of this name at its start, where the folder is on PYTHONPATH: the moment is
one that no signal from outside would meet.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from typing import Any

_PLACE = re.compile(os.environ["FTCTL_KILL_AT"])


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        path, _, flags = arguments
        if not flags & (os.O_WRONLY | os.O_RDWR):
            return
    elif event == "os.rename":
        path = arguments[1]
    else:
        return
    if _PLACE.search(str(path)):
        os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(_look)
