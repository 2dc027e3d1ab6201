"""Which repositories a request is about: those it names, those its paths lead into, or the one around its caller."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codebase_mcp.complaints import nearest
from codebase_mcp.errors import InvalidInputError, RepositoryNotFoundError
from codebase_mcp.lenient import is_absent, is_everything, local_path, real_path
from codebase_mcp.search.globs import absolute_directories, is_within

if TYPE_CHECKING:
    from codebase_mcp.search.models import SearchRequest
    from codebase_mcp.storage.project_state import UnfinishedJob
    from codebase_mcp.storage.projects import Repository

NAMED_AT_MOST = 10
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


@dataclass(frozen=True, slots=True)
class Choices:
    """What a project has to select from: its repositories, and the first jobs of those that have no index yet."""

    repositories: Sequence[Repository]
    first_jobs: Sequence[UnfinishedJob]

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
        """Those with this id, path or name, of which several may have one; a relative path counts from `here`."""
        text = wanted.strip()
        if "\0" in text:
            raise InvalidInputError("repository contains a NUL character. Give its name, path or id.")
        path = _absolute(text, here)
        name = text.rstrip("/").casefold()
        return (
            self._where(lambda own_path, own_name, own_id: text in (own_id, own_path, own_name))
            or self._where(lambda own_path, _name, _id: path is not None and own_path == real_path(path))
            or self._where(lambda _path, own_name, _id: own_name.casefold() == name)
        )

    def containing(self, path: str, why: str) -> Selection:
        """The innermost repository around an absolute path; `why` is told when there are others."""
        found = self._innermost([path, real_path(path)])
        return Selection(found.repositories, found.first_jobs, self._note(found, why)) if found else found

    def not_found(self, wanted: str) -> RepositoryNotFoundError:
        shown = [f"{item.name} ({item.path})" for item in self.repositories[:NAMED_AT_MOST]]
        others = len(self.repositories) - len(shown)
        indexed = ", ".join(shown) + (f" and {others} more" if others else "") or "none yet"
        like = nearest(os.path.basename(wanted.rstrip("/")), {item.name for item in self.repositories})
        hint = f" Did you mean {like!r}?" if like else ""
        return RepositoryNotFoundError(
            f"Repository {wanted[:200]!r} is not in this project.{hint} Indexed are: {indexed}. Index it first: "
            "start_indexing_background with its absolute path, or `codebase-mcp index PATH`."
        )

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
        paths = {item.path for one in found for item in one.repositories}
        paths |= {job.repo_path for one in found for job in one.first_jobs}
        return self._where(lambda path, _name, _id: path in paths)

    def _of_location(self, here: str | None) -> Selection:
        """What has an index or gets one: a first job that ended without any does not count."""
        if here is None:
            return _NONE
        under_way = Choices(self.repositories, [job for job in self.first_jobs if job.is_active])
        found = under_way._innermost([here])
        note = self._note(found, "working directory")
        return Selection(found.repositories, found.first_jobs, note, is_by_location=True) if found else found

    def _innermost(self, paths: Iterable[str]) -> Selection:
        wanted = list(paths)
        around = [path for path in self._paths() if any(is_within(one, path) for one in wanted)]
        best = max(around, key=len, default=None)
        return self._where(lambda path, _name, _id: path == best)

    def _paths(self) -> list[str]:
        return [*(item.path for item in self.repositories), *(job.repo_path for job in self.first_jobs)]

    def _where(self, test: _Test) -> Selection:
        repositories = [item for item in self.repositories if test(item.path, item.name, str(item.id))]
        return Selection(repositories, [job for job in self.first_jobs if test(job.repo_path, job.repo_name, None)])

    def _note(self, chosen: Selection, why: str) -> str | None:
        count = len(self._paths())
        names = [*(item.name for item in chosen.repositories), *(job.repo_name for job in chosen.first_jobs)]
        return f'Searched only {", ".join(names)} ({why}); repository="*" searches all {count}.' if count > 1 else None


_NONE = Selection([], [])


def choices_of(repositories: Sequence[Repository], jobs: Iterable[UnfinishedJob]) -> Choices:
    """Of the jobs only those of repositories without an index count."""
    indexed = {item.path for item in repositories}
    return Choices(repositories, [job for job in jobs if job.repo_path not in indexed])


def _absolute(text: str, here: str | None) -> str | None:
    """The path that a text may be; None for no text, and for a relative path of a caller who is nowhere."""
    path = local_path(text)
    if os.path.isabs(path):
        return path
    return os.path.join(here, path) if here is not None and path else None
