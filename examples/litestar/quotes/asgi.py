"""Quotes by number."""

from litestar import Litestar, get
from litestar.exceptions import NotFoundException

QUOTES = ["Simple is better than complex.", "Readability counts."]


@get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@get("/quotes/{number:int}")
async def quote(number: int) -> dict[str, str]:
    if not 0 <= number < len(QUOTES):
        raise NotFoundException("no such quote")
    return {"text": QUOTES[number]}


app = Litestar([health, quote])
