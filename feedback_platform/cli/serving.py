"""`feedback serve`: the HTTP API, and beside it, with `--land`, a process that lands what it accepts."""

import gc
import ipaddress
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from feedback_platform.cli.screen import say
from feedback_platform.errors import ConfigError
from feedback_platform.settings import Settings

DEFAULT_PORT = 8700
LAND_SECONDS = 5.0
POLL_SECONDS = 0.5
RESTART_SECONDS = 2.0
# Threads that write must not wait long for the one that answers; the interpreter's default is 5 ms.
SWITCH_SECONDS = 0.0005


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65_535), help="0: any free.")
@click.option("--dev", is_flag=True, help="Ask for no API key. Loopback only.")
@click.option("--land", is_flag=True, help="Also land accepted events in the lake within seconds.")
@click.pass_obj
def serve_command(settings: Settings, host: str, port: int, dev: bool, land: bool) -> None:
    """Take events over HTTP. An event that was answered with 202 is on the disk.

    Interactive documentation is at /docs. Keys are made with `feedback keys create`.
    """
    if dev and not _is_loopback(host):
        raise ConfigError(f"--dev asks for no key, so it may not listen on {host}. Use 127.0.0.1, or leave --dev out.")
    with _lander(settings, land):
        _run(settings, host, port, dev)


def _run(settings: Settings, host: str, port: int, dev: bool) -> None:
    import uvicorn

    from feedback_platform.api.app import create_app
    from feedback_platform.api.server import Server
    from feedback_platform.intake.tenants import open_tenant

    state = Server(settings, dev=dev)
    if dev:
        open_tenant(settings).close()  # here already, so that a log that cannot be opened is told in one line
    _warn(state, dev)
    config = uvicorn.Config(
        create_app(state),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who calls is told by the key, never by a header that anyone can set
        lifespan="on",
        ws="none",
        backlog=4096,
        limit_concurrency=4096,
        timeout_graceful_shutdown=10,
    )

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: "list[object] | None" = None) -> None:  # type: ignore[override]
            await super().startup(sockets)  # type: ignore[arg-type]
            for server in getattr(self, "servers", []):
                for socket in server.sockets:
                    where = socket.getsockname()
                    click.echo(f"Serving on http://{host}:{where[1]}  (documentation: http://{host}:{where[1]}/docs)")

    prepare_interpreter()
    server = Announcing(config)
    with suppress(SystemExit):  # its way of saying that it could not start; ours is a line and an exit code
        server.run()
    if not server.started:
        raise ConfigError(f"The API could not start on {host}:{port}. Is the port taken? Choose another with --port.")


def prepare_interpreter() -> None:
    """Short turns for threads, and no collection of what lives as long as the server does."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 50, 100)


def _warn(state: object, dev: bool) -> None:
    from feedback_platform.api.server import Server

    assert isinstance(state, Server)
    if dev:
        say("DEVELOPMENT MODE: every program on this machine may send, read and review without a key.", err=True,
            style="bold red")  # fmt: skip
        say("Leave out --dev and make keys with `feedback keys create` before anyone else can reach it.", err=True)
    elif not state.keys.list():
        say("No API key exists, so nobody can send. Make one: feedback keys create --scope ingest:inference", err=True)


@contextmanager
def _lander(settings: Settings, wanted: bool) -> Iterator[None]:
    """A landing process that ends with this one, however this one ends: its standard input closes."""
    if not wanted:
        yield
        return
    command = [
        sys.executable,
        "-m",
        "feedback_platform.cli",
        "--home",
        str(settings.home),
        "land",
        "--watch",
        "--every",
        str(LAND_SECONDS),
        "--child",
    ]
    stop = threading.Event()
    keeper = threading.Thread(target=_keep_alive, args=(command, stop), name="lander", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        stop.set()
        keeper.join(timeout=60)


def _keep_alive(command: list[str], stop: threading.Event) -> None:
    """Run a process until told to stop; one that ends by itself, say for want of memory, is started again."""
    while not stop.is_set():
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE)
        except OSError as error:  # no memory for a process, say
            say(f"Landing could not start ({error}); tried again in {RESTART_SECONDS:g} s.", err=True)
            stop.wait(RESTART_SECONDS)
            continue
        assert process.stdin is not None
        with process.stdin:
            while process.poll() is None and not stop.wait(POLL_SECONDS):
                pass
        code = process.wait()
        if not stop.is_set():
            say(f"Landing ended with exit code {code}; it begins again in {RESTART_SECONDS:g} s.", err=True)
            stop.wait(RESTART_SECONDS)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
