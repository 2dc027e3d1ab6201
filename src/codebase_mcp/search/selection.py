"""Which repositories a request is about: those it names, those its paths lead into, or the one around its caller."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from codebase_mcp.complaints import nearest
from codebase_mcp.domain import Host, host_label
from codebase_mcp.errors import InvalidInputError, RepositoryNotFoundError
from codebase_mcp.lenient import is_absent, is_everything, local_path, real_path
from codebase_mcp.search.globs import absolute_directories, is_within
from codebase_mcp.storage import projects

if TYPE_CHECKING:
    from codebase_mcp.search.models import SearchRequest
    from codebase_mcp.storage.project_state import UnfinishedJob
    from codebase_mcp.storage.projects import Repository

NAMED_AT_MOST = 10
_Item: TypeAlias = "Repository | UnfinishedJob"
_Test = Callable[[str, str, "str | None"], bool]
"""Of a path, a name and an id."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Repositories with an index, and first jobs of those without. `note` says so when they are not all there are."""

    repositories: list[Repository]
    first_jobs: list[UnfinishedJob]
    note: str | None = None
    is_by_location: bool = False
    """Chosen because the caller works there, not by anything in the request."""

    def __bool__(self) -> bool:
        return bool(self.repositories or self.first_jobs)

    @property
    def items(self) -> list[_Item]:
        return [*self.repositories, *self.first_jobs]


@dataclass(frozen=True, slots=True)
class Choices:
    """What a project has to select from: its repositories, and the first jobs of those that have no index yet."""

    repositories: Sequence[Repository]
    first_jobs: Sequence[UnfinishedJob]
    host: Host | None = None
    """Whose directories and paths the caller speaks of."""

    def everything(self) -> Selection:
        return Selection(list(self.repositories), list(self.first_jobs))

    def for_request(self, request: SearchRequest) -> Selection:
        """RepositoryNotFoundError says what there is when the named repository is not among it."""
        if request.repository is not None:
            text = str(request.repository)
            if chosen := self.named(text, request.here) or self._around(text, request.here):
                return chosen
            if not is_absent(text):
                raise self.not_found(text)
            if is_everything(text):
                return self.everything()
        return self._of_glob(request.path_glob) or self._of_location(request.here) or self.everything()

    def named(self, wanted: str, here: str | None) -> Selection:
        """Those with this id, path or name, of which several may have one; a relative path counts from `here`.

        Of those at one path on several hosts, the caller's own.
        """
        text = wanted.strip()
        if "\0" in text:
            raise InvalidInputError("repository contains a NUL character. Give its name, path or id.")
        path = _absolute(text, here)
        name = text.rstrip("/").casefold()
        return self._own_first(
            self._where(lambda own_path, own_name, own_id: text in (own_id, own_path, own_name))
            or self._where(lambda own_path, _name, _id: path is not None and own_path == real_path(path))
            or self._where(lambda _path, own_name, _id: own_name.casefold() == name)
        )

    def containing(self, path: str, why: str) -> Selection:
        """The innermost repository around an absolute path; `why` is told when there are others."""
        found = self._innermost([path, real_path(path)])
        return replace(found, note=_joined(found.note, self._note(found, why))) if found else found

    def not_found(self, wanted: str) -> RepositoryNotFoundError:
        shown = [f"{item.name} ({self.shown_place(item)})" for item in self.repositories[:NAMED_AT_MOST]]
        others = len(self.repositories) - len(shown)
        indexed = ", ".join(shown) + (f" and {others} more" if others else "") or "none yet"
        like = nearest(os.path.basename(wanted.rstrip("/")), {item.name for item in self.repositories})
        hint = f" Did you mean {like!r}?" if like else ""
        return RepositoryNotFoundError(
            f"Repository {wanted[:200]!r} is not in this project.{hint} Indexed are: {indexed}. Index it first: "
            "start_indexing_background with its absolute path, or `codebase-mcp index PATH`."
        )

    def shown_place(self, item: _Item) -> str:
        """The path, with the host when that is another one."""
        elsewhere = host_label(item.host_id, item.host_name, self.host)
        return item.place[1] if elsewhere is None else f"{item.place[1]} on {elsewhere}"

    def _around(self, text: str, here: str | None) -> Selection:
        """The repository that a path leads into. A relative one must exist: it may be a name that nothing has."""
        path = _absolute(text, here)
        if path is None or not (os.path.isabs(local_path(text)) or os.path.lexists(path)):
            return _NONE
        return self._innermost([real_path(path)]) or self._innermost([os.path.normpath(path)])

    def _of_glob(self, glob: str | None) -> Selection:
        """The repositories that the alternatives of an absolute glob lead into; none unless each of them does."""
        found = [self._innermost([path]) for path in absolute_directories(glob)] if glob is not None else []
        if not all(found):
            return _NONE
        places = {item.place for one in found for item in one.items}
        return Selection(
            [item for item in self.repositories if item.place in places],
            [job for job in self.first_jobs if job.place in places],
            _joined(*(one.note for one in found)),
        )

    def _of_location(self, here: str | None) -> Selection:
        """What has an index or gets one: a first job that ended without any does not count, nor what has the same path
        on another host."""
        if here is None:
            return _NONE
        near = Choices(
            [item for item in self.repositories if self._distance(item) < _ELSEWHERE],
            [job for job in self.first_jobs if job.is_active and self._distance(job) < _ELSEWHERE],
            self.host,
        )
        found = near._innermost([here])
        return replace(found, note=self._note(found, "working directory"), is_by_location=True) if found else found

    def _innermost(self, paths: Iterable[str]) -> Selection:
        """A path is one of the caller's host, so that what lies around it there comes before what does elsewhere."""
        wanted = list(paths)
        around = [item for item in self._items() if any(is_within(one, item.place[1]) for one in wanted)]
        best = max(around, key=lambda item: (-self._distance(item), len(item.place[1])), default=None)
        if best is None:
            return _NONE
        return self._own_first(self._where(lambda path, _name, _id: path == best.place[1]))

    def _own_first(self, found: Selection) -> Selection:
        """Without what is at the same path on a host further away."""
        items = found.items
        nearest: dict[str, int] = {}
        for item in items:
            nearest[item.place[1]] = min(self._distance(item), nearest.get(item.place[1], _ELSEWHERE))
        hidden = [item for item in items if self._distance(item) > nearest[item.place[1]]]
        if not hidden:
            return found
        return replace(
            found,
            repositories=[item for item in found.repositories if item not in hidden],
            first_jobs=[job for job in found.first_jobs if job not in hidden],
            note=self._same_path_note(hidden),
        )

    def _same_path_note(self, hidden: Sequence[_Item]) -> str:
        others = [
            self.shown_place(item) + (f' (repository="{item.id}")' if isinstance(item, projects.Repository) else "")
            for item in hidden
        ]
        return f"Not searched, because this host has a repository at the same path: {', '.join(others)}."

    def _distance(self, item: _Item) -> int:
        """0 for what is on the caller's host, 1 for what is on none that is known, 2 for any other."""
        if item.host_id == (None if self.host is None else self.host.id):
            return 0
        return 1 if item.host_id is None else _ELSEWHERE

    def _items(self) -> list[_Item]:
        return [*self.repositories, *self.first_jobs]

    def _where(self, test: _Test) -> Selection:
        repositories = [item for item in self.repositories if test(item.path, item.name, str(item.id))]
        return Selection(repositories, [job for job in self.first_jobs if test(job.repo_path, job.repo_name, None)])

    def _note(self, chosen: Selection, why: str) -> str | None:
        count = len(self._items())
        names = [*(item.name for item in chosen.repositories), *(job.repo_name for job in chosen.first_jobs)]
        return f'Searched only {", ".join(names)} ({why}); repository="*" searches all {count}.' if count > 1 else None


_NONE = Selection([], [])
_ELSEWHERE = 2


def choices_of(repositories: Sequence[Repository], jobs: Iterable[UnfinishedJob], host: Host | None = None) -> Choices:
    """Of the jobs only those of repositories without an index count."""
    indexed = {item.place for item in repositories}
    return Choices(repositories, [job for job in jobs if job.place not in indexed], host)


def _joined(*notes: str | None) -> str | None:
    return " ".join(note for note in dict.fromkeys(notes) if note) or None


def _absolute(text: str, here: str | None) -> str | None:
    """The path that a text may be; None for no text, and for a relative path of a caller who is nowhere."""
    path = local_path(text)
    if os.path.isabs(path):
        return path
    return os.path.join(here, path) if here is not None and path else None
