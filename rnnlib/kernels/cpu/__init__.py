"""Kernels compiled for the CPU by numba; imported only by the operation that runs them.

What numba compiled it keeps in ``__pycache__`` for the next process. To know whether that is still
good it looks at a function's own file and not at the files of the functions it calls, so whatever
is older than the newest file here is removed first.
"""

from pathlib import Path

_here = Path(__file__).parent
_newest = max(source.stat().st_mtime for source in _here.glob("*.py"))
for _compiled in _here.glob("__pycache__/*.nb?"):
    try:
        if _compiled.stat().st_mtime < _newest:
            _compiled.unlink()
    except OSError:  # another process was faster, or the folder is not ours to write
        pass
