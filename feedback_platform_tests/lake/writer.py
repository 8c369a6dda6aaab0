"""A process that commits: `python -m feedback_platform_tests.lake.writer FOLDER APP LAST [seconds]`.

Takes up where the table says that APP stopped and says `ack N` for each commit that it was told is durable.
"""

import sys
from itertools import count
from pathlib import Path

from feedback_platform_tests.lake.things import add, open_things


def main(folder: str, app: str, last: str) -> None:
    table = open_things(Path(folder))
    first = (table.transaction(app) or 0) + 1
    for txn in count(first):
        if txn > int(last):
            return
        add(table, txn, expected(app, txn), app=app, prefix=f"{app}{txn}")
        sys.stdout.write(f"ack {txn}\n")
        sys.stdout.flush()


def expected(app: str, txn: int) -> list[str]:
    """The ids that commit `txn` of `app` adds."""
    return [f"{app}-{txn}-{i}" for i in range(3)]


def expected_upto(app: str, last: int) -> list[str]:
    """The ids of all commits of `app` up to `last`, sorted."""
    return sorted(i for txn in range(1, last + 1) for i in expected(app, txn))


if __name__ == "__main__":
    main(*sys.argv[1:])
