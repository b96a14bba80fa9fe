"""Replace a file in one step: a reader sees the old content or the new, never a part."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``; on any failure, an interrupt too, ``path`` is as it was."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    # The rename itself must survive a power cut; not every system lets a folder be opened.
    with contextlib.suppress(OSError):
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
