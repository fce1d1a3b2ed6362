"""Requests to an ASGI or WSGI app in this process: each is a session, and its answer is the session's outcome."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import unquote

from zephyr_lab.errors import BadInput, ServerLost, ServerUnavailable
from zephyr_lab.functions.arguments import is_async
from zephyr_lab.wire import asgi, wsgi
from zephyr_lab.wire.http import HttpRequest, Response, Verbs, response_of
from zephyr_lab.wire.loop_thread import LoopThread, Running
from zephyr_lab.wire.proxy import Wire

START_SECONDS = 30.0
END_SECONDS = 5.0

Ask = Callable[["AppRequest", Callable[[Any], object]], tuple[int, bytes]]


@dataclass(frozen=True)
class AppRequest(HttpRequest):
    """A request to an app in this process."""

    def ask(self, opened: Callable[[Any], object] = lambda running: None) -> Response:
        """Has the app answer, and do all that it does after that.

        `opened` is called with an object whose `close()` cancels it. Raises what the app raises, ServerLost if the app
        is closed, ScheduleError if its event loop is blocked.
        """
        assert isinstance(self.service, Application)
        return self.service.answer(self, opened)

    @property
    def content(self) -> bytes:
        return b"" if self.body is None else json.dumps(self.body).encode()

    @property
    def all_headers(self) -> dict[str, str]:
        """By their names in lower case."""
        kind = {} if self.body is None else {"content-type": "application/json"}
        return {"host": "localhost", **kind, **{name.lower(): value for name, value in self.headers.items()}}


class Application(Verbs):
    """An app of this process, until `close()`. Its connections come by `lab.wire`: `dsn`, `url(...)`, `redis_url`.

    An ASGI app (FastAPI, Starlette, Django) runs on an event loop in a thread of its own, its lifespan included; a WSGI
    app (Flask, Django) in the thread of each session. What the app raises is raised. A request
    that is answered with a status in `refusals` was refused because of another one. `reset` is how the app's memory is
    reset before each schedule: a function, or a request, which may be set later as an attribute. Raises BadInput, and
    ServerUnavailable if it does not start.
    """

    def __init__(
        self,
        wire: Wire,
        app: Callable[..., Any],
        *,
        refusals: Collection[int] = (409,),
        reset: HttpRequest | Callable[[], object] | None = None,
    ) -> None:
        if not (reset is None or callable(reset) or isinstance(reset, HttpRequest)):
            raise BadInput(f"an app is put back by a request or a function, not by {reset!r}")
        _check_django(app)
        super().__init__("http://localhost", refusals, self)
        self.reset, self._app, self._thread = reset, app, None
        self.is_new = True
        self._is_closed = False
        if _is_asgi(app):
            self._start()

    _thread: LoopThread | None

    def _start(self) -> None:
        self._thread = LoopThread("an app's event loop")
        self._lifespan = asgi.Lifespan(self._app)
        try:
            Running(self._thread, self._lifespan.start()).result(START_SECONDS)
        except BaseException as error:
            self.close()
            if isinstance(error, TimeoutError):
                raise ServerUnavailable(f"the app's lifespan does not start within {START_SECONDS:g} s") from None
            raise

    def request(
        self, method: str, path: str, *, json: Any = None, headers: Mapping[str, str] | None = None
    ) -> AppRequest:
        """A request, to be a session of `lab.explore`, or to be sent by its `ask()`. Raises BadInput."""
        one = super().request(method, path, json=json, headers=headers)
        return AppRequest(one.base, one.method, one.path, one.body, one.headers, one.refusals, one.service)

    def answer(self, request: AppRequest, opened: Callable[[Any], object]) -> Response:
        """As `AppRequest.ask`."""
        self.ensure_alive()
        if self._thread is None:
            told = wsgi.answer(self._app, request.method, request.path, request.all_headers, request.content)
        else:
            running = Running(self._thread, asgi.answer(self._app, self._scope(request), request.content))
            opened(running)
            told = running.result()
        return response_of(*told, request.refusals)

    def _scope(self, request: AppRequest) -> dict[str, Any]:
        path, _, query = request.path.partition("?")
        headers = {**request.all_headers, "content-length": str(len(request.content))}
        return {
            "http_version": "1.1", "method": request.method, "scheme": "http", "path": unquote(path),
            "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
            "client": ("127.0.0.1", 0), "server": ("localhost", 80), "state": dict(self._lifespan.state),
        }  # fmt: skip

    # -- as its requests, and explorations of these, ask

    def listens(self) -> bool:
        """Whether it answers requests."""
        return not self._is_closed and (self._thread is None or self._thread.is_alive)

    def ensure_alive(self, seconds: float = 0.0) -> None:
        """Raises ServerLost if it is closed."""
        if not self.listens():
            raise ServerLost("this app is closed: make requests within its `with` block, or make it anew by lab.app")

    def put_back(self) -> None:
        """Resets its memory, as `reset` says. Raises ServerLost, and what `reset` raises."""
        if isinstance(self.reset, HttpRequest):
            answer = self.reset.ask()
            if answer.failed:
                raise ServerLost(f"the app was to be put back, and answered with {answer.status}: {answer.body!r}")
        elif self.reset is not None:
            self.reset()

    def close(self) -> None:
        """Ends its lifespan and its event loop. Safe to call twice."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._thread is not None:
            ending = Running(self._thread, self._lifespan.end())
            try:
                ending.result(END_SECONDS)
            except Exception:  # the loop is ended in any case
                ending.close()
            self._thread.close()

    def __enter__(self) -> Application:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_django(app: Callable[..., Any]) -> None:
    """Raises BadInput if an error would be answered with a page that sends queries of its own."""
    conf = sys.modules.get("django.conf")
    if conf and type(app).__module__.startswith("django.core.handlers") and conf.settings.DEBUG:
        raise BadInput(
            "under DEBUG Django answers an error with a page that sends queries of its own: explore with DEBUG = "
            "False, as Django's own test runner does"
        )


def _is_asgi(app: Callable[..., Any]) -> bool:
    """Whether it is ASGI, else WSGI. Raises BadInput for anything else."""
    wanted = "lab.app takes an ASGI app (scope, receive, send) or a WSGI app (environ, start_response)"
    if not callable(app):
        raise BadInput(f"{wanted}, not {app!r}")
    try:
        signature = inspect.signature(app)
    except ValueError:
        raise BadInput(f"{wanted}, and {app!r} does not say what it takes") from None
    for number in (3, 2):
        try:
            signature.bind(*range(number))
        except TypeError:
            continue
        if number == 3 or not is_async(app):
            return number == 3
    raise BadInput(f"{wanted}, not {app!r}; of ASGI 2, wrap it by asgiref.compatibility.guarantee_single_callable")
