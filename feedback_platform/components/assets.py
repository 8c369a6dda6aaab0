"""The assets of one dataset: a table each, and the publication that ends a window: read, call, commit, report."""

import dagster as dg

from feedback_platform.compile.steps import advance_step, publish_step, table_inputs
from feedback_platform.compile.window import current_semantics
from feedback_platform.components.metadata import (
    OWNERS,
    TABLE_KINDS,
    column_lineage,
    column_schema,
    table_metadata,
    version_metadata,
)
from feedback_platform.components.platform import Platform
from feedback_platform.contracts.policies import DatasetPolicy
from feedback_platform.contracts.raw_tables import RAW_TABLES
from feedback_platform.contracts.stage_tables import STAGE_TABLES
from feedback_platform.contracts.table import TableContract

PUBLICATION = "dataset_manifests"
LAST_TABLES = ("sampled_dataset", "bias_report", "feedback_events")  # every other table is upstream of one of them
TRIGGER_TAG = "feedback_platform/trigger"
_CONTRACTS = {c.name: c for c in (*RAW_TABLES, *STAGE_TABLES)}


def asset_key(dataset: str, table: str) -> dg.AssetKey:
    """Tables of a dataset lie below its name, shared ones at the top."""
    shared = table in _CONTRACTS and _CONTRACTS[table].scope == "shared"
    return dg.AssetKey([table] if shared else [dataset, table])


def table_asset(policy: DatasetPolicy, contract: TableContract) -> dg.AssetsDefinition:
    """The asset that means: this table, advanced to the open window."""
    inputs = [(asset_key(policy.name, name), _CONTRACTS[name]) for name in table_inputs()[contract.name]]

    @dg.asset(
        key=asset_key(policy.name, contract.name),
        deps=[key for key, _ in inputs],
        description=contract.description,
        group_name=policy.name,
        kinds=set(TABLE_KINDS),
        owners=list(OWNERS),
        code_version=str(current_semantics().get(contract.name, 1)),
        metadata={
            "dagster/column_schema": column_schema(contract),
            "dagster/column_lineage": column_lineage(contract, inputs),
            "dagster/table_name": f"{policy.name}.{contract.name}",
        },
    )
    def advance(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:  # type: ignore[type-arg]
        compiler = platform.compiler(policy)
        result = advance_step(compiler, contract.name, trigger=context.run.tags.get(TRIGGER_TAG, "manual"))
        context.log.info(f"{policy.name}/{contract.name}: {result.note}")
        table = compiler.lake.table(contract.name, policy.name)
        lineage = {"dagster/column_lineage": column_lineage(contract, inputs)}
        return dg.MaterializeResult(metadata={**table_metadata(result, table), **lineage})

    return advance


def publication_asset(policy: DatasetPolicy) -> dg.AssetsDefinition:
    """The asset that gives the window its version, once every table is there and no blocking check objects."""

    @dg.asset(
        key=asset_key(policy.name, PUBLICATION),
        deps=[asset_key(policy.name, name) for name in LAST_TABLES],
        description="The versions of the dataset, each with its cuts, hashes, ledger and row counts. "
        "Materializing it publishes the open window; exports, report and warehouse follow from it.",
        group_name=policy.name,
        kinds={"json", "parquet"},
        owners=list(OWNERS),
        code_version="1",
    )
    def publish(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:  # type: ignore[type-arg]
        from feedback_platform.outputs import after_publication, default_outputs

        compiler = platform.compiler(policy)
        result = publish_step(compiler, default_outputs(compiler.settings, policy))
        if compiler.store.last_closed() is not None:
            after_publication(compiler)  # also when a run died between publishing and this
        context.log.info(f"{policy.name}: {result.note}")
        return dg.MaterializeResult(metadata=version_metadata(result))

    return publish
