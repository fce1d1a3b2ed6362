"""Who may call: TLS, and a token that every call but those of health carries."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc

from zephyr_lab.errors import BadInput

HEALTH = "/grpc.health.v1.Health/"
"""Asked by those who look after the service, and tells nothing of orders."""


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only. A name other than localhost may mean anything."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_reach(host: str, *, tls: bool, token: str | None) -> None:
    """Raises BadInput for a service that others could reach without either."""
    if is_loopback(host) or (tls and token):
        return
    lacks = " and ".join(["--tls-cert and --tls-key"] * (not tls) + ["ZEPHYR_LAB_TOKEN"] * (not token))
    raise BadInput(f"{host} is reached from other machines: add {lacks}, or serve on 127.0.0.1")


def credentials(certificate: Path, key: Path) -> grpc.ServerCredentials:
    """From two files in PEM. Raises BadInput."""
    try:
        pair = key.read_bytes(), certificate.read_bytes()
    except OSError as error:
        raise BadInput(f"{error.filename}: {error.strerror}") from None
    if b"PRIVATE KEY" not in pair[0] or b"CERTIFICATE" not in pair[1]:
        raise BadInput(f"{certificate} and {key} are no certificate and its key in PEM")
    return grpc.ssl_server_credentials([pair])


class TokenGuard(grpc.aio.ServerInterceptor):
    """UNAUTHENTICATED unless the metadata has `authorization: Bearer <token>`."""

    def __init__(self, token: str) -> None:
        self._wanted = f"Bearer {token}".encode()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        given = dict(handler_call_details.invocation_metadata or ()).get("authorization", "")
        said = given.encode() if isinstance(given, str) else given
        if handler_call_details.method.startswith(HEALTH) or hmac.compare_digest(said, self._wanted):
            return handler
        if handler is None or handler.response_streaming or handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(_refuse_stream)
        return grpc.unary_unary_rpc_method_handler(_refuse)


_SAID = "a token is needed: send it as metadata, authorization: Bearer ..."


async def _refuse(request: bytes, context: Any) -> Any:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, _SAID)


async def _refuse_stream(requests: Any, context: Any) -> Any:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, _SAID)
    yield b""
