"""Images of one's own: a folder or a zip, laid out as ``{train,test}/<class>/<image>``."""

import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from dynaconv.data.images import open_image, to_uint8
from dynaconv.errors import DataError

LAYOUT = "lay the images out as {train,test}/<class>/<image>, with the same classes in both"
MEND = "Mend or remove it, or go on without damaged images: --skip_bad_images."
IGNORED = {"__MACOSX", "Thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Folder:
    """The files below a folder."""

    path: Path

    def names(self) -> list[str]:
        """Return the files' paths relative to the folder, with slashes."""
        found = []
        for folder, _, files in os.walk(self.path, followlinks=True):
            relative = Path(folder).relative_to(self.path)
            found += [(relative / file).as_posix() for file in files]
        return found

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise DataError(f"{self.path / name} cannot be read: {error.strerror}.") from error


@dataclass(frozen=True)
class Zip:
    """The files in a zip; opened once in each process that reads it."""

    path: Path
    _opened: dict[int, zipfile.ZipFile] = field(default_factory=dict, compare=False, repr=False)

    @property
    def _file(self) -> zipfile.ZipFile:
        process = os.getpid()  # a forked worker must not share the position in its parent's file
        if process not in self._opened:
            try:
                self._opened[process] = zipfile.ZipFile(self.path)
            except zipfile.BadZipFile as error:
                raise DataError(f"{self.path} is not a whole zip file ({error}): get it again.") from error
        return self._opened[process]

    def __reduce__(self) -> tuple[type["Zip"], tuple[Path]]:
        return Zip, (self.path,)

    def names(self) -> list[str]:
        """Return the files' paths in the zip."""
        return [entry.filename for entry in self._file.infolist() if not entry.is_dir()]

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        try:
            return self._file.read(name)
        except (zipfile.BadZipFile, RuntimeError, EOFError, zlib.error) as error:
            raise DataError(f"{name} cannot be read from {self.path}: {error}.") from error


@dataclass(frozen=True)
class ImageFiles:
    """The images of one split, decoded when they are taken."""

    store: Folder | Zip
    names: Sequence[str]
    labels: Tensor
    """``(N,)``, int64."""
    classes: tuple[str, ...]
    image_size: int
    channels: int

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> Tensor:
        """Return one image, uint8 ``(C, S, S)``.

        Raises:
            DataError: If the file is damaged or no image.
        """
        name = self.names[index]
        image = open_image(self.store.read(name), f"{self.store.path / name}")
        return to_uint8(image, self.image_size, self.channels)

    def take(self, indices: Tensor) -> Tensor:
        """Return images, uint8 ``(B, C, S, S)``.

        Raises:
            DataError: If a file is damaged or no image.
        """
        images = torch.empty(len(indices), self.channels, self.image_size, self.image_size, dtype=torch.uint8)
        try:
            for place, index in enumerate(indices.tolist()):
                images[place] = self.read(index)
        except DataError as error:
            raise DataError(f"{error} {MEND}") from error
        return images

    def only(self, indices: Tensor) -> "ImageFiles":
        """Return these images alone."""
        names = [self.names[index] for index in indices.tolist()]
        return replace(self, names=names, labels=self.labels[indices])

    def relabelled(self, classes: Sequence[str]) -> "ImageFiles":
        """Return the images with labels for the same classes in another order."""
        return replace(self, labels=relabel(self.labels, self.classes, classes), classes=tuple(classes))


def relabel(labels: Tensor, old: Sequence[str], new: Sequence[str]) -> Tensor:
    """Return labels into ``old`` as labels into ``new``, which has the same classes."""
    return torch.tensor([list(new).index(name) for name in old])[labels]


def list_images(path: Path, split: str, image_size: int, channels: int = 3) -> ImageFiles:
    """List the images of a split, ``"train"`` or ``"test"``, of a folder or zip.

    A single folder around ``train`` and ``test`` is passed over, and so are hidden files.

    Raises:
        DataError: If it is not laid out as it must be, or has fewer than two classes.
    """
    store = Folder(path) if path.is_dir() else Zip(path)
    splits = _splits(store)
    classes = {name: tuple(sorted(found)) for name, found in splits.items()}
    if len(classes["train"]) == 1:
        raise DataError(
            f"{path} has one class, {classes['train'][0]!r}: there is nothing to tell apart. "
            f"Give it at least two."
        )
    if classes["train"] != classes["test"]:
        lone = [
            f"{', '.join(sorted(set(classes[here]) - set(classes[there])))} only in {here}"
            for here, there in (("train", "test"), ("test", "train"))
            if set(classes[here]) - set(classes[there])
        ]
        raise DataError(
            f"The classes of {path} differ: {'; '.join(lone)}. Both folders need the same classes."
        )
    names, labels = [], []
    for label, name in enumerate(classes[split]):
        names += splits[split][name]
        labels += [label] * len(splits[split][name])
    return ImageFiles(store, names, torch.tensor(labels), classes[split], image_size, channels)


def _splits(store: Folder | Zip) -> dict[str, dict[str, list[str]]]:
    """Return the files' names by split and class, sorted."""
    visible = [
        PurePosixPath(name)
        for name in store.names()
        if not any(part.startswith(".") or part in IGNORED for part in PurePosixPath(name).parts)
    ]
    tops = {path.parts[0] for path in visible}
    depth = 1 if len(tops) == 1 and not tops & {"train", "test"} else 0
    splits: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    for path in sorted(visible):
        parts = path.parts[depth:]
        if len(parts) >= 3 and parts[0] in splits:
            splits[parts[0]].setdefault(parts[1], []).append(path.as_posix())
    missing = [name for name, classes in splits.items() if not classes]
    if missing:
        found = ", ".join(sorted({path.parts[depth] for path in visible if len(path.parts) > depth})[:5])
        raise DataError(
            f"{store.path} has no images in {' and '.join(f'{name}/<class>/' for name in missing)}; "
            f"found there: {found or 'nothing'}. To train on it, {LAYOUT}."
        )
    return splits
