"""Images with boxes around the objects in them, by name: `coco/PATH`, or `pasted/DATA` for any labelled images of ours.

The word before the first "/" is a file here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

from paretovit.errors import UserError, unknown
from paretovit.folder import Folder
from paretovit.transfer.scenes._scenes import Objects, Scenes, gathered, squeezed

__all__ = ["SCENES", "Objects", "SceneData", "SceneSource", "Scenes", "gathered", "open_scenes", "squeezed"]


class SceneSource(ABC):
    """A kind of detection data: how one split of it is read. With `skip_unreadable`, pictures that cannot be read are
    left out and named on standard error."""

    skip_unreadable: bool = False

    @abstractmethod
    def read(self, path: str, split: str, *, img_size: int, in_chans: int | None) -> Scenes:
        """The split "train" or "val" of the set that `path` (what follows the first "/") names, its pictures scaled to
        `img_size` pixels a side; `in_chans=None` asks for the channels that they have.

        Raises `UserError` for what cannot be read, with the file, and the annotation or picture, in it.
        """


SCENES: Folder[SceneSource] = Folder("paretovit.transfer.scenes", "detection data")


@dataclass(frozen=True)
class SceneData:
    """A data set; its splits are read when they are first asked for."""

    source: SceneSource
    path: str
    img_size: int
    in_chans: int | None

    @cached_property
    def train(self) -> Scenes:
        return self._read("train")

    @cached_property
    def val(self) -> Scenes:
        return self._read("val")

    def _read(self, split: str) -> Scenes:
        return self.source.read(self.path, split, img_size=self.img_size, in_chans=self.in_chans)


def open_scenes(name: str, *, img_size: int, in_chans: int | None = None, skip_unreadable: bool = False) -> SceneData:
    """The data set of that name. Raises `UserError` for an unknown one; what is wrong inside shows when a split is
    first asked for."""
    kind, _, path = name.partition("/")
    if kind not in SCENES:
        raise unknown("detection data", kind, SCENES.names())
    if not path:
        raise UserError(f"detection data {kind} of what? write {kind}/{'PATH' if kind == 'coco' else 'DATA'}")
    source = SCENES[kind]()
    source.skip_unreadable = skip_unreadable
    return SceneData(source, path, img_size, in_chans)
