"""Compile feedback and inference logs into versioned training datasets. Here: the version, and `load_dataset`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

__version__ = "0.1.0"


def load_dataset(
    name: str,
    version: int | None = None,
    since: int | None = None,
    objective: str | None = None,
    settings: Any = None,
) -> "pl.LazyFrame":
    """A published version of a dataset as a lazy frame, in `example_id` order; rows are streamed when it is collected.

    Args:
        name: the dataset.
        version: its version; the newest that is not yanked for None.
        since: an earlier version: only what changed after it, one row per example, with `change` (add, update, remove)
            and `change_reason`; a removed example's row is as it last stood.
        objective: only that objective, in its trainers' columns (`prompt` and the answers are JSON text; a classifier's
            features are typed `f_*` columns). All columns of `sampled_dataset` for None.
        settings: a `feedback_platform.settings.Settings`, which says where state lives; from the environment for None.

    Raises:
        NotFoundError: no such dataset or version.
        ConfigError: no such objective.
    """
    from feedback_platform.compile import reading

    return reading.load_dataset(name, version, since, objective, settings)
