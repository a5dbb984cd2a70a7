"""The invented land: relief, districts, risk area, villages and the fields around them.

Everything is drawn from one seeded generator; nothing here knows an estimator or a classifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely
from rasterio.features import shapes as polygonise
from rasterio.transform import from_origin
from scipy import ndimage

Floats = npt.NDArray[np.float64]

CRS = "EPSG:32647"
# An invented place in the hills; no real settlement is meant.
WEST, NORTH = 560_000.0, 2_270_000.0
LATTICE_M = 50.0

PROVINCES = {"MR01": "Arun Hills", "MR02": "Tavan Ridge"}
DISTRICT_NAMES = (
    "Belkora",
    "Dorim",
    "Keshan",
    "Lumavi",
    "Nareth",
    "Osmera",
    "Pelun",
    "Sarovan",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Landscape:
    """How large and how densely cultivated the invented place is.

    Attributes
    ----------
    size_m : float
        Side of the square, metres; a multiple of the 50 m lattice.
    cell_m : float
        Side of the frame cells before districts and risk area cut them, metres.
    n_villages : int
    poppy_share, cannabis_share : float
        Share of the land under each crop, fraction.
    lookalike_share, maize_share : float
        Share of the land under vegetables that resemble poppy, and under maize.
    n_training : int
        Training plots per field class.
    sample_share : mapping of risk level to the share of its segments that is drawn
    dates : tuple of date
        Acquisition days, ascending.
    """

    size_m: float = 16_000.0
    cell_m: float = 500.0
    n_villages: int = 26
    poppy_share: float = 0.0105
    cannabis_share: float = 0.0028
    lookalike_share: float = 0.012
    maize_share: float = 0.02
    n_training: int = 40
    sample_share: tuple[tuple[str, float], ...] = (("high", 0.26), ("low", 0.10))
    dates: tuple[date, ...] = (
        date(2025, 11, 8),
        date(2025, 12, 3),
        date(2025, 12, 28),
        date(2026, 1, 17),
        date(2026, 2, 6),
        date(2026, 2, 26),
        date(2026, 3, 18),
    )

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in metres."""
        return WEST, NORTH - self.size_m, WEST + self.size_m, NORTH


MINIATURE = Landscape(
    size_m=2_600.0,
    cell_m=200.0,
    n_villages=8,
    poppy_share=0.03,
    cannabis_share=0.012,
    lookalike_share=0.03,
    maize_share=0.03,
    n_training=14,
    sample_share=(("high", 0.42), ("low", 0.22)),
    dates=(
        date(2025, 11, 8),
        date(2025, 12, 3),
        date(2025, 12, 28),
        date(2026, 1, 17),
        date(2026, 2, 6),
        date(2026, 3, 18),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Land:
    """What the land is before anyone plants.

    Attributes
    ----------
    elevation_m, wildness : float arrays (rows, cols) on the 50 m lattice
        Altitude, and a 0-1 field that decides between forest, fallow and bare ground.
    districts : GeoDataFrame
        With the columns of the round's `districts.gpkg`.
    risk_area : shapely geometry
        Land where the crops may grow.
    villages : float array (n, 2)
        Easting and northing, metres.
    """

    elevation_m: Floats
    wildness: Floats
    districts: gpd.GeoDataFrame
    risk_area: shapely.Geometry
    villages: Floats


def make_land(landscape: Landscape, rng: np.random.Generator) -> Land:
    """Draw relief, borders, risk area and villages."""
    side = round(landscape.size_m / LATTICE_M)
    elevation = _relief(side, rng)
    wildness = _rank(_noise(side, rng, roughness=1.8))
    risk_area = _risk_area(elevation)
    villages = _villages(landscape, elevation, rng)
    districts = _districts(landscape, rng)
    return Land(
        elevation_m=elevation,
        wildness=wildness,
        districts=districts,
        risk_area=risk_area,
        villages=villages,
    )


def _noise(side: int, rng: np.random.Generator, *, roughness: float) -> Floats:
    """Spectral noise with power falling as frequency ** -roughness, mean 0, deviation 1."""
    frequency = np.hypot(
        *np.meshgrid(np.fft.fftfreq(2 * side), np.fft.rfftfreq(2 * side), indexing="ij")
    )
    frequency[0, 0] = np.inf
    phase = rng.uniform(0.0, 2.0 * np.pi, frequency.shape)
    field = np.fft.irfft2(frequency ** (-roughness / 2.0 - 0.5) * np.exp(1j * phase))
    field = field[:side, :side]  # cut out of a larger torus, so that opposite edges differ
    return (field - field.mean()) / field.std()


def _rank(field: Floats) -> Floats:
    """The field's values as fractions 0-1 with a flat distribution."""
    order = field.ravel().argsort().argsort()
    return (order / (field.size - 1)).reshape(field.shape)


def _relief(side: int, rng: np.random.Generator) -> Floats:
    ridges = 1.0 - np.abs(_noise(side, rng, roughness=3.0)) / 2.5
    return 400.0 + 1500.0 * _rank(ridges + 0.6 * _noise(side, rng, roughness=3.4)) ** 0.9


def _districts(landscape: Landscape, rng: np.random.Generator) -> gpd.GeoDataFrame:
    """Eight districts: warped cells of seeds of unequal pull, then smoothed as a coverage."""
    side = round(landscape.size_m / LATTICE_M)
    row, col = np.mgrid[0:side, 0:side] / side
    warp = 0.045
    x = col + warp * _noise(side, rng, roughness=2.6)
    y = row + warp * _noise(side, rng, roughness=2.6)
    # Two columns of four; the third and the seventh are small.
    seeds = np.array(
        [
            (0.25, 0.12),
            (0.22, 0.42),
            (0.42, 0.60),
            (0.2, 0.82),
            (0.75, 0.14),
            (0.78, 0.42),
            (0.60, 0.66),
            (0.80, 0.84),
        ]
    )
    pull = np.array([0.0, 0.0, -0.045, 0.0, 0.0, 0.0, -0.056, 0.0])
    distance = (x[..., None] - seeds[:, 0]) ** 2 + (y[..., None] - seeds[:, 1]) ** 2 - pull
    label = distance.argmin(axis=-1).astype(np.int16)
    for code in range(8):  # islands go to whatever surrounds them
        parts, n = ndimage.label(label == code)
        if n > 1:
            sizes = ndimage.sum_labels(np.ones_like(label), parts, np.arange(1, n + 1))
            for part in np.flatnonzero(np.arange(1, n + 1) != 1 + int(np.argmax(sizes))):
                hole = parts == part + 1
                around = ndimage.binary_dilation(hole) & ~hole
                label[hole] = np.bincount(label[around]).argmax()
    transform = from_origin(WEST, NORTH, LATTICE_M, LATTICE_M)
    pieces: dict[int, list[shapely.Geometry]] = {}
    for shape, value in polygonise(label, connectivity=4, transform=transform):
        pieces.setdefault(int(value), []).append(shapely.geometry.shape(shape))
    merged = [shapely.union_all(pieces[code]) for code in range(8)]
    smooth = shapely.coverage_simplify(merged, tolerance=2.2 * LATTICE_M, simplify_boundary=False)
    west_first = [f"MR{1 + code // 4:02d}{1 + code % 4:02d}" for code in range(8)]
    return gpd.GeoDataFrame(
        {
            "district_pcode": west_first,
            "district_name": list(DISTRICT_NAMES),
            "province_pcode": [code[:4] for code in west_first],
            "province_name": [PROVINCES[code[:4]] for code in west_first],
            "valid_from": ["2020-01-01"] * 8,
        },
        geometry=list(smooth),
        crs=CRS,
    )


def _risk_area(elevation: Floats) -> shapely.Geometry:
    """Land between 600 and 1750 m, without slivers."""
    inside = (elevation > 600.0) & (elevation < 1750.0)
    inside = ndimage.binary_opening(ndimage.binary_closing(inside, iterations=1), iterations=1)
    transform = from_origin(WEST, NORTH, LATTICE_M, LATTICE_M)
    parts = [
        shapely.geometry.shape(shape)
        for shape, value in polygonise(
            inside.astype(np.uint8), connectivity=4, transform=transform
        )
        if value == 1
    ]
    area = shapely.union_all([part for part in parts if part.area > 20_000.0])
    return shapely.make_valid(shapely.simplify(area, LATTICE_M))


def _villages(landscape: Landscape, elevation: Floats, rng: np.random.Generator) -> Floats:
    """Villages on habitable altitudes, apart from each other."""
    side = elevation.shape[0]
    margin = max(2, side // 20)
    apart = 0.75 * landscape.size_m / np.sqrt(landscape.n_villages)
    chosen: list[tuple[float, float]] = []
    for _ in range(20_000):
        row, col = rng.integers(margin, side - margin, size=2)
        if not 650.0 < elevation[row, col] < 1550.0:
            continue
        place = (WEST + (col + 0.5) * LATTICE_M, NORTH - (row + 0.5) * LATTICE_M)
        if all(np.hypot(place[0] - x, place[1] - y) > apart for x, y in chosen):
            chosen.append(place)
        if len(chosen) == landscape.n_villages:
            break
    return np.array(chosen)


def altitude_at(land: Land, x: Floats, y: Floats) -> Floats:
    """Altitude in metres at eastings and northings."""
    row = np.clip(((NORTH - y) / LATTICE_M).astype(int), 0, land.elevation_m.shape[0] - 1)
    col = np.clip(((x - WEST) / LATTICE_M).astype(int), 0, land.elevation_m.shape[1] - 1)
    return land.elevation_m[row, col]


def make_fields(landscape: Landscape, land: Land, rng: np.random.Generator) -> gpd.GeoDataFrame:
    """Draw fields around villages until each class has its share of the land.

    Poppy prefers altitude and belongs to some villages only; cannabis lies lower and is rarer;
    vegetables and maize share the same slopes. Fields are irregular quadrilaterals of 0.05 to
    0.6 ha that do not overlap and lie inside the risk area.

    Returns
    -------
    GeoDataFrame
        field_id, class_name, and per field the sowing shift (days), vigour and texture that the
        images will show.
    """
    n_villages = len(land.villages)
    village_height = altitude_at(land, land.villages[:, 0], land.villages[:, 1])
    leaning = {
        "poppy": np.clip((village_height - 850.0) / 500.0, 0.0, 1.0)
        * rng.gamma(1.6, 1.0, n_villages),
        "cannabis": np.clip((1150.0 - village_height) / 400.0, 0.0, 1.0)
        * (rng.random(n_villages) < 0.45)
        * rng.gamma(1.0, 1.0, n_villages),
        "vegetables": rng.gamma(2.0, 1.0, n_villages),
        "maize": rng.gamma(2.0, 1.0, n_villages),
    }
    _spare_two_districts(land, leaning)
    share = {
        "poppy": landscape.poppy_share,
        "cannabis": landscape.cannabis_share,
        "vegetables": landscape.lookalike_share,
        "maize": landscape.maize_share,
    }
    altitude = {
        "poppy": (850, 1700),
        "cannabis": (600, 1150),
        "vegetables": (600, 1500),
        "maize": (600, 1500),
    }
    spread_m = 0.22 * landscape.size_m / np.sqrt(n_villages)
    home = land.districts.geometry.to_numpy()
    codes = land.districts["district_pcode"].to_numpy()
    shapely.prepare(land.risk_area)
    taken = _Occupied()
    rows = []
    for name in ("cannabis", "poppy", "vegetables", "maize"):
        wanted_m2 = share[name] * landscape.size_m**2
        chance = leaning[name] / leaning[name].sum()
        grown_m2 = 0.0
        for _ in range(400):
            if grown_m2 >= wanted_m2:
                break
            batch = _quadrilaterals(landscape, land, rng, chance, spread_m, 200)
            centre = shapely.get_coordinates(shapely.centroid(batch))
            height = altitude_at(land, centre[:, 0], centre[:, 1])
            low, high = altitude[name]
            fits = (height > low) & (height < high) & shapely.covers(land.risk_area, batch)
            for shape, (x, y) in zip(batch[fits], centre[fits], strict=True):
                if grown_m2 >= wanted_m2 or not taken.take(shape):
                    continue
                district = codes[int(np.argmax(shapely.contains_xy(home, x, y)))]
                if district in _SPARED.get(name, ()):
                    continue
                grown_m2 += shape.area
                rows.append((name, shape))
    fields = gpd.GeoDataFrame(
        {"class_name": [row[0] for row in rows]}, geometry=[row[1] for row in rows], crs=CRS
    )
    n = len(fields)
    fields.insert(0, "field_id", [f"F{i:05d}" for i in range(n)])
    fields["shift_days"] = rng.normal(0.0, 9.0, n) + np.where(
        fields["class_name"] == "vegetables", rng.normal(0.0, 16.0, n), 0.0
    )
    fields["vigour"] = np.clip(rng.normal(1.0, 0.11, n), 0.6, 1.3)
    return fields


# So that the sample meets true zeros: no poppy in one district, no cannabis in two.
_SPARED = {"poppy": ("MR0204",), "cannabis": ("MR0101", "MR0202")}


def _spare_two_districts(land: Land, leaning: dict[str, Floats]) -> None:
    home = land.districts.set_index("district_pcode").geometry
    for name, codes in _SPARED.items():
        for code in codes:
            inside = shapely.contains_xy(home[code], land.villages[:, 0], land.villages[:, 1])
            leaning[name][inside] = 0.0
        if leaning[name].sum() == 0.0:  # no village suits it: let it grow anywhere else
            leaning[name][:] = 1.0


def _quadrilaterals(
    landscape: Landscape,
    land: Land,
    rng: np.random.Generator,
    chance: Floats,
    spread_m: float,
    n: int,
) -> npt.NDArray[np.object_]:
    """Irregular rotated quadrilaterals of 0.05 to 0.6 ha around villages."""
    village = land.villages[rng.choice(len(chance), size=n, p=chance)]
    centre = village + rng.normal(0.0, spread_m, (n, 2))
    area = np.clip(rng.lognormal(np.log(1900.0), 0.55, n), 520.0, 5900.0)
    ratio = rng.uniform(1.0, 2.2, n)
    half = np.column_stack([np.sqrt(area * ratio), np.sqrt(area / ratio)]) / 2.0
    corner = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=float)
    points = corner[None] * half[:, None] * rng.uniform(0.88, 1.12, (n, 4, 2))
    angle = rng.uniform(0.0, np.pi, n)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1)
    points = np.einsum("nij,nkj->nki", turn.reshape(n, 2, 2), points) + centre[:, None]
    shapes = shapely.polygons(points)
    west, south, east, north = landscape.bounds
    area = shapely.area(shapes)
    inside = shapely.within(shapes, shapely.box(west + 30, south + 30, east - 30, north - 30))
    return np.asarray(shapes[inside & (area >= 500.0) & (area <= 6000.0)])


class _Occupied:
    """Land already under a field, by a coarse bucket index."""

    def __init__(self) -> None:
        self._bucket_m = 120.0
        self._buckets: dict[tuple[int, int], list[shapely.Geometry]] = {}

    def take(self, shape: shapely.Geometry) -> bool:
        """Reserve the land of a field; False if another one lies there."""
        west, south, east, north = shape.bounds
        keys = [
            (i, j)
            for i in range(int(west // self._bucket_m), int(east // self._bucket_m) + 1)
            for j in range(int(south // self._bucket_m), int(north // self._bucket_m) + 1)
        ]
        near = {id(other): other for key in keys for other in self._buckets.get(key, [])}
        if any(shape.distance(other) < 2.0 for other in near.values()):
            return False
        for key in keys:
            self._buckets.setdefault(key, []).append(shape)
        return True
