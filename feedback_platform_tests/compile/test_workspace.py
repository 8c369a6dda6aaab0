"""Writing a window's tables: what is left behind when a table has nothing to write."""

from pathlib import Path

from feedback_platform.compile.workspace import LakeWorkspace
from feedback_platform.lake.staging import MARK
from feedback_platform.lake.store import Lake


def test_a_table_without_changes_is_at_the_window_and_stages_nothing(tmp_path: Path) -> None:
    work = LakeWorkspace(Lake(tmp_path), "d", 1)
    work.write("attributed_pairs", lambda part: 0)
    assert work.is_done("attributed_pairs")
    assert not work.now("attributed_pairs")
    assert not list(tmp_path.rglob(MARK)), "a folder stays locked, with its handle, until the process ends"
