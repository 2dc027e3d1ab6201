from __future__ import annotations

import json
import logging
import multiprocessing
import os
from typing import TYPE_CHECKING, Any

import pytest

from codebase_mcp.logs import SharedFileHandler, configure_logging, current_log_file, get_logger, log_file, log_incident
from codebase_mcp.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _logging_is_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)
    logging.getLogger("codebase_mcp").setLevel(logging.NOTSET)


def settings_in(folder: Path, **values: Any) -> Settings:
    return Settings(data_dir=folder, **values)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def raised(error: Exception) -> Exception:
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def test_a_record_is_one_json_line_with_its_facts(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    configure_logging(settings, "serve")

    get_logger("codebase_mcp.jobs.worker").info("job claimed", job_id="7", files=3)

    (line,) = lines_of(log_file(settings, "serve"))
    assert line["event"] == "job claimed"
    assert line["job_id"] == "7"
    assert line["files"] == 3
    assert line["level"] == "info"
    assert line["logger"] == "codebase_mcp.jobs.worker"
    assert line["role"] == "serve"
    assert line["pid"] == os.getpid()
    assert line["timestamp"].endswith("Z")


def test_each_role_has_a_file_of_its_own(tmp_path: Path) -> None:
    configure_logging(settings_in(tmp_path), "worker")
    get_logger("worker").info("here")
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["worker.log"]


def test_lines_below_the_chosen_level_are_not_written(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, log_level="warning")
    configure_logging(settings, "cli")
    get_logger("cli").info("quiet")
    get_logger("cli").warning("loud")
    assert [line["event"] for line in lines_of(log_file(settings, "cli"))] == ["loud"]


@pytest.mark.parametrize(("level", "expected"), [("info", []), ("debug", ["library talk"])])
def test_libraries_are_heard_only_when_debugging(tmp_path: Path, level: str, expected: list[str]) -> None:
    settings = settings_in(tmp_path, log_level=level)
    configure_logging(settings, "cli")
    logging.getLogger("somebody.else").info("library %s", "talk")
    path = log_file(settings, "cli")
    assert ([line["event"] for line in lines_of(path)] if path.exists() else []) == expected


def test_configuring_twice_does_not_write_twice(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    configure_logging(settings, "cli")
    configure_logging(settings, "cli")
    get_logger("cli").info("once")
    assert len(lines_of(log_file(settings, "cli"))) == 1


def test_the_log_goes_to_stderr_only_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(settings_in(tmp_path), "cli")
    get_logger("cli").info("not here")
    configure_logging(settings_in(tmp_path, log_to_stderr=True), "cli")
    get_logger("cli").info("here too")
    captured = capsys.readouterr()
    assert "not here" not in captured.err
    assert json.loads(captured.err)["event"] == "here too"
    assert captured.out == ""


def test_the_database_password_never_reaches_the_log(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, database_url="postgresql://me:hunt%22er2@db.example/index")
    configure_logging(settings, "cli")
    logger = get_logger("cli")

    logger.info("connecting", url="postgresql+asyncpg://me:hunt%22er2@db.example/index")
    logger.info('password is hunt"er2 here')
    logger.info("another", url="postgresql://someone:other-secret@host/x")
    log_incident(raised(ConnectionError('refused for hunt"er2')), "connection failed")

    text = log_file(settings, "cli").read_text()
    assert "hunt" not in text
    assert "other-secret" not in text
    assert "postgresql://someone:***@host/x" in text
    assert "db.example" in text


def test_a_malformed_database_url_does_not_stop_logging(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, database_url="postgresql://[half/index")
    configure_logging(settings, "cli")
    get_logger("cli").info("still here")
    assert lines_of(log_file(settings, "cli"))[0]["event"] == "still here"


def test_an_incident_is_found_by_its_id_with_the_traceback(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    configure_logging(settings, "serve")
    incident = log_incident(raised(KeyError("surprise")), "tool failed", tool="search_code")

    (line,) = lines_of(log_file(settings, "serve"))
    assert line["incident"] == incident
    assert line["tool"] == "search_code"
    assert "Traceback" in line["exception"]
    assert "surprise" in line["exception"]


def test_an_unwritable_directory_is_reported_once_and_survived(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    configure_logging(settings_in(tmp_path), "cli")
    get_logger("cli").info("one")
    get_logger("cli").info("two")
    complaint = capsys.readouterr().err
    assert complaint.count("cannot write the log") == 1
    assert str(tmp_path / "logs" / "cli.log") in complaint


def test_a_value_json_does_not_know_is_written_as_text(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    configure_logging(settings, "cli")
    get_logger("cli").info("path", path=tmp_path)
    assert lines_of(log_file(settings, "cli"))[0]["path"] == str(tmp_path)


def handler_at(path: Path, **limits: int) -> SharedFileHandler:
    handler = SharedFileHandler(path, **limits)
    handler.setFormatter(logging.Formatter("%(message)s"))
    return handler


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("test", logging.INFO, __file__, 1, message, None, None)


def test_a_full_file_is_moved_aside_and_only_so_many_are_kept(tmp_path: Path) -> None:
    handler = handler_at(tmp_path / "x.log", max_bytes=100, kept_files=2)
    for number in range(20):
        handler.handle(record(f"{number:02d} " + "x" * 40))
    handler.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["x.log", "x.log.1", "x.log.2", "x.log.lock"]
    kept = [line[:2] for name in ("x.log.2", "x.log.1", "x.log") for line in (tmp_path / name).read_text().splitlines()]
    assert kept == [f"{number:02d}" for number in range(14, 20)]
    assert all((tmp_path / name).stat().st_size <= 100 for name in ("x.log", "x.log.1", "x.log.2"))


def test_a_file_removed_by_somebody_is_made_anew(tmp_path: Path) -> None:
    handler = handler_at(tmp_path / "x.log")
    handler.handle(record("before"))
    (tmp_path / "x.log").unlink()
    handler.handle(record("after"))
    handler.close()
    assert (tmp_path / "x.log").read_text() == "after\n"


def _write_many(path: Path, writer: int, lines: int) -> None:
    handler = handler_at(path, max_bytes=20_000, kept_files=50)
    for number in range(lines):
        handler.handle(record(f"{writer} {number} " + "y" * 60))
    handler.close()


def test_processes_that_rotate_the_same_file_lose_and_tear_no_line(tmp_path: Path) -> None:
    path = tmp_path / "shared.log"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(path, writer, 500)) for writer in range(3)]
    for process in writers:
        process.start()
    for process in writers:
        process.join(60)
    assert [process.exitcode for process in writers] == [0, 0, 0]

    files = [file for file in tmp_path.iterdir() if file.suffix != ".lock"]
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert len(files) > 3
    assert all(line.endswith(" " + "y" * 60) for line in lines)
    assert {tuple(map(int, line.split()[:2])) for line in lines} == {(w, n) for w in range(3) for n in range(500)}
    assert len(lines) == 1500


def test_the_log_file_of_the_process_is_known(tmp_path: Path) -> None:
    assert current_log_file() is None
    settings = settings_in(tmp_path)
    configure_logging(settings, "worker")
    assert current_log_file() == log_file(settings, "worker")


def test_logging_before_the_set_up_stays_off_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    get_logger("early").info("nobody listens")
    assert capsys.readouterr().out == ""


def test_a_new_data_directory_is_private(tmp_path: Path) -> None:
    configure_logging(settings_in(tmp_path / "data"), "cli")
    get_logger("cli").info("first")
    assert (tmp_path / "data").stat().st_mode & 0o066 == 0
    assert (tmp_path / "data" / "logs" / "cli.log").stat().st_mode & 0o777 == 0o600
