"""Options that several verbs share, and the files and settings they name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from api.settings import Settings

__all__ = ["AsJson", "SurveyPath", "each_file", "read_bytes", "read_text", "settings_of"]

SurveyPath = Annotated[
    Path, typer.Option("--survey", help="The round's survey.toml, or its folder.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def settings_of(**overrides: Any) -> Settings:
    """Settings of the environment, with what the command line says instead."""
    from api.settings import Settings

    return Settings(**overrides)


def each_file(paths: list[Path]) -> Iterator[Path]:
    """Files as given; of a folder all that lie in it, in order of their names."""
    for path in paths:
        if path.is_dir():
            yield from sorted(child for child in path.rglob("*") if child.is_file())
        else:
            yield path


def read_bytes(path: Path) -> bytes:
    """Content of a file, or one sentence on why not."""
    from survey.errors import SurveyError

    try:
        return path.read_bytes()
    except OSError as error:
        raise SurveyError(f"{path} cannot be read: {error.strerror}") from error


def read_text(path: Path) -> str:
    """Text of a file in UTF-8, or one sentence on why not."""
    from survey.errors import SurveyError

    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SurveyError(f"{path} is not UTF-8 text; save it as UTF-8") from error
