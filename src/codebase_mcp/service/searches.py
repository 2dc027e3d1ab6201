"""The searches of one process: they share what is held in memory of each repository."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from codebase_mcp.search.catalogue import Catalogue
from codebase_mcp.search.related import RelatedService
from codebase_mcp.search.service import SearchService
from codebase_mcp.search.symbols import SymbolService

if TYPE_CHECKING:
    from codebase_mcp.indexing.embed import Embedder
    from codebase_mcp.storage.database import Database


@dataclass(frozen=True, slots=True)
class Searches:
    code: SearchService
    symbols: SymbolService
    related: RelatedService


def open_searches(database: Database, embedder: Embedder) -> Searches:
    catalogue = Catalogue()
    return Searches(
        code=SearchService(database, embedder, catalogue=catalogue),
        symbols=SymbolService(database, embedder, catalogue),
        related=RelatedService(database, embedder, catalogue),
    )
