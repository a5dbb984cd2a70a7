"""Indices against values worked by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from imagery.errors import SceneError
from imagery.indices import INDICES, compute_index, required_bands

GOLDEN = Path(__file__).resolve().parents[1] / "golden"

# One pixel of leafy crop.
CROP = {
    "blue": 0.03,
    "green": 0.08,
    "red": 0.04,
    "rededge": 0.12,
    "rededge2": 0.30,
    "rededge3": 0.37,
    "nir": 0.40,
    "swir1": 0.20,
    "swir2": 0.10,
}


def pixels(values: dict[str, float]) -> dict[str, np.ndarray]:
    return {name: np.full((2, 3), value, dtype=np.float32) for name, value in values.items()}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ndvi", 0.36 / 0.44),
        ("ndre", 0.28 / 0.52),
        ("ndmi", 0.20 / 0.60),
        ("gndvi", 0.32 / 0.48),
        ("nbr", 0.30 / 0.50),
        ("ndti", 0.10 / 0.30),
        ("mndwi", -0.12 / 0.28),
        ("cire", 0.40 / 0.12 - 1.0),
        ("vari", 0.04 / 0.09),
        ("gli", 0.09 / 0.23),
        ("psri", 0.01 / 0.30),
        ("evi2", 2.5 * 0.36 / (0.40 + 2.4 * 0.04 + 1.0)),
    ],
)
def test_by_hand(name: str, expected: float) -> None:
    found = compute_index(name, pixels(CROP))
    assert found.dtype == np.float32
    assert found.shape == (2, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_against_another_program() -> None:
    golden = json.loads((GOLDEN / "indices.json").read_text())
    # Its NDTI is another index (turbidity); ours is worked by hand above.
    assert set(golden["values"]) == set(INDICES) - {"ndti"}
    spectra = golden["reflectance"].values()
    for name, expected in golden["values"].items():
        found = [float(compute_index(name, pixels(spectrum))[0, 0]) for spectrum in spectra]
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", sorted(INDICES))
@pytest.mark.parametrize("value", [0.0, -0.01, 1.5])
def test_odd_reflectance_gives_finite_values_without_warnings(name: str, value: float) -> None:
    assert np.isfinite(compute_index(name, pixels(dict.fromkeys(CROP, value)))).all()


@pytest.mark.parametrize("name", sorted(INDICES))
def test_a_missing_band_value_is_missing_in_the_index(name: str) -> None:
    assert np.isnan(compute_index(name, pixels(dict.fromkeys(CROP, np.nan)))).all()


def test_bands_are_named_once_and_unknown_indices_refused() -> None:
    assert required_bands(("ndvi", "ndre")) == ("nir", "red", "rededge")
    with pytest.raises(SceneError, match="index lai is not known; choose from ndvi"):
        required_bands(("lai",))
