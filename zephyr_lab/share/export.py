"""A counterexample into a file, in the form that the file's suffix asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from zephyr_lab.errors import BadInput
from zephyr_lab.share.as_test import as_test
from zephyr_lab.share.proof import WAY_ON
from zephyr_lab.share.recorded import Recorded
from zephyr_lab.share.spec_text import spec_text
from zephyr_lab.share.windows import windows
from zephyr_lab.views.page import Part, page

Form = Callable[[Recorded, str], str]


def check(path: Path) -> None:
    """Raises BadInput for a suffix that stands for no form, and a folder that is not there."""
    if path.suffix not in FORMS:
        forms = "; ".join(f"{suffix} {what}" for suffix, (what, _) in FORMS.items())
        raise BadInput(f"{path}: a counterexample is exported by the file's suffix: {forms}")
    if not path.absolute().parent.is_dir():
        raise BadInput(f"{path}: there is no folder {path.parent}; make it first")


def export(record: Callable[[], Recorded], path: Path) -> None:
    """Writes what `record` gives. Raises BadInput as `check` does, and for what such a file cannot hold."""
    check(path)
    _, form = FORMS[path.suffix]
    text = form(record(), path.name)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}") from None


def _spec(recorded: Recorded, name: str) -> str:
    if recorded.doubt:
        raise BadInput(f"{name}: run as a spec, by its SQL alone, {recorded.doubt}; {WAY_ON}")
    return spec_text(recorded, name)


def _test(recorded: Recorded, name: str) -> str:
    if recorded.doubt and not recorded.imported:
        raise BadInput(
            f"{name}: these functions cannot be imported by another file, so that the test would run their SQL alone, "
            f"and there {recorded.doubt}; put the functions into a module, or {WAY_ON}"
        )
    return as_test(recorded, name)


def _page(recorded: Recorded, name: str) -> str:
    shown, _ = recorded.verdict.of_what_differs()
    lead = f"Found by zephyr_lab on {recorded.server}: {recorded.claim}."
    parts = [Part("Compared with the serial orders", "\n".join([str(shown), *recorded.explanation]))]
    if recorded.spec.setups:
        parts.append(Part("What is set up", "\n".join(recorded.spec.setups), folded=True))
    if not recorded.doubt:
        spec = "counterexample.spec"
        parts.append(Part("As a spec, for zephyr-lab and isolationtester", spec_text(recorded, spec), folded=True))
    told = {**recorded.observed.to_dict(), "case": recorded.spec.name}
    return page(told, recorded.title, lead, str(recorded.verdict.transcript), parts)


FORMS: dict[str, tuple[str, Form]] = {
    ".spec": ("for isolationtester and zephyr-lab run", _spec),
    ".sql": ("statements for windows of psql", windows),
    ".py": ("a pytest test", _test),
    ".html": ("a page to step through", _page),
}
