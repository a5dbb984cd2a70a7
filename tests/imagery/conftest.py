"""Fixtures of the imagery tests."""

from __future__ import annotations

from conftest_scenes import make_scenes

__all__ = ["make_scenes"]
