"""Exceptions of the `imagery` package.

ImageryError
├── SceneError       a scene, sidecar or mask is missing, malformed or does not fit the others
├── GridError        a raster's grid or reference system cannot be used, or nothing overlaps
├── WorkerError      worker processes, or the scheduler of a cluster, were lost
├── WriteError       a map could not be written whole, for example on a full disk
└── TrainingError    training plots or a stored model cannot be used
"""

from __future__ import annotations

__all__ = ["GridError", "ImageryError", "SceneError", "TrainingError", "WorkerError", "WriteError"]


class ImageryError(Exception):
    """Base of every error that `imagery` raises on purpose."""


class SceneError(ImageryError):
    """A scene, its sidecar or its mask cannot be used."""


class GridError(ImageryError):
    """A grid or reference system cannot be used."""


class WriteError(ImageryError):
    """A map could not be written completely; nothing stands under its name."""


class TrainingError(ImageryError):
    """Training plots or a stored model cannot be used."""


class WorkerError(ImageryError):
    """Workers were lost; what they had finished is kept."""
