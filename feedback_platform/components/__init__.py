"""The Dagster component that turns one YAML file into assets, checks and sensors."""

from feedback_platform.components.feedback_dataset import FeedbackDataset

__all__ = ["FeedbackDataset"]  # the name that YAML files say
