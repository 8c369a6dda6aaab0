"""Where tables lie: the shared tables of a tenant and the tables of each dataset, opened once per object."""

from pathlib import Path

from feedback_platform.contracts.raw_tables import RAW_TABLES
from feedback_platform.contracts.stage_tables import STAGE_TABLES
from feedback_platform.contracts.table import TableContract
from feedback_platform.lake.table import LakeTable

LANDING = "landing"
COMPILE = "compile"
ABANDON = "abandon"
_CONTRACTS = {c.name: c for c in (*RAW_TABLES, *STAGE_TABLES)}


def window_prefix(window: int) -> str:
    """Path prefix of the files that one window writes."""
    return f"w{window:06d}"


def base_prefix(window: int) -> str:
    """Path prefix of the files of a snapshot."""
    return f"s{window:06d}"


class Lake:
    """All tables of one tenant."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tables: dict[Path, LakeTable] = {}

    def table(self, name: str, dataset: str | None = None) -> LakeTable:
        """A table by name; `dataset` is needed for the tables of a dataset."""
        contract: TableContract = _CONTRACTS[name]
        folder = self.folder / name if contract.scope == "shared" else self.dataset_folder(dataset or "") / name
        if folder not in self._tables:
            self._tables[folder] = LakeTable(folder, contract)
        return self._tables[folder]

    def base_table(self, name: str, dataset: str) -> LakeTable:
        """The snapshots of a dataset's table, in a Delta table of their own."""
        folder = self.dataset_folder(dataset) / "_snapshots" / name
        if folder not in self._tables:
            self._tables[folder] = LakeTable(folder, _CONTRACTS[name])
        return self._tables[folder]

    def dataset_folder(self, dataset: str) -> Path:
        """Folder of a dataset's tables and manifests."""
        return self.folder / dataset

    def landed(self) -> tuple[int, int]:
        """Landed positions of the inference and the feedback log."""
        inference = self.table("raw_inference_logs").transaction(LANDING)
        feedback = self.table("raw_feedback").transaction(LANDING)
        return inference or 0, feedback or 0
