"""What the fuzzer must be told: how to send our media types, and names of things that exist. `st run` loads it."""

from typing import Any

import schemathesis

from feedback_platform_tests.publish.builders import NAME


@schemathesis.serializer("application/x-ndjson", "application/x-protobuf")
def as_it_is(_: object, value: Any) -> bytes:
    """Generated texts and bytes are sent as they are."""
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")


@schemathesis.hook
def map_path_parameters(_: object, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Most cases ask for a dataset that there is, so that they get as far as the query."""
    if path_parameters and "name" in path_parameters and len(str(path_parameters["name"])) % 3:
        return {**path_parameters, "name": NAME}
    return path_parameters
