"""The `adsurvey` command: one verb per step of the main job.

Heavy libraries are imported inside the verb that needs them, so that help answers at once.
"""

from api.cli.command import app, main

__all__ = ["app", "main"]
