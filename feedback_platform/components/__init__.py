"""The Dagster component that turns one YAML file into assets, checks and sensors."""
