"""The card of a model as text that people read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["card_text"]


def card_text(description: Mapping[str, Any]) -> str:
    """Markdown of what `model.json` says: classes, accuracies, importance, calibration.

    Parameters
    ----------
    description : mapping
        Content of `model.json`.
    """
    card, names = description["card"], list(description["class_names"])
    head = (
        "Gradient-boosted trees that call each pixel one of "
        f"{len(names)} classes from {description['n_features']} features. "
        "**Everything below is about training plots, which were chosen on purpose: it is not the "
        "accuracy over the land, and never an area.** Hectares are estimated from a probability "
        "sample of segments, none of which trained this model."
    )
    parts = [f"# Model {str(description['sha256'])[:16]}", head, _counts(card, names)]
    if "error_matrix_rows_map_columns_reference" in card:
        parts.append(_matrix(card, names))
    if card.get("thresholds_tried"):
        parts.append(_thresholds(card["thresholds_tried"]))
    if "importance" in card:
        parts.append(_importance(card["importance"]))
    if "calibration" in card:
        parts.append(_calibration(card["calibration"]))
    if "settings" in card:
        parts.append(_settings(card))
    return "\n\n".join(parts) + "\n"


def _counts(card: Mapping[str, Any], names: Sequence[str]) -> str:
    rows = [
        (name, str(card["n_plots"][name]), str(card["n_pixels"][name]))
        for name in names
        if name in card.get("n_plots", {})
    ]
    return "## Trained on\n\n" + _table(("class", "plots", "pixels"), rows)


def _matrix(card: Mapping[str, Any], names: Sequence[str]) -> str:
    matrix = card["error_matrix_rows_map_columns_reference"]
    rows = [
        (
            f"mapped {name}",
            *(f"{value:.0f}" for value in row),
            _percent(card["users_accuracy"][name]),
        )
        for name, row in zip(names, matrix, strict=True)
    ]
    rows.append(("found", *(_percent(card["producers_accuracy"][name]) for name in names), ""))
    return (
        f"## Plots that were left out\n\nEach {card['cross_validated_by']} was judged by trees "
        f"and thresholds that did not see it ({card.get('n_folds', 5)} folds); pixels weighted by "
        "the share inside the plot. Rows map, columns reference; "
        f"{_percent(card.get('share_right'))} right.\n\n"
        + _table(("", *names, "of the map right"), rows)
    )


def _thresholds(tried: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (
            name,
            f"{trial['threshold']:.2f}",
            *(
                f"{_percent(trial[f'{kind}_without'])} -> {_percent(trial[f'{kind}_with'])}"
                for kind in ("users_accuracy", "producers_accuracy")
            ),
            "yes" if trial["is_used"] else "no: no better on plots left out",
        )
        for name, trial in tried.items()
    ]
    return (
        "## Thresholds of the crops\n\nThe threshold of probability with the best F1 on plots "
        "left out, and what it would change against taking the likeliest class "
        "(each fold judged by the threshold of the others). It is used where it gains.\n\n"
        + _table(("crop", "threshold", "of the map right", "found", "used"), rows)
    )


def _importance(importance: Mapping[str, Mapping[str, float]]) -> str:
    head = (
        "## What the trees rely on\n\nRise of the log loss on plots left out when a group of "
        "features is shuffled. Groups that say the same stand in for one another."
    )
    parts = [head]
    for kind, values in importance.items():
        rows = [(group, f"{value:.3f}") for group, value in list(values.items())[:20]]
        parts.append(_table((kind, "rise"), rows))
    return "\n\n".join(parts)


def _calibration(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    rows = [
        (name, f"{100 * p['predicted']:.0f}%", f"{100 * p['observed']:.0f}%", f"{p['pixels']:.0f}")
        for name, points in curves.items()
        for p in points
    ]
    return (
        "## Calibration\n\nBy tenth of the predicted probability, plots left out; classes are not "
        "in the land's proportions.\n\n" + _table(("class", "predicted", "was so", "pixels"), rows)
    )


def _settings(card: Mapping[str, Any]) -> str:
    losses = ", ".join(f"{loss:.4f}" for loss in card["cross_validated_log_loss"])
    rows = [(key, str(value)) for key, value in card["settings"].items()]
    return (
        "## Settings\n\nThose with the smallest log loss on plots left out, of "
        f"{len(card['cross_validated_log_loss'])} ({losses}).\n\n" + _table(("", ""), rows)
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    lines += [
        "| " + " | ".join(str(cell).replace("|", "/") for cell in row) + " |" for row in rows
    ]
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100.0 * share:.0f}%"
