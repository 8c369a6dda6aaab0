"""The stages in the order in which a compilation advances them."""

from feedback_platform.stages.attribution import attribution
from feedback_platform.stages.candidates import candidates
from feedback_platform.stages.enrichment import enrichment
from feedback_platform.stages.resolution import resolution
from feedback_platform.stages.sampling import dataset, lifecycle, sampling
from feedback_platform.stages.stage import Stage
from feedback_platform.stages.validation import validation


def stages() -> tuple[Stage, ...]:
    """All stages of a dataset whose state is a table, upstream first."""
    return (
        attribution(), validation(), enrichment(), resolution(), lifecycle(), candidates(), sampling(), dataset(),
    )  # fmt: skip
