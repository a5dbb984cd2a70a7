"""Pages of coordinators: what came in, what is flagged, what was decided, what is missing.

Plain HTML forms: they work without scripts, by keyboard and on a slow line. Analysts see their
areas; every look at answers and every decision is in the audit trail before it is answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.auth import CurrentReader
from api.db.audit import Action as Told
from api.db.audit import record
from api.disclosure import Reader
from api.reviewing import (
    ReviewDesk,
    answers_by_place,
    declared_district,
    other_answers,
    review_progress,
    review_row,
    sample_progress,
)
from survey.checks import Check, Places
from survey.errors import ConflictError, FormError
from survey.forms import Submission
from survey.forms.durable import instance_key
from survey.forms.questionnaires import QUESTIONS
from survey.forms.stored import readable_files
from survey.review import UNTOUCHABLE, Action, Review, ReviewLog, ReviewState
from survey.rounds import read_round

__all__ = ["review_router"]

_PAGES = Path(__file__).parents[1] / "pages"
_TEMPLATES = Environment(
    loader=FileSystemLoader(_PAGES), autoescape=True, undefined=StrictUndefined
)
_FILTERS = ("state", "form_id", "flag", "team", "district", "day")
_PER_PAGE = 50
_MAX_BYTES = 200_000
_MAX_FIELDS = 2_000


def review_router(survey: Path | None) -> APIRouter:
    """Router of `/review`.

    Parameters
    ----------
    survey : Path or None
        Round that is served; None answers 409.
    """
    router = APIRouter(prefix="/review", include_in_schema=False, max_body_size=_MAX_BYTES)
    desk = ReviewDesk(read_round(survey)) if survey else None

    @router.get("")
    def overview(request: Request, reader: CurrentReader, page: int = 1) -> Response:
        """List of submissions with filters."""
        now = datetime.now(UTC)
        rows = _rows(_desk(desk), reader, now)
        chosen = {name: request.query_params.get(name, "")[:80] for name in _FILTERS}
        wanted = [row for row in rows if _fits(row, chosen)]
        _tell(request, reader, Told.SUBMISSIONS_READ, f"list of {len(wanted)} submissions", now)
        last = max(1, -(-len(wanted) // _PER_PAGE))
        page = min(max(page, 1), last)
        return _page(
            "review_list.html",
            rows=wanted[(page - 1) * _PER_PAGE : page * _PER_PAGE],
            n=len(wanted),
            n_unflagged=sum(row["state"] == ReviewState.RECEIVED for row in wanted),
            chosen=chosen,
            options={
                "state": [state for state in ReviewState if state != ReviewState.WITHDRAWN],
                "form_id": list(_desk(desk).store.form_ids()),
                "flag": list(Check),
                "team": sorted({row["team"] for row in rows} - {""}),
                "district": sorted({row["district"] for row in rows} - {""}),
                "day": sorted({row["day"] for row in rows} - {""}),
            },
            page=page,
            last=last,
            query=urlencode({name: value for name, value in chosen.items() if value}),
            done=request.query_params.get("done", "")[:40],
        )

    @router.post("/accept")
    async def accept_unflagged(request: Request, reader: CurrentReader) -> Response:
        """Accept what no check speaks about, among what the filters show."""
        form = await _form(request)
        return await _in_thread(_accept_unflagged, _desk(desk), request, reader, form)

    @router.get("/submissions/{key}")
    def detail(request: Request, reader: CurrentReader, key: str) -> Response:
        """One submission: flags, decisions, answers."""
        return _detail(_desk(desk), request, reader, key)

    @router.post("/submissions/{key}")
    async def decide(request: Request, reader: CurrentReader, key: str) -> Response:
        """Accept, reject, edit or reopen."""
        form = await _form(request)
        return await _in_thread(_decide, _desk(desk), request, reader, key, form)

    @router.get("/progress")
    def progress(request: Request, reader: CurrentReader) -> Response:
        """What came in by form, district, team and day, and what is missing."""
        now = datetime.now(UTC)
        tables = _progress(_desk(desk), request, reader, now)
        reviewed = _desk(desk).look(today=now.date())
        return _page(
            "review_progress.html",
            tables=tables,
            states=list(ReviewState),
            missing=_missing(_desk(desk), reader, now),
            name_of=reviewed.places.name_of if reviewed.places else {},
        )

    @router.get("/progress.json")
    def progress_json(request: Request, reader: CurrentReader) -> Response:
        """The same for programs."""
        return JSONResponse(_progress(_desk(desk), request, reader, datetime.now(UTC)))

    return router


def _desk(desk: ReviewDesk | None) -> ReviewDesk:
    if desk is None:
        raise HTTPException(409, "no round is served; start the service with --survey survey.toml")
    return desk


async def _form(request: Request) -> dict[str, str]:
    async with request.form(max_files=0, max_fields=_MAX_FIELDS) as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}


async def _in_thread(call: Any, *arguments: Any) -> Response:
    answer: Response = await run_in_threadpool(call, *arguments)
    return answer


def _seen_by(desk: ReviewDesk, reader: Reader, now: datetime) -> list[Review]:
    """Submissions of the reader's areas; those of no known district for who sees everywhere."""
    reviewed = desk.look(today=now.date())
    return [
        review
        for review in reviewed.reviews
        if _may_see(reader, review.submission, reviewed.places)
    ]


def _may_see(reader: Reader, submission: Submission, places: Places | None) -> bool:
    if reader.sees_everywhere:
        return True
    district = declared_district(submission, places)
    return bool(district) and _covers(reader, district, places)


def _covers(reader: Reader, district: str, places: Places | None) -> bool:
    province = places.province_of.get(district, "") if places else ""
    return reader.sees_everywhere or reader.covers(district, province)


def _rows(desk: ReviewDesk, reader: Reader, now: datetime) -> list[dict[str, Any]]:
    places = desk.look(today=now.date()).places
    return [
        {**review_row(review, places), "key": instance_key(review.instance_id)}
        for review in _seen_by(desk, reader, now)
    ]


def _fits(row: Mapping[str, Any], chosen: Mapping[str, str]) -> bool:
    checks = {flag["check"] for flag in row["flags"]}
    return all(
        not value or (value in checks if name == "flag" else row[name] == value)
        for name, value in chosen.items()
    )


def _one(desk: ReviewDesk, reader: Reader, key: str, now: datetime) -> Review:
    reviewed = desk.look(today=now.date())
    for review in reviewed.reviews:
        if instance_key(review.instance_id) == key:
            if _may_see(reader, review.submission, reviewed.places):
                return review
            break
    # Whether it exists elsewhere, or was withdrawn, is not told.
    raise HTTPException(404, "there is no such submission in your areas")


def _detail(
    desk: ReviewDesk,
    request: Request,
    reader: Reader,
    key: str,
    status: int = 200,
    fault: str = "",
) -> Response:
    now = datetime.now(UTC)
    review = _one(desk, reader, key, now)
    _tell(request, reader, Told.SUBMISSIONS_READ, review.instance_id, now)
    round_places = desk.look(today=now.date()).places
    original = answers_by_place(review.original)
    now_answers = answers_by_place(review.submission)
    questions = {q.name: q for q in QUESTIONS.get(review.original.form_id, ())}
    doubtful = {flag.field for flag in review.flags}
    entries = [place for place in now_answers if "[" in place]
    places = [q.name for q in questions.values() if not q.repeat] + entries
    if not questions:  # of a form of somebody else
        places = list(now_answers)
    return _page(
        "review_detail.html",
        status,
        key=key,
        review=review,
        row=review_row(review, round_places),
        may=list(review.allowed),
        answers=[
            {
                "place": place,
                "now": now_answers.get(place, ""),
                "before": original.get(place, ""),
                "question": questions.get(place.rpartition("/")[2]),
                "is_doubtful": place in doubtful,
                "is_fixed": place in UNTOUCHABLE or place.rpartition("/")[2] not in questions,
            }
            for place in places
        ],
        n_files=sum(
            len(readable_files(folder))
            for folder in desk.store.attachment_folders(review.instance_id)
        ),
        # Another content may be of another household elsewhere.
        others=other_answers(
            desk.store, review, may_see=lambda other: _may_see(reader, other, round_places)
        ),
        fault=fault,
    )


def _decide(
    desk: ReviewDesk, request: Request, reader: Reader, key: str, form: Mapping[str, str]
) -> Response:
    now = datetime.now(UTC)
    review = _one(desk, reader, key, now)
    try:
        action = Action(form.get("action", ""))
        _require_seen(review, form.get("seen", ""))
        current = answers_by_place(review.submission)
        changes = {
            place: value.strip()
            for name, value in form.items()
            if (place := name.removeprefix("answer:")) != name
            and value.strip() != current.get(place, "")
        }
        # On record first: a decision must not stand without the trail knowing of it.
        _tell(
            request, reader, Told.REVIEW_DECISION, f"{action} {review.instance_id}", now,
            reason=form.get("reason", ""),
        )  # fmt: skip
        ReviewLog(desk.store).decide(
            review,
            action,
            by=reader.name or "local",
            reason=form.get("reason", ""),
            now=now,
            changes=changes,
        )
    except ConflictError as error:
        return _detail(desk, request, reader, key, 409, _sentence(error))
    except (FormError, ValueError) as error:
        return _detail(desk, request, reader, key, 422, _sentence(error))
    return RedirectResponse(f"/review/submissions/{key}", 303)


def _require_seen(review: Review, seen: str) -> None:
    """Refuse a decision by somebody who has not seen the latest one."""
    if seen != str(review.seen):
        raise ConflictError("somebody else decided meanwhile; look at it again")


def _accept_unflagged(
    desk: ReviewDesk, request: Request, reader: Reader, form: Mapping[str, str]
) -> Response:
    now = datetime.now(UTC)
    chosen = {name: form.get(name, "") for name in _FILTERS}
    places = desk.look(today=now.date()).places
    wanted = [
        review
        for review in _seen_by(desk, reader, now)
        if review.state is ReviewState.RECEIVED and _fits(review_row(review, places), chosen)
    ]
    _tell(request, reader, Told.REVIEW_DECISION, f"accept {len(wanted)} without a flag", now)
    done = ReviewLog(desk.store).accept_all(wanted, by=reader.name or "local", now=now)
    query = urlencode({**{n: v for n, v in chosen.items() if v}, "done": str(done)})
    return RedirectResponse(f"/review?{query}", 303)


def _progress(
    desk: ReviewDesk, request: Request, reader: Reader, now: datetime
) -> dict[str, list[dict[str, Any]]]:
    _tell(request, reader, Told.SUBMISSIONS_READ, "progress", now)
    places = desk.look(today=now.date()).places
    return review_progress(
        _seen_by(desk, reader, now), places, covers=lambda code: _covers(reader, code, places)
    )


def _missing(desk: ReviewDesk, reader: Reader, now: datetime) -> dict[str, tuple[str, ...]]:
    """Drawn segments without a visit, by district: for a page, not for a file that goes on."""
    places = desk.look(today=now.date()).places
    if places is None:
        return {}
    table = sample_progress(
        _seen_by(desk, reader, now),
        places,
        covers=lambda code: _covers(reader, code, places),
        names=True,
    )
    return {
        code: segments
        for code, segments in zip(table["district_pcode"], table["missing"], strict=True)
        if segments
    }


def _tell(
    request: Request, reader: Reader, action: Told, about: str, now: datetime, reason: str = ""
) -> None:
    record(request.app.state.engine, reader, action, about=about, now=now, reason=reason)


def _page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(_TEMPLATES.get_template(template).render(**values), status)


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
