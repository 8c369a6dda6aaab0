"""What the platform knows, as pure functions and SQL bodies: no clock, disk, network or Dagster."""
