"""A process that appends to a log and prints each receipt once it has it: `log_writer.py PATH NAME COUNT BATCH`."""

import sys
from datetime import UTC, datetime
from pathlib import Path

from feedback_platform.intake.log import Receipt, Record
from feedback_platform.intake.sqlite_log import open_log


def main(path: str, name: str, count: str, batch: str) -> None:
    log = open_log(Path(path))
    for start in range(0, int(count), int(batch)):
        ids = [f"{name}-{n}" for n in range(start, min(start + int(batch), int(count)))]
        records = [Record(i, i.encode(), b'{"id":"%s"}' % i.encode(), datetime.now(UTC)) for i in ids]
        for answer in log.append("inference", records):
            if isinstance(answer, Receipt):
                sys.stdout.write(f"{answer.id} {answer.log_seq}\n")
        sys.stdout.flush()
    log.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
