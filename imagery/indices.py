"""Spectral indices: reflectance arrays in, index arrays out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from imagery.errors import SceneError

__all__ = ["INDICES", "compute_index", "required_bands"]

Array = npt.NDArray[np.float32]


def _normalised(high: str, low: str) -> tuple[tuple[str, ...], Callable[..., Array]]:
    def index(a: Array, b: Array) -> Array:
        total = a + b
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = (a - b) / total
        # Dark water can have no light in both bands: no contrast, not a missing value.
        return np.where(total == 0.0, np.float32(0.0), ratio).astype(np.float32)

    return (high, low), index


#: Name to the bands it needs, in order, and the function of their reflectance.
#: ndvi Rouse et al. 1974; ndre Barnes et al. 2000; ndmi Gao 1996 (also called NDWI);
#: gndvi Gitelson et al. 1996; psri Merzlyak et al. 1999; evi2 Jiang et al. 2008;
#: nbr Key and Benson 2006; ndti van Deventer et al. 1997; mndwi Xu 2006;
#: ndwi McFeeters 1996; evi Huete et al. 2002; savi Huete 1988; msavi Qi et al. 1994; with red
#: edge: cire Gitelson et al. 2003, nd705 Sims and Gamon 2002, mtci Dash and Curran 2004, ireci
#: and s2rep (nanometres) Frampton et al. 2013, mcari Daughtry et al. 2000, ari (pigments of
#: petals and ageing leaves) Gitelson et al. 2001; for cameras without infrared: vari Gitelson
#: et al. 2002, gli Louhaichi et al. 2001, ngrdi Tucker 1979, exg Woebbecke et al. 1995.
#: rededge is near 705 nm, rededge2 near 740, rededge3 near 783. Bounds on denominators keep one
#: odd pixel from spoiling a scale; they do not bind at reflectances of land.
INDICES: Mapping[str, tuple[tuple[str, ...], Callable[..., Array]]] = {
    "ndvi": _normalised("nir", "red"),
    "ndre": _normalised("nir", "rededge"),
    "ndmi": _normalised("nir", "swir1"),
    "gndvi": _normalised("nir", "green"),
    "nbr": _normalised("nir", "swir2"),
    "ndti": _normalised("swir1", "swir2"),
    "mndwi": _normalised("green", "swir1"),
    "ndwi": _normalised("green", "nir"),
    "ngrdi": _normalised("green", "red"),
    "nd705": _normalised("rededge2", "rededge"),
    "cire": (
        ("nir", "rededge"),
        lambda nir, edge: nir / np.maximum(edge, np.float32(0.01)) - 1,
    ),
    "vari": (
        ("green", "red", "blue"),
        # Near zero the denominator changes sign: a bound keeps one pixel from spoiling a scale.
        lambda green, red, blue: np.clip(
            (green - red) / _not_zero(green + red - blue), np.float32(-5.0), np.float32(5.0)
        ),
    ),
    "gli": (
        ("green", "red", "blue"),
        lambda green, red, blue: (
            (2 * green - red - blue) / np.maximum(2 * green + red + blue, np.float32(0.001))
        ),
    ),
    "psri": (
        ("red", "blue", "rededge2"),
        lambda red, blue, edge: (red - blue) / np.maximum(edge, np.float32(0.01)),
    ),
    "mtci": (
        ("rededge2", "rededge", "red"),
        lambda high, edge, red: np.clip(
            (high - edge) / _not_zero(edge - red), np.float32(-10.0), np.float32(10.0)
        ),
    ),
    "ireci": (
        ("rededge3", "red", "rededge", "rededge2"),
        lambda top, red, edge, high: (top - red) * high / np.maximum(edge, np.float32(0.01)),
    ),
    "s2rep": (
        ("rededge3", "red", "rededge", "rededge2"),
        lambda top, red, edge, high: np.clip(
            np.float32(705.0)
            + np.float32(35.0) * ((top + red) / np.float32(2.0) - edge) / _not_zero(high - edge),
            np.float32(650.0),
            np.float32(800.0),
        ),
    ),
    "mcari": (
        ("rededge", "red", "green"),
        lambda edge, red, green: (
            ((edge - red) - np.float32(0.2) * (edge - green))
            * edge
            / np.maximum(red, np.float32(0.01))
        ),
    ),
    "ari": (
        ("green", "rededge"),
        lambda green, edge: (
            1 / np.maximum(green, np.float32(0.01)) - 1 / np.maximum(edge, np.float32(0.01))
        ),
    ),
    "evi": (
        ("nir", "red", "blue"),
        lambda nir, red, blue: np.clip(
            np.float32(2.5)
            * (nir - red)
            / _not_zero(nir + np.float32(6.0) * red - np.float32(7.5) * blue + 1),
            np.float32(-5.0),
            np.float32(5.0),
        ),
    ),
    "savi": (
        ("nir", "red"),
        lambda nir, red: np.float32(1.5) * (nir - red) / (nir + red + np.float32(0.5)),
    ),
    "msavi": (
        ("nir", "red"),
        lambda nir, red: (
            np.float32(0.5)
            * (2 * nir + 1 - np.sqrt(np.maximum((2 * nir + 1) ** 2 - 8 * (nir - red), 0)))
        ),
    ),
    "exg": (("green", "red", "blue"), lambda green, red, blue: 2 * green - red - blue),
    "evi2": (
        ("nir", "red"),
        lambda nir, red: np.float32(2.5) * (nir - red) / (nir + np.float32(2.4) * red + 1),
    ),
}


def _not_zero(values: Array) -> Array:
    tiny = np.float32(1e-3)
    return np.where(np.abs(values) < tiny, np.copysign(tiny, values), values).astype(np.float32)


def required_bands(names: tuple[str, ...]) -> tuple[str, ...]:
    """Bands that the named indices need, without repetition.

    Raises
    ------
    SceneError
        An index that is not known, with the known ones.
    """
    unknown = [name for name in names if name not in INDICES]
    if unknown:
        raise SceneError(
            f"index {', '.join(unknown)} is not known; choose from {', '.join(INDICES)}"
        )
    return tuple(dict.fromkeys(band for name in names for band in INDICES[name][0]))


def compute_index(name: str, reflectance: Mapping[str, Array]) -> Array:
    """One index from reflectance by band name; NaN where a band is NaN.

    Parameters
    ----------
    name : str
        A key of `INDICES`.
    reflectance : mapping of band name to float32 array, any one shape
    """
    bands, function = INDICES[name]
    return function(*(reflectance[band] for band in bands)).astype(np.float32)
