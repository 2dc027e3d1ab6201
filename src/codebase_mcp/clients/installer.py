"""Plans and makes the edits of all files of all clients."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from codebase_mcp.clients import files
from codebase_mcp.clients.errors import ClientConfigError, ConfigParseError
from codebase_mcp.clients.markdown import MarkedBlock, SkillFile, usage_notes
from codebase_mcp.clients.record import Edited, Record, Undo, merged
from codebase_mcp.clients.server_entry import SERVER_NAME, Launch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from codebase_mcp.clients.catalog import Client, Scope

Part = Literal["server", "skill", "instructions"]

BOM = b"\xef\xbb\xbf"


class Editor(Protocol):
    """Edits the text of one kind of file; "" stands for a file that does not exist."""

    def install(self, text: str) -> tuple[str, Undo]: ...

    def uninstall(self, text: str, undo: Undo) -> str: ...


@dataclass(frozen=True)
class Target:
    """One file to edit, for one client or for several that share it."""

    part: Part
    path: Path
    editor: Editor
    clients: tuple[Client, ...]
    is_private: bool = False
    lock: Path | None = None

    @property
    def titles(self) -> str:
        return ", ".join(client.title for client in self.clients)


@dataclass(frozen=True)
class Change:
    """What an edit would make of a file. None stands for no file; with a `problem`, nothing is done."""

    target: Target
    before: bytes | None = None
    after: bytes | None = None
    problem: str = ""

    @property
    def is_needed(self) -> bool:
        return not self.problem and self.before != self.after


@dataclass(frozen=True)
class Workplace:
    """Whose files are edited: of the user and of one project, by a command that is started in a certain way."""

    known: Sequence[Client]
    project: Path
    record: Record
    launch: Launch = field(default_factory=lambda: Launch(SERVER_NAME))

    def targets(self, clients: Iterable[Client], scope: Scope, part: Part) -> list[Target]:
        """The files to edit, each once however many paths or clients lead to it."""
        found: dict[str, Target] = {}
        for client in clients:
            for target in self._targets_of(client, scope, part):
                real = os.path.realpath(target.path)
                shared = found.get(real)
                found[real] = target if shared is None else _with_clients(shared, target.clients)
        return list(found.values())

    def plan_install(self, clients: Iterable[Client], scope: Scope, part: Part) -> list[Change]:
        return [self._planned(target, scope) for target in self.targets(clients, scope, part)]

    def install(self, change: Change, *, before_rename: Callable[[], None] = lambda: None) -> None:
        """Edit the file as it is now, and remember how to undo that."""
        target, outcome = change.target, _Outcome()
        files.check_writable(self.record.path)

        def edit(content: bytes | None) -> bytes | None:
            outcome.was_missing = content is None
            after, outcome.undo = _installed(target, content)
            return after

        made = files.rewrite(
            target.path, edit, is_private=target.is_private, lock=target.lock, before_rename=before_rename
        )
        self.record.change(lambda edited: _remember(edited, target, outcome), made)

    def join(self, change: Change) -> None:
        """Count the clients among the users of a shared file that needs no edit: it stays as long as they do."""
        edited = self.record.edited.get(str(change.target.path))
        ids = [client.id for client in change.target.clients]
        if edited is not None and not set(ids) <= set(edited.clients):
            self.record.change(lambda all_edited: _add_clients(all_edited[str(change.target.path)], ids))

    def plan_uninstall(self, clients: Sequence[Client], scope: Scope | None) -> list[Change]:
        """The edits that remove everything of the clients: from the files of the scope, or from the user's files and
        all others that were ever edited."""
        parts: tuple[Part, ...] = ("server", "skill", "instructions")
        targets = [target for part in parts for target in self._removable(clients, scope or "user", part)]
        if scope is None:
            paths = {str(target.path) for target in targets}
            targets += [target for target in self._recorded(clients) if str(target.path) not in paths]
        return [change for target in targets if (change := self._planned_removal(target, clients)) is not None]

    def uninstall(self, change: Change, clients: Sequence[Client]) -> None:
        """Undo the edit in the file as it is now; what others still use stays."""
        target = change.target
        edited = self.record.edited.get(str(target.path))
        if change.is_needed:
            files.rewrite(target.path, lambda content: _uninstalled(target, content, edited), lock=target.lock)
        own = [target.path.parent] if target.part == "skill" else []
        files.remove_empty([*own, *self.record.folders])
        if edited is not None:
            self.record.change(lambda all_edited: _forget(all_edited, target, clients))

    def _targets_of(self, client: Client, scope: Scope, part: Part) -> list[Target]:
        places = client.files(scope, self.project)
        is_private = scope == "user"
        if part == "server":
            lock = client.user_config_lock if scope == "user" else None
            return [Target(part, places.config, client.entry(self.launch), (client,), is_private, lock)]
        if part == "skill":
            skill = places.skills / SERVER_NAME / "SKILL.md"
            return [Target(part, skill, SkillFile(usage_notes()), (client,))]
        instructions = places.instructions_to_edit
        return [] if instructions is None else [Target(part, instructions, MarkedBlock(usage_notes()), (client,))]

    def _planned(self, target: Target, scope: Scope) -> Change:
        before: bytes | None = None
        try:
            before = files.read(target.path)
            after, _ = _installed(target, before)
            if after != before:
                files.check_writable(target.path)
            if before is None and target.part == "instructions":
                self._check_hides_nothing(target.path, scope)
        except ClientConfigError as error:
            return Change(target, before, before, _located(target, error))
        return Change(target, before, after)

    def _check_hides_nothing(self, path: Path, scope: Scope) -> None:
        """Prevents: a new AGENTS.md that keeps a client from reading the CLAUDE.md that it read so far."""
        for client in self.known:
            order = client.files(scope, self.project).instructions
            behind = order[order.index(path) + 1 :] if path in order else ()
            hidden = next((other for other in behind if other.exists()), None)
            if hidden is not None and client.is_installed:
                raise ClientConfigError(f"not created, because {client.title} would then no longer read {hidden}")

    def _removable(self, clients: Sequence[Client], scope: Scope, part: Part) -> list[Target]:
        if part != "instructions":
            return self.targets(clients, scope, part)
        found: dict[str, Target] = {}
        for client in clients:
            for path in client.files(scope, self.project).instructions:
                target = Target(part, path, MarkedBlock(usage_notes()), (client,))
                real = os.path.realpath(path)
                found[real] = _with_clients(found[real], (client,)) if real in found else target
        return list(found.values())

    def _recorded(self, clients: Sequence[Client]) -> list[Target]:
        by_id = {client.id: client for client in clients}
        found = []
        for name, edited in self.record.edited.items():
            users = tuple(by_id[id_] for id_ in edited.clients if id_ in by_id)
            if users:
                found.append(_recorded_target(name, edited, users))
        return found

    def _planned_removal(self, target: Target, clients: Sequence[Client]) -> Change | None:
        """None when there is nothing of ours in the file."""
        edited = self.record.edited.get(str(target.path))
        before: bytes | None = None
        try:
            before = files.read(target.path)
            if edited is None and (before is None or SERVER_NAME.encode() not in before):
                return None
            after = before if self._others(target, clients) else _uninstalled(target, before, edited)
            if after != before:
                files.check_writable(target.path)
        except ClientConfigError as error:
            if edited is None and before is None:
                return None
            return Change(target, before, before, _located(target, error))
        if after == before and edited is None:
            return None
        return Change(_limited(target, edited), before, after)

    def _others(self, target: Target, clients: Sequence[Client]) -> set[str]:
        """Who still uses a file that several share."""
        edited = self.record.edited.get(str(target.path))
        return set() if edited is None else set(edited.clients) - {client.id for client in clients}


@dataclass
class _Outcome:
    was_missing: bool = False
    undo: Undo = field(default_factory=dict)


def _limited(target: Target, edited: Edited | None) -> Target:
    """The target for those of its clients that the file was edited for, as far as that is known."""
    users = tuple(client for client in target.clients if edited is not None and client.id in edited.clients)
    return replace(target, clients=users) if users else target


def _with_clients(target: Target, clients: tuple[Client, ...]) -> Target:
    more = tuple(client for client in clients if client not in target.clients)
    return replace(target, clients=target.clients + more)


def _recorded_target(name: str, edited: Edited, users: tuple[Client, ...]) -> Target:
    editors: dict[str, Editor] = {
        "server": users[0].entry(Launch(SERVER_NAME)),
        "skill": SkillFile(usage_notes()),
        "instructions": MarkedBlock(usage_notes()),
    }
    lock = users[0].user_config_lock if users[0].user.config == Path(name) else None
    return Target(edited.part, Path(name), editors[edited.part], users, lock=lock)


def _installed(target: Target, content: bytes | None) -> tuple[bytes | None, Undo]:
    bom, text = _decoded(content)
    after, undo = target.editor.install(text)
    return (content, {}) if after == text and content is not None else (bom + after.encode(), undo)


def _uninstalled(target: Target, content: bytes | None, edited: Edited | None) -> bytes | None:
    """The content without what is ours; None when that leaves nothing of a file that we made."""
    if content is None:
        return None
    bom, text = _decoded(content)
    after = target.editor.uninstall(text, {} if edited is None else edited.undo)
    is_our_file = target.part == "skill" or (edited is not None and edited.created_file)
    if is_our_file and _holds_nothing(after) and not target.path.is_symlink():
        return None
    return bom + after.encode()


def _holds_nothing(text: str) -> bool:
    """Also with the address of its schema, which opencode adds by itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return not text.strip()
    return isinstance(value, dict) and value.keys() <= {"$schema"}


def _decoded(content: bytes | None) -> tuple[bytes, str]:
    content = content or b""
    bom = BOM if content.startswith(BOM) else b""
    try:
        return bom, content[len(bom) :].decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigParseError("not UTF-8", line, error.start - content.rfind(b"\n", 0, error.start)) from None


def _located(target: Target, error: ClientConfigError) -> str:
    """The complaint with the path, once."""
    path = str(target.path)
    return error.message if path in error.message else f"{path}: {error.message}"


def _remember(all_edited: dict[str, Edited], target: Target, outcome: _Outcome) -> None:
    edited = all_edited.setdefault(str(target.path), Edited(target.part))
    _add_clients(edited, [client.id for client in target.clients])
    edited.created_file = edited.created_file or outcome.was_missing
    edited.undo = merged(edited.undo, outcome.undo)


def _add_clients(edited: Edited, ids: Iterable[str]) -> None:
    edited.clients = sorted({*edited.clients, *ids})


def _forget(all_edited: dict[str, Edited], target: Target, clients: Sequence[Client]) -> None:
    edited = all_edited.get(str(target.path))
    if edited is None:
        return
    edited.clients = sorted(set(edited.clients) - {client.id for client in clients})
    if not edited.clients:
        del all_edited[str(target.path)]
