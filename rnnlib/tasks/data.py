"""Where data sets come from: a local folder, the user cache, a pinned download, or an error."""

from __future__ import annotations

import hashlib
import importlib.util
import lzma
import os
from pathlib import Path

from rnnlib import atomic
from rnnlib.checks import one_of
from rnnlib.tasks.catalogue import DATASETS, Dataset, RemoteFile, Source
from rnnlib.tasks.download import DataError, download

__all__ = ["DATASETS", "DataError", "available", "cache_folder", "fetch", "read"]


def cache_folder() -> Path:
    """Folder for downloads and built data: ``RNNLIB_CACHE``, else the system's cache folder."""
    chosen = os.environ.get("RNNLIB_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import pooch  # slow to import, and only this line and a download need it

    return Path(pooch.os_cache("rnnlib"))


def data_folder() -> Path | None:
    """The read-only folder named by ``RNNLIB_DATA``, or None if the variable is not set."""
    chosen = os.environ.get("RNNLIB_DATA")
    return Path(chosen).expanduser() if chosen else None


def available(name: str) -> bool:
    """Whether ``read(name)`` would succeed without a download.

    Raises:
        ArgumentError: if no data set has this name.
    """
    dataset = _dataset(name)
    try:
        if dataset.package:
            return _package_path(dataset).exists()
        paths = [_locate(file) for file in dataset.files]
        for file, path in zip(dataset.files, paths, strict=True):
            if path is None:
                return False
            _verified(file, path)
    except DataError:
        return False
    return True


def fetch(name: str) -> Path:
    """Make a data set present, downloading what is missing, and say where it is.

    Returns:
        The file of a one-file set; the folder of the first file of a set of several, each of
        which is verified. Sets that an installed package brings give their path inside it.

    Raises:
        ArgumentError: if no data set has this name.
        DataError: if a file is absent and cannot be downloaded, or is present but wrong.
    """
    dataset = _dataset(name)
    if dataset.package:
        return _package_path(dataset)
    paths = [_obtain(dataset, file)[0] for file in dataset.files]
    return paths[0] if len(paths) == 1 else paths[0].parent


def read(name: str) -> dict[str, bytes]:
    """Content of the files of a data set, keyed by part; what is returned is what was hashed.

    Raises:
        ArgumentError: if no data set has this name, or it is not made of files.
        DataError: as :func:`fetch`.
    """
    files = {key: value for key, value in DATASETS.items() if not value.package}
    one_of("name", name, files)
    return {file.part: _obtain(files[name], file)[1] for file in files[name].files}


def _dataset(name: str) -> Dataset:
    return DATASETS[one_of("name", name, DATASETS)]


def _package_path(dataset: Dataset) -> Path:
    """Path of a data set that an installed package brings along."""
    spec = importlib.util.find_spec(dataset.package)
    if spec is None or spec.origin is None:
        raise DataError(
            f"{dataset.name}: the Python package {dataset.package} is not installed; "
            f"get it with: {dataset.install}"
        )
    return Path(spec.origin).parent / dataset.inside


def _obtain(dataset: Dataset, file: RemoteFile) -> tuple[Path, bytes]:
    """Path and verified content of a file, downloaded if it is on no local path."""
    target = cache_folder() / file.path
    path = _locate(file)
    if path is not None:
        try:
            return path, _verified(file, path)
        except DataError:
            if path != target:
                raise
            # The cache is ours: keep the bad file for inspection, out of the way, and go on.
            _set_aside(path)
    failures: list[str] = []
    for source in file.sources:
        try:
            return target, _download(file, source, target)
        except DataError as error:
            failures.append(str(error))
    folder = data_folder()
    state = "not set" if folder is None else f"{folder}{'' if folder.is_dir() else ', no folder'}"
    raise DataError(
        f"{dataset.name}: {file.path} is neither under RNNLIB_DATA ({state}) nor in the cache, "
        f"and the download failed ({'; '.join(failures)}); put the file at "
        f"{(folder or cache_folder()) / file.path}, or run `rnnlib data fetch {dataset.name}` "
        "with a network connection"
    )


def _locate(file: RemoteFile) -> Path | None:
    """First local path that holds the file, as it is or compressed; None if there is none."""
    folder = data_folder()
    places = [cache_folder() / file.path]
    if folder is not None:
        places = [folder / file.path, folder / f"{file.path}.xz", *places]
    # os.path.isfile answers False where Path.is_file would fail on a folder without access.
    return next((path for path in places if os.path.isfile(path)), None)


def _verified(file: RemoteFile, path: Path) -> bytes:
    content = _read_local(path)
    _verify(file, content, path)
    return content


def _read_local(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return lzma.decompress(content) if path.suffix == ".xz" else content
    except lzma.LZMAError as error:
        raise DataError(f"{path} is truncated or corrupt ({error}); replace it") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error


def _verify(file: RemoteFile, content: bytes, where: Path | str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        length = (
            f", {len(content)} bytes instead of {file.size}" if len(content) != file.size else ""
        )
        raise DataError(
            f"{where} is not the expected {file.path}: "
            f"SHA-256 expected {file.sha256}, found {found}{length}; remove or replace it"
        )


def _set_aside(path: Path) -> None:
    try:
        os.replace(path, path.with_name(path.name + ".corrupt"))
    except OSError as error:
        raise DataError(
            f"{path} has a wrong SHA-256 and cannot be moved away ({error.strerror})"
        ) from error


def _download(file: RemoteFile, source: Source, target: Path) -> bytes:
    """Download one source into the cache, convert it if need be, verify, return the content."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.convert is None:
            download(source.url, target, file.sha256)
            return _verified(file, target)
        raw = target.with_name(target.name + ".source")
        raw.unlink(missing_ok=True)
        try:
            content = source.convert(download(source.url, raw, source.sha256).read_bytes())
        finally:
            raw.unlink(missing_ok=True)
        _verify(file, content, source.url)
        atomic.replace(target, content)
    except OSError as error:
        raise DataError(f"cannot write {target} ({error.strerror or error})") from error
    return content
