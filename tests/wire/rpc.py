"""A service over gRPC that knows nothing of the lab, nor of protocol buffers: messages are text."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import psycopg2.errors
import psycopg2.pool

POOL = psycopg2.pool.ThreadedConnectionPool(2, 10, os.environ["DATABASE_URL"])


def book(request: bytes, context: grpc.ServicerContext) -> bytes:
    connection = POOL.getconn()
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("select booked from slots where id = 1")
            booked = cursor.fetchone()[0] + 5000
            cursor.execute("update slots set booked = %s where id = 1", (booked,))
        return str(booked).encode()
    except psycopg2.errors.SerializationFailure as error:
        context.abort(grpc.StatusCode.ABORTED, str(error.pgcode))
        raise
    finally:
        POOL.putconn(connection)


def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
    book(request, context)
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the slot is full")
    raise AssertionError


def crash(request: bytes, context: grpc.ServicerContext) -> bytes:
    os._exit(3)


class Shop(grpc.GenericRpcHandler):
    def service(self, details: Any) -> Any:
        method = {"/Shop/book": book, "/Shop/refuse": refuse, "/Shop/crash": crash}.get(details.method)
        return grpc.unary_unary_rpc_method_handler(method) if method else None


server = grpc.server(ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((Shop(),))
server.add_insecure_port(f"127.0.0.1:{os.environ['PORT']}")
server.start()
server.wait_for_termination()
