"""Who sees what: roles and areas, layers and routes, the columns that may leave."""

from api.disclosure.audience import (
    ALL_AREAS,
    HOME,
    READERS,
    ROUTES,
    WITHIN_AREAS,
    Layer,
    Reader,
    Role,
    describe_roles,
    layer_of,
)
from api.disclosure.published import (
    DISTRICT_COLUMNS,
    PROJECT_COLUMNS,
    TOTAL_COLUMNS,
    require_emptied,
)

__all__ = [
    "ALL_AREAS",
    "DISTRICT_COLUMNS",
    "HOME",
    "PROJECT_COLUMNS",
    "READERS",
    "ROUTES",
    "TOTAL_COLUMNS",
    "WITHIN_AREAS",
    "Layer",
    "Reader",
    "Role",
    "describe_roles",
    "layer_of",
    "require_emptied",
]
