"""What people did on the invented land: frame and draw, training plots, visits, interviews."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from uuid import UUID
from xml.sax.saxutils import escape

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from sample_tiles.land import CRS, Land, Landscape, altitude_at
from survey.areas import geodesic_area_ha

CROPS = ("poppy", "cannabis")
# No team got there: its drawn segments stay without a visit.
_CLOSED_DISTRICT = "MR0203"
FORM_VERSION = "2026011501"
_HA_PER = {"ha": 1.0, "rai": 0.16, "acre": 0.40468564224}


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One filled form as it leaves a phone."""

    form_id: str
    instance_id: str
    answers: Mapping[str, str]


def make_frame(landscape: Landscape, land: Land, rng: np.random.Generator) -> gpd.GeoDataFrame:
    """Cut cells by districts and risk area, join slivers, stratify, and draw the sample.

    The risk level comes from altitude and distance to villages alone, never from the fields.
    """
    west, _, east, north = landscape.bounds
    cell = landscape.cell_m
    edges = np.arange(0.0, landscape.size_m, cell)
    cells = [
        shapely.box(west + x, north - y - cell, min(west + x + cell, east), north - y)
        for y in edges
        for x in edges
    ]
    inside = [_polygonal(shape) for shape in shapely.intersection(cells, land.risk_area)]
    grid = gpd.GeoDataFrame({"cell": range(len(cells))}, geometry=inside, crs=CRS)
    pieces = gpd.overlay(
        grid.loc[~grid.geometry.is_empty],
        land.districts[["district_pcode", "province_pcode", "geometry"]],
        how="intersection",
        keep_geom_type=True,
    )
    pieces = _join_slivers(pieces, smallest_m2=0.2 * cell**2)
    centre = shapely.get_coordinates(shapely.centroid(pieces.geometry.to_numpy()))
    height = altitude_at(land, centre[:, 0], centre[:, 1])
    to_village = np.sqrt(((centre[:, None] - land.villages[None]) ** 2).sum(axis=-1).min(axis=1))
    near = to_village < 0.55 * landscape.size_m / np.sqrt(landscape.n_villages)
    level = np.where((height > 850.0) & near, "high", "low")
    pieces["stratum_id"] = pieces["province_pcode"] + "-" + level
    pieces = pieces.sort_values(["district_pcode", "cell"], ignore_index=True)
    pieces["segment_id"] = [
        f"{code}-{number:04d}"
        for code, number in zip(
            pieces["district_pcode"], pieces.groupby("district_pcode").cumcount() + 1, strict=True
        )
    ]
    pieces["risk_ha"] = geodesic_area_ha(pieces.geometry.to_numpy(), CRS)
    share = dict(landscape.sample_share)
    drawn = np.zeros(len(pieces), dtype=bool)
    for stratum in sorted(pieces["stratum_id"].unique()):
        members = np.flatnonzero(pieces["stratum_id"] == stratum)
        n = max(4, round(share[stratum.split("-")[1]] * len(members)))
        drawn[rng.choice(members, size=min(n, len(members)), replace=False)] = True
    pieces["is_sampled"] = drawn
    columns = ["segment_id", "stratum_id", "district_pcode", "province_pcode", "risk_ha"]
    return pieces[[*columns, "is_sampled", "geometry"]]


def _join_slivers(pieces: gpd.GeoDataFrame, *, smallest_m2: float) -> gpd.GeoDataFrame:
    """Give pieces below the size to the neighbour with the longest common border."""
    pieces = pieces.reset_index(drop=True)
    shape = dict(enumerate(pieces.geometry))
    home = pieces["district_pcode"].to_dict()
    for index in pieces.index[np.argsort(pieces.area, kind="stable")]:
        if shape[index].area >= smallest_m2:
            continue
        near = [
            int(other)
            for other in pieces.sindex.query(shape[index].buffer(1.0))
            if other != index and other in shape and home[other] == home[index]
        ]
        border = {o: shape[o].buffer(0.5).intersection(shape[index]).area for o in near}
        if border and max(border.values()) > 0.0:
            best = max(border, key=lambda o: (border[o], -o))
            shape[best] = shapely.union_all([shape[best], shape.pop(index)])
    kept = pieces.loc[sorted(shape)].copy()
    return kept.set_geometry([_polygonal(shape[index]) for index in kept.index], crs=pieces.crs)


def _polygonal(shape: shapely.Geometry) -> shapely.Geometry:
    parts = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def segment_truth(frame: gpd.GeoDataFrame, fields: gpd.GeoDataFrame) -> pd.DataFrame:
    """True hectares of each crop in every segment (segment_id, crop, truth_ha)."""
    grown = fields.loc[fields["class_name"].isin(CROPS), ["class_name", "geometry"]]
    parts = gpd.overlay(grown, frame[["segment_id", "geometry"]], how="intersection")
    parts["truth_ha"] = geodesic_area_ha(parts.geometry.to_numpy(), CRS)
    sums = parts.groupby(["segment_id", "class_name"])["truth_ha"].sum()
    full = pd.MultiIndex.from_product([frame["segment_id"], CROPS], names=["segment_id", "crop"])
    sums.index.names = ["segment_id", "crop"]
    return sums.reindex(full, fill_value=0.0).reset_index()


def make_training(
    landscape: Landscape,
    land: Land,
    fields: gpd.GeoDataFrame,
    frame: gpd.GeoDataFrame,
    rng: np.random.Generator,
) -> gpd.GeoDataFrame:
    """Plots collected on purpose, none in a sampled segment."""
    sampled = shapely.union_all(frame.loc[frame["is_sampled"]].geometry.to_numpy()).buffer(5.0)
    shapely.prepare(sampled)
    free = fields.loc[~shapely.intersects(sampled, fields.geometry.to_numpy())]
    parts = []
    for name, members in free.groupby("class_name", sort=True):
        chosen = rng.choice(
            len(members), size=min(landscape.n_training, len(members)), replace=False
        )
        parts.append(
            members.iloc[np.sort(chosen)][["class_name", "geometry"]].assign(class_name=name)
        )
    parts.append(_ground(landscape, land, fields, sampled, rng))
    plots = gpd.GeoDataFrame(pd.concat(parts, ignore_index=True), crs=CRS)
    plots.insert(0, "plot_id", [f"T{i:04d}" for i in range(1, len(plots) + 1)])
    return plots


def _ground(
    landscape: Landscape,
    land: Land,
    fields: gpd.GeoDataFrame,
    sampled: shapely.Geometry,
    rng: np.random.Generator,
) -> gpd.GeoDataFrame:
    """Squares of forest, fallow, bare ground and water, seen from a road."""
    west, south, east, north = landscape.bounds
    tree = shapely.STRtree(fields.geometry.to_numpy())
    wanted = dict.fromkeys(("forest", "fallow", "bare", "water"), landscape.n_training)
    rows = []
    for _ in range(60_000):
        x, y = rng.uniform(west + 60, east - 60), rng.uniform(south + 60, north - 60)
        row, col = int((north - y) / 50.0), int((x - west) / 50.0)
        wild = land.wildness[max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2]
        if land.elevation_m[row, col] < 418.0:
            name = "water"
        elif land.elevation_m[row, col] < 440.0:
            continue
        elif wild.min() > 0.66:
            name = "forest"
        elif wild.max() < 0.09:
            name = "bare"
        elif wild.min() > 0.24 and wild.max() < 0.46:
            name = "fallow"
        else:
            continue
        plot = shapely.box(x - 25, y - 25, x + 25, y + 25)
        if not wanted[name] or len(tree.query(plot.buffer(15))) or sampled.intersects(plot):
            continue
        wanted[name] -= 1
        rows.append((name, plot))
        if not any(wanted.values()):
            break
    return gpd.GeoDataFrame(
        {"class_name": [row[0] for row in rows]}, geometry=[row[1] for row in rows], crs=CRS
    )


def segment_visits(
    frame: gpd.GeoDataFrame, fields: gpd.GeoDataFrame, rng: np.random.Generator
) -> list[Submission]:
    """One visit per drawn segment; the road to one district was closed; some saw only a part."""
    drawn = frame.loc[frame["is_sampled"]]
    closed = drawn.loc[drawn["district_pcode"] == _CLOSED_DISTRICT, "segment_id"]
    missed = {*closed, str(rng.choice(drawn["segment_id"]))}
    grown = fields.loc[fields["class_name"].isin(CROPS)]
    visits = []
    for segment in drawn.itertuples():
        instance = uuid(rng)
        observer, unit = (
            f"OBS{rng.integers(1, 6):02d}",
            str(rng.choice(["ha", "rai", "acre"], p=[0.6, 0.25, 0.15])),
        )
        percent = 100 if rng.random() > 0.12 else int(rng.choice([50, 70, 80]))
        day = date(2026, 2, 1) + timedelta(days=int(rng.integers(0, 20)))
        if segment.segment_id in missed:
            continue
        seen = segment.geometry
        if percent < 100:
            seen = _western_part(seen, percent / 100.0)
        found = gpd.clip(grown, seen)
        hectares = {
            crop: float(
                geodesic_area_ha(
                    found.loc[found["class_name"] == crop].geometry.to_numpy(), CRS
                ).sum()
            )
            for crop in CROPS
        }
        visits.append(
            Submission(
                form_id="segment_visit",
                instance_id=instance,
                answers={
                    "segment_id": segment.segment_id,
                    "visit_date": day.isoformat(),
                    "observer_code": observer,
                    "observed_percent": str(percent),
                    "area_unit": unit,
                    "poppy_area": f"{hectares['poppy'] / _HA_PER[unit]:.4f}",
                    "cannabis_area": f"{hectares['cannabis'] / _HA_PER[unit]:.4f}",
                    "remarks": "",
                },
            )
        )
    return visits


def _western_part(shape: shapely.Geometry, share: float) -> shapely.Geometry:
    """The part of a segment west of the line that leaves `share` of its area there."""
    west, south, east, north = shape.bounds
    low, high = west, east
    for _ in range(50):
        middle = (low + high) / 2.0
        part = shape.intersection(shapely.box(west, south, middle, north))
        low, high = (middle, high) if part.area < share * shape.area else (low, middle)
    return shape.intersection(shapely.box(west, south, low, north))


PROJECTS = (
    ("AD01", "Highland coffee", ("MR0102", "MR0103"), 2022),
    ("AD02", "Tea and irrigation", ("MR0202",), 2023),
)
BASELINES = (
    ("AD01", "poppy_household_share", "share", "down", 0.62, 2022, 0.20),
    ("AD01", "annual_income_usd", "USD/year", "up", 780, 2022, 1300),
    ("AD01", "food_short_months", "months", "down", 3.4, 2022, 1.0),
    ("AD01", "ad_satisfaction", "score 1-5", "up", 2.6, 2022, 4.0),
    ("AD02", "poppy_household_share", "share", "down", 0.55, 2023, 0.25),
    ("AD02", "annual_income_usd", "USD/year", "up", 820, 2023, 1250),
    ("AD02", "food_short_months", "months", "down", 2.9, 2023, 1.0),
    ("AD02", "ad_satisfaction", "score 1-5", "up", 2.9, 2023, None),
)


def farmer_interviews(land: Land, rng: np.random.Generator) -> list[Submission]:
    """Households of villages in and outside the projects; a few refuse, one group was at hand."""
    codes = land.districts["district_pcode"]
    project_of = {code: project[0] for project in PROJECTS for code in project[2]}
    per_district: dict[str, int] = {}
    interviews = []
    for district in codes:
        for _ in range(4 if district in project_of else 2):
            per_district[district] = per_district.get(district, 0) + 1
            village = f"{district}-V{per_district[district]:02d}"
            project = project_of.get(district, "")
            kind = "convenience" if district == "MR0104" else "probability"
            lean = rng.normal(0.0, 0.10)
            interviews.extend(
                _interview(district, village, project, kind, lean, rng)
                for _ in range(int(rng.integers(5, 8)))
            )
    return interviews


def _interview(
    district: str, village: str, project: str, kind: str, lean: float, rng: np.random.Generator
) -> Submission:
    instance = uuid(rng)
    helped = bool(project)
    grows = rng.random() < (0.30 if helped else 0.50) + lean
    size = int(rng.integers(2, 10))
    income = max(150.0, rng.normal(1080.0 if helped else 820.0, 260.0) * (1.0 - lean))
    opium = income * rng.uniform(0.2, 0.6) if grows else 0.0
    day = date(2026, 2, 3) + timedelta(days=int(rng.integers(0, 25)))
    consent = rng.random() > 0.05
    answers = {
        "consent": "yes" if consent else "no",
        "consent_version": "2026-01",
        "consent_language": str(rng.choice(["en", "my"])),
        "visit_date": day.isoformat(),
        "district_pcode": district,
        "village_id": village,
        "project_id": project,
        "sample_type": kind,
    }
    more = {
        "household_size": str(size),
        "area_unit": "rai",
        "land_area": f"{rng.uniform(3.0, 22.0):.1f}",
        "grows_poppy": "yes" if grows else "no",
        "poppy_area": f"{rng.uniform(0.4, 3.0):.2f}" if grows else "",
        "annual_income_usd": f"{income:.0f}",
        "opium_income_usd": f"{opium:.0f}",
        "food_short_months": str(int(np.clip(rng.poisson(1.6 if helped else 2.6), 0, 12))),
        "ad_satisfaction": str(int(np.clip(round(rng.normal(3.6, 0.8)), 1, 5))) if helped else "",
        "remarks": "",
    }
    answers.update(more if consent else dict.fromkeys(more, ""))
    return Submission(form_id="farmer_survey", instance_id=instance, answers=answers)


def uuid(rng: np.random.Generator) -> str:
    """A random (version 4) instanceID from the seeded generator."""
    return f"uuid:{UUID(bytes=rng.bytes(16), version=4)}"


def write_submissions(folder: Path, submissions: Iterable[Submission], csv_name: str) -> None:
    """Every fifth as XForm XML, as a phone sends it; the rest as one CSV table."""
    submissions = list(submissions)
    (folder / "xml").mkdir(parents=True, exist_ok=True)
    for submission in submissions[::5]:
        name = submission.instance_id.removeprefix("uuid:")
        (folder / "xml" / f"{name}.xml").write_text(_xml(submission), encoding="utf-8")
    rest = [s for index, s in enumerate(submissions) if index % 5]
    with (folder / csv_name).open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["instanceID", "form_id", "form_version", *rest[0].answers])
        for submission in rest:
            writer.writerow(
                [
                    submission.instance_id,
                    submission.form_id,
                    FORM_VERSION,
                    *submission.answers.values(),
                ]
            )


def _xml(submission: Submission) -> str:
    answers = "".join(
        f"  <{name}>{escape(value)}</{name}>\n" if value else f"  <{name}/>\n"
        for name, value in submission.answers.items()
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<data id="{submission.form_id}" version="{FORM_VERSION}">\n{answers}'
        f"  <meta><instanceID>{submission.instance_id}</instanceID></meta>\n</data>\n"
    )
