"""Alembic's entry: everything is in `common.migrate`."""

from common.migrate import run

run()
