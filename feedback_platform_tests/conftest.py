"""What every test shares: how Hypothesis searches, and the fixtures used by more than one folder."""

import os

from hypothesis import HealthCheck, settings

# "repeatable" (default, and in CI): the same examples every time, so a red run is red again.
# "explore" (HYPOTHESIS_PROFILE=explore): other examples each time, and many more, to look for new failures.
# No deadline and no complaint about slowness: on a shared machine both measure the neighbours.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", max_examples=1_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
