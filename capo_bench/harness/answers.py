"""The answers that lm_eval keeps with `--use_cache`, each held twice, so that none can change unseen.

lm_eval keeps them in a SQLite file and takes what it finds there for what the model said. SQLite has
no digests, but triggers: one copies each answer as it is kept, in the same transaction, so that also
a run that was killed leaves both. An answer whose copy is not the same is asked for again.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from capo_bench.files import writing

_KEPT, _COPY = "unnamed", "capo_bench_copy"  # the first is sqlitedict's name
_SCHEMA = (
    f'CREATE TABLE "{_KEPT}" (key TEXT PRIMARY KEY, value BLOB)',
    f'CREATE TABLE "{_COPY}" (key TEXT PRIMARY KEY, value BLOB)',
    f'CREATE TRIGGER capo_bench_copies AFTER INSERT ON "{_KEPT}" '
    f'BEGIN REPLACE INTO "{_COPY}" VALUES (new.key, new.value); END',
)


def sound_answers(file: Path) -> int:
    """Makes sure that a file of kept answers holds none that was not kept so; makes it if need be.

    Args:
        file: The SQLite file that lm_eval is about to use.

    Returns:
        How many answers were dropped, because they are damaged or were kept without a copy.

    Raises:
        CapoBenchError: If the file cannot be written.
    """
    kept: dict[bytes, bytes] = {}
    copies: dict[bytes, bytes] = {}
    whole = False
    if file.exists():
        with suppress(sqlite3.Error), closing(sqlite3.connect(file)) as base:
            base.text_factory = bytes
            for table, rows in ((_KEPT, kept), (_COPY, copies)):
                # By the table alone: an index that is damaged could lead to another's answer.
                rows_of = f'SELECT key, value FROM "{table}" NOT INDEXED'
                for key, value in base.execute(f"{rows_of} WHERE typeof(key) = 'text'"):
                    rows[key] = value
            made = {sql.decode() for (sql,) in base.execute("SELECT sql FROM sqlite_master") if sql}
            whole = made == set(_SCHEMA) and base.execute("PRAGMA integrity_check").fetchall() == [
                (b"ok",)
            ]
    sound = {key: value for key, value in kept.items() if copies.get(key) == value}
    if whole and len(sound) == len(kept) == len(copies):
        return 0
    with writing(file) as partial:
        with closing(sqlite3.connect(partial)) as base:
            for statement in _SCHEMA:
                base.execute(statement)
            found = [(key.decode(errors="backslashreplace"), v) for key, v in sound.items()]
            base.executemany(f'INSERT INTO "{_KEPT}" VALUES (?, ?)', found)
            base.commit()
        file.with_name(f"{file.name}-journal").unlink(missing_ok=True)  # of what is replaced
    return max(len(kept), len(copies)) - len(sound)
