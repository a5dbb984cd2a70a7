"""Exceptions of the `survey` package.

SurveyError
├── ConfigError        survey.toml or an option is wrong (the caller can mend the text: exit 2)
├── TableError         a table, column, row or value breaks its contract
│   └── DuplicateIdError
├── GeometryError      missing or wrong CRS, no overlap, invalid shapes
├── FormError          a form definition or a submission cannot be read
│   └── ConflictError  the same instanceID came with other content
└── EstimationError    a design or sample does not allow the figure that was asked for
    └── TooFewUnitsError

A message says what was wrong, where (file, row, field), the value, and the remedy.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "ConflictError",
    "DuplicateIdError",
    "EstimationError",
    "FormError",
    "GeometryError",
    "SurveyError",
    "TableError",
    "TooFewUnitsError",
]


class SurveyError(Exception):
    """Base of every error that `survey` raises on purpose."""


class ConfigError(SurveyError):
    """`survey.toml` or an option is malformed."""


class TableError(SurveyError):
    """A table breaks its column contract."""


class DuplicateIdError(TableError):
    """An identifier that must be unique occurs more than once."""


class GeometryError(SurveyError):
    """Coordinates, reference systems or shapes cannot be used."""


class FormError(SurveyError):
    """A form definition or a submission cannot be read."""


class ConflictError(FormError):
    """A submission arrived again under the same instanceID with other content."""


class EstimationError(SurveyError):
    """The sample or design does not allow the figure that was asked for."""


class TooFewUnitsError(EstimationError):
    """A stratum, class or domain has fewer units than its variance needs."""
