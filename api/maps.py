"""The single-file map: a folium page that can be mailed and opened without a network.

Everything it needs is written into the file, and its Content-Security-Policy allows no request
to any host.
"""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import folium
import geopandas as gpd
import pandas as pd
from branca.element import Element

from api.errors import ApiError

__all__ = ["MapTitle", "class_breaks", "district_map"]

# ColorBrewer YlOrRd, 5 classes: sequential, safe for colour-blind readers, prints in grey.
_COLOURS = ("#ffffb2", "#fecc5c", "#fd8d3c", "#f03b20", "#bd0026")
_NO_VALUE = "#d9d9d9"
_NOT_DETECTED = "#9ecae1"
_WITHHELD = {
    "not_detected": "not detected",
    "status_only": "status only: too little is known for a figure",
    "suppressed": "not published: too uncertain",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MapTitle:
    """Words above the map."""

    title: str
    harvest_year: int
    reference_date: str


def class_breaks(values: Sequence[float], *, n_classes: int = len(_COLOURS)) -> list[float]:
    """Upper limits of colour classes, hectares: round numbers, ascending.

    Classes are equal shares of the largest value, so that twice the colour step means about
    twice the hectares.
    """
    known = [value for value in values if math.isfinite(value)]
    top = max(known, default=0.0)
    if top <= 0.0:
        return []
    magnitude = 10.0 ** math.floor(math.log10(top / n_classes))
    step = next(
        factor * magnitude
        for factor in (1.0, 2.0, 2.5, 5.0, 10.0)
        if factor * magnitude * n_classes >= top
    )
    return [step * (index + 1) for index in range(n_classes)]


def district_map(
    estimates: gpd.GeoDataFrame,
    totals: pd.DataFrame,
    projects: gpd.GeoDataFrame,
    heading: MapTitle,
) -> str:
    """HTML of a self-contained map of the published districts and projects.

    Parameters
    ----------
    estimates : GeoDataFrame
        Layer `district_estimates` of a run, EPSG:4326.
    totals : DataFrame
        Rows of provinces and the country; the country's stand in the heading.
    projects : GeoDataFrame
        Layer `projects` of a run, EPSG:4326; may be empty.

    Raises
    ------
    ApiError
        The page would ask another host for something.
    """
    west, south, east, north = estimates.total_bounds
    page = folium.Map(
        location=[(south + north) / 2.0, (west + east) / 2.0],
        tiles=None,
        control_scale=True,
        attr="",
    )
    page.fit_bounds([[south, west], [north, east]])
    legends = []
    for position, crop in enumerate(dict.fromkeys(estimates["crop"])):
        rows = estimates.loc[estimates["crop"] == crop]
        found = rows["reliability"] != "not_detected"
        breaks = class_breaks(rows.loc[found, "value_ha"].tolist())
        facts = [_facts(row, heading) for row in rows.to_dict("records")]
        shapes = gpd.GeoDataFrame(facts, geometry=list(rows.geometry), crs=rows.crs)
        shapes["colour"] = [
            _colour(value, breaks) if is_found else _NOT_DETECTED
            for value, is_found in zip(rows["value_ha"], found, strict=True)
        ]
        folium.GeoJson(
            shapes.to_json(),
            name=f"{crop}, hectares",
            show=position == 0,
            style_function=_fill,
            highlight_function=lambda _: {"weight": 3},
            tooltip=folium.GeoJsonTooltip(fields=["District", "Hectares"], labels=False),
            popup=folium.GeoJsonPopup(fields=list(facts[0]), max_width=340),
        ).add_to(page)
        legends.append(_legend(crop, breaks))
    if not projects.empty:
        _add_projects(page, projects)
    folium.LayerControl(position="bottomright", collapsed=False).add_to(page)
    root: Any = page.get_root()
    root.html.add_child(Element(_frame(heading, totals, legends)))
    return _self_contained(root.render())


def _add_projects(page: folium.Map, projects: gpd.GeoDataFrame) -> None:
    rows = []
    for (_, name), indicators in projects.groupby(["project_id", "project_name"], sort=True):
        lines = "".join(
            f"<tr><td>{html.escape(str(row['indicator_code']))}</td>"
            f"<td>{_number(row['baseline_value'])} ({row['baseline_year']})</td>"
            f"<td>{_latest(row)}</td><td>{html.escape(str(row['unit']))}</td></tr>"
            for row in indicators.to_dict("records")
        )
        rows.append(
            {
                "Project": html.escape(str(name)),
                "Districts": html.escape(str(indicators["district_pcodes"].iloc[0])),
                "Indicators": "<table><tr><th>Indicator</th><th>Baseline</th><th>Latest</th>"
                f"<th>Unit</th></tr>{lines}</table>",
                "geometry": indicators.geometry.iloc[0],
            }
        )
    folium.GeoJson(
        gpd.GeoDataFrame(rows, crs=projects.crs).to_json(),
        name="AD projects",
        style_function=lambda _: {
            "fillOpacity": 0.0,
            "color": "#08519c",
            "weight": 3,
            "dashArray": "6 4",
        },
        tooltip=folium.GeoJsonTooltip(fields=["Project"], aliases=["AD project"]),
        popup=folium.GeoJsonPopup(fields=["Project", "Districts", "Indicators"], max_width=460),
    ).add_to(page)


def _fill(feature: dict[str, dict[str, object]]) -> dict[str, object]:
    return {
        "fillColor": feature["properties"]["colour"],
        "fillOpacity": 0.8,
        "color": "#444444",
        "weight": 1,
    }


def _colour(value: float, breaks: Sequence[float]) -> str:
    if not math.isfinite(value) or not breaks:
        return _NO_VALUE
    for limit, colour in zip(breaks, _COLOURS, strict=True):
        if value <= limit:
            return colour
    return _COLOURS[-1]


def _facts(row: dict[str, Any], heading: MapTitle) -> dict[str, str]:
    facts = {
        "District": str(row["district_name"]),
        "Crop": str(row["crop"]),
        "Hectares": _figure(row),
        "Interval": f"{100.0 * float(row['level']):g}% confidence",
        "Reliability": str(row["reliability"]).replace("_", " "),
        "Sampled segments": _shown(row["n_segments"], "{:d}"),
        "Method": str(row["method"]),
        "Comparable with years of": str(row["method_version"]),
        "Why": str(row["why"]),
        "Not seen by satellite": _shown(row["unobserved_share"], "{:.0%} of the risk area"),
        "Reference date": heading.reference_date,
    }
    return {label: html.escape(value) for label, value in facts.items()}


def _shown(value: Any, pattern: str) -> str:
    return "withheld" if pd.isna(value) else pattern.format(value)


def _figure(row: Mapping[str, Any] | pd.Series) -> str:
    value = float(row["value_ha"])
    if row["disclosure"]:
        return f"not published: {row['disclosure']}"
    if row["reliability"] == "not_detected":
        return f"not detected (less than {_number(row['ci_high_ha'])} ha)"
    if not math.isfinite(value):
        return _WITHHELD.get(str(row["reliability"]), "no figure")
    return f"{_number(value)} ha ({_number(row['ci_low_ha'])} to {_number(row['ci_high_ha'])})"


def _latest(row: dict[str, Any]) -> str:
    if row["disclosure"]:
        return "not published (too few respondents)"
    value = row["latest_value"]
    if value is None or pd.isna(value):
        return "not measured"
    text = f"{_number(value)} ({int(float(str(row['latest_year'])))})"
    if not pd.isna(row["latest_ci_low"]):
        text += f", {_number(row['latest_ci_low'])} to {_number(row['latest_ci_high'])}"
    return f"{text}, n = {row['n_respondents']}"


def _number(value: object) -> str:
    number = float(str(value))
    if not math.isfinite(number):
        return "unknown"
    if number != 0.0 and abs(number) < 10.0:
        return f"{number:.2g}"
    return f"{number:,.0f}"


def _legend(crop: str, breaks: Sequence[float]) -> str:
    lower = 0.0
    rows = []
    for limit, colour in zip(breaks, _COLOURS, strict=False):
        rows.append(
            f'<li><i style="background:{colour}"></i>{_number(lower)} to {_number(limit)}</li>'
        )
        lower = limit
    rows.append(f'<li><i style="background:{_NOT_DETECTED}"></i>not detected</li>')
    rows.append(f'<li><i style="background:{_NO_VALUE}"></i>no published figure</li>')
    return f"<h4>{html.escape(crop)}, hectares</h4><ul>{''.join(rows)}</ul>"


def _frame(heading: MapTitle, totals: pd.DataFrame, legends: Sequence[str]) -> str:
    country = totals.loc[totals["admin_level"] == "country"]
    lines = ""
    for _, row in country.iterrows():
        care = ", indicative" if row["reliability"] == "indicative" else ""
        lines += f"<li>{html.escape(str(row['crop']))}: {html.escape(_figure(row))}{care}</li>"
    return (
        '<div id="heading"><h2>'
        f"{html.escape(heading.title)}</h2><p>Harvest {heading.harvest_year}, reference date "
        f"{html.escape(heading.reference_date)}. Every figure is an estimate with a 95% interval; "
        "grey is not zero: no figure is published there.</p>"
        f"<h4>Whole country</h4><ul>{lines}</ul></div>"
        f'<div id="legend">{"".join(legends)}'
        "<h4>Dashed blue</h4><ul><li>AD project</li></ul></div>"
    )


_STYLE = """
html, body { height: 100%; margin: 0; font: 14px/1.4 system-ui, sans-serif; }
.folium-map { position: absolute; inset: 0; background: #eef2f4; }
#heading, #legend { position: absolute; z-index: 1000; background: #ffffffee; padding: 8px 12px;
  border-radius: 6px; box-shadow: 0 1px 4px #0006; max-width: 22rem; }
#heading { left: 60px; top: 10px; } #heading h2 { margin: 0 0 4px; font-size: 16px; }
#heading p { margin: 0; font-size: 12px; }
#heading h4, #legend h4 { margin: 4px 0; }
#legend { left: 10px; bottom: 56px; }
#heading ul, #legend ul { list-style: none; margin: 0; padding: 0; }
#legend i { display: inline-block; width: 18px; height: 12px; margin-right: 6px;
  border: 1px solid #888; vertical-align: middle; }
.leaflet-popup-content table { border-collapse: collapse; }
.leaflet-popup-content th { text-align: left; vertical-align: top; padding-right: 8px; }
.leaflet-popup-content h3 { margin: 0 0 6px; }
@media (max-width: 600px) {
  #heading { right: 10px; max-width: none; } #heading p { font-size: 11px; }
  #legend, .leaflet-control-layers { font-size: 11px; } #legend { padding: 4px 8px; }
  #legend i { width: 12px; } }
"""

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
)


def _self_contained(rendered: str) -> str:
    """Put Leaflet inside the page and drop every tag that would load something."""
    leaflet = Path(str(files("xstatic.pkg.leaflet"))) / "data"
    script = (leaflet / "leaflet.js").read_text(encoding="utf-8")
    script = re.sub(r"//# sourceMappingURL=\S+", "", script)
    style = (leaflet / "leaflet.css").read_text(encoding="utf-8")
    style = re.sub(r"url\((images/[^)]+)\)", lambda match: _inline(leaflet, match[1]), style)
    bare = re.sub(r"<script\s+src=[^>]*>\s*</script>", "", rendered)
    bare = re.sub(r"<link\s+rel=\"stylesheet\"[^>]*/?>", "", bare)
    head = (
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<style>{style}</style><style>{_STYLE}</style><script>{script}</script>"
    )
    page = bare.replace("<head>", f"<head>{head}", 1)
    loads = re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"']?http[^>]*>", page)
    if loads:
        raise ApiError(f"the map page would load {loads[0]}; it must not ask other hosts")
    return page


def _inline(folder: Path, name: str) -> str:
    encoded = base64.b64encode((folder / name).read_bytes()).decode("ascii")
    return f"url(data:image/png;base64,{encoded})"
