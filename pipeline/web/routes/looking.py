"""What can be looked at: what is published, users, items, their pictures and clips, and the map."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import anyio
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse

from pipeline.errors import MediaError
from pipeline.web.access import COOKIE, Tokens
from pipeline.web.answers import About, Cards, ItemView, Named, Space, UserView
from pipeline.web.questions import Name, TokenGiven
from pipeline.web.routes import Drawing, InItsOwnThread, Now

router = APIRouter(prefix="/api", tags=["look"])
# Of one index a picture is always the same, as far as its address goes: a browser may keep it for a while.
KEPT = {"cache-control": "private, max-age=600"}
ItemId = Annotated[Name, Query(description="an item of the catalogue", examples=["rec-0015"])]
Begun = Annotated[str, Query(max_length=512)]


@router.get("/index", summary="What is published, and what can be asked")
async def index(now: Now) -> About:
    """Counts, the attributes that can be filtered by, some users to begin with, and limits."""
    return now.about


@router.get("/users", summary="Some users whose id begins so")
def users(now: Now, q: Annotated[Begun, Query(description="the beginning")] = "") -> Named:
    """At most two dozen."""
    return Named(users=now.catalogue.users(q) if q else now.catalogue.people)


@router.get("/user", summary="What a user has")
def user(now: Now, user: Annotated[Name, Query(examples=["buyer-0001"])]) -> UserView:
    """How many items, and some of them."""
    return now.catalogue.user(user)


@router.get("/items", summary="Some items whose title holds these letters")
def items(now: Now, q: Annotated[Name, Query(description="letters of the title", examples=["winter"])]) -> Cards:
    """At most two dozen; capitals do not matter."""
    return Cards(items=now.catalogue.named(q))


@router.get("/item", summary="One item, with its text")
def item(now: Now, item: ItemId) -> ItemView:
    """Its attributes, where its picture and sound are, and the beginning of its text."""
    return now.catalogue.view(item)


@router.get("/map", summary="The items by their content, in two dimensions")
async def space(now: Now, slowly: InItsOwnThread) -> Space:
    """A seeded sample of a thousand items at most; computed when it is first asked for, which takes seconds."""
    return await slowly(lambda: now.space)


@router.get(
    "/picture",
    summary="An item's picture",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}, "description": "a JPEG of at most 320 or 960 pixels"}},
)
async def picture(now: Now, drawing: Drawing, item: ItemId, size: Literal["card", "whole"] = "card") -> Response:
    """A small JPEG that is made of it."""
    name = await anyio.to_thread.run_sync(now.catalogue.medium, item, "image")
    try:
        data = await anyio.to_thread.run_sync(now.media.picture, name, size, limiter=drawing) if name else None
    except MediaError as error:
        raise HTTPException(404, f"item {item}: no picture ({error})") from None
    if data is None:
        raise HTTPException(404, f"item {item}: it has no picture")
    return Response(data, media_type="image/jpeg", headers=KEPT)


@router.get(
    "/clip",
    summary="An item's sound",
    response_class=FileResponse,
    responses={200: {"content": {"audio/*": {}}, "description": "the file as it is, or the range asked for"}},
)
def clip(now: Now, item: ItemId) -> FileResponse:
    """As it is; a part of it where `Range` asks for one."""
    name = now.catalogue.medium(item, "audio")
    if not name:
        raise HTTPException(404, f"item {item}: it has no sound")
    try:
        path, kind = now.media.clip(name)
    except MediaError as error:
        raise HTTPException(404, f"item {item}: no sound ({error})") from None
    return FileResponse(path, media_type=kind, headers=KEPT)


@router.post("/session", summary="A session for a page, by the token", status_code=204)
async def session(request: Request, response: Response, given: TokenGiven) -> None:
    """Sets a cookie that stands for the token until the service ends, for what a browser fetches by itself."""
    tokens = cast(Tokens, request.app.state.tokens)
    if not tokens.asked:
        return
    if not tokens.is_right(given.token):
        raise HTTPException(401, "token: that is not the one this service was started with")
    # Behind a proxy that has the certificate, the page's own address alone tells.
    secure = request.headers.get("origin", "").startswith("https://")
    response.set_cookie(COOKIE, tokens.session, httponly=True, samesite="strict", secure=secure, path="/")
