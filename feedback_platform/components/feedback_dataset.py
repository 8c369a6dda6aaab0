"""`FeedbackDataset`: one YAML file becomes a dataset's assets, checks, job, sensors and schedule."""

from typing import Any, Self

import dagster as dg
from pydantic import BaseModel, ConfigDict

from feedback_platform.compile.window import TABLE_NAMES
from feedback_platform.components.assets import PUBLICATION, asset_key, publication_asset, table_asset
from feedback_platform.components.checks import bias_check, contract_check, ledger_check, reproducible_check
from feedback_platform.components.drift_sensor import drift_sensor
from feedback_platform.components.sensors import compile_schedule, volume_sensor
from feedback_platform.contracts.policies import DatasetPolicy, resolve_policy
from feedback_platform.contracts.stage_tables import STAGE_TABLES

DATASET_TAG = "feedback_platform/dataset"


class Attributes(BaseModel):
    """Whatever the YAML says; `contracts.policies` alone knows what may stand there."""

    model_config = ConfigDict(extra="allow")


class FeedbackDataset(dg.Component):
    """A versioned training dataset compiled from feedback; `attributes` are its policy (see `feedback config`)."""

    def __init__(self, policy: DatasetPolicy) -> None:
        self.policy = policy

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The shape Dagster asks for: any mapping."""
        return Attributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """Raises ConfigError, naming the field and what is allowed there."""
        return cls(resolve_policy({} if attributes is None else attributes.model_dump()))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """See `definitions`."""
        return self.definitions()

    def definitions(self) -> dg.Definitions:
        """Everything Dagster needs to know of the dataset."""
        policy, job = self.policy, self._job()
        return dg.Definitions(
            assets=[*(table_asset(policy, contract) for contract in STAGE_TABLES), publication_asset(policy)],
            asset_checks=[
                *(contract_check(policy, contract) for contract in STAGE_TABLES),
                ledger_check(policy),
                bias_check(policy),
                reproducible_check(policy),
            ],
            jobs=[job],
            sensors=self._sensors(job),
            schedules=[compile_schedule(policy, job)] if policy.trigger.schedule else [],
        )

    def _job(self) -> Any:
        name = self.policy.name
        return dg.define_asset_job(
            f"compile_{name}",
            selection=dg.AssetSelection.assets(*(asset_key(name, t) for t in (*TABLE_NAMES, PUBLICATION))),
            description=f"Compiles what has landed into the next version of {name}. "
            "Killed anywhere, the next run goes on where it stopped.",
            tags={DATASET_TAG: name, **RUN_TAGS},
            executor_def=dg.in_process_executor,
        )

    def _sensors(self, job: Any) -> list[dg.SensorDefinition]:
        policy = self.policy
        volume = [] if policy.trigger.volume is None else [volume_sensor(policy, job)]
        return [*volume, *([drift_sensor(policy, job)] if "feedback_rate" in policy.drift.watch else [])]


# A crashed run starts again from the first step, which sees that windows move on; a step that refuses is not repeated.
RUN_TAGS = {"dagster/retry_strategy": "ALL_STEPS", "dagster/retry_on_asset_or_op_failure": "false"}
