"""All that is wrong with one body, found in two looks: at each field alone, and at what the fields mean together.

The second look goes ahead without what the first could not read, so that the caller hears of everything at once.
"""

import re
from collections.abc import Iterable
from typing import Any, TypeVar, cast

from pydantic import ValidationError

from jobs.dialects.protobuf_json import Message, faults_of, folded, shown
from jobs.errors import MAX_FAULTS, Fault, InvalidSubmission

M = TypeVar("M", bound=Message)


class Faults:
    """Paths go in as the API spells them, and come out as the sender did."""

    def __init__(self, body: Any) -> None:
        self.found: list[Fault] = []
        self._body = body
        self._unread: list[str] = []

    def read(self, kind: type[M]) -> M:
        """The body as a message, without the parts that are wrong with it.

        Raises InvalidSubmission where these are too many to go on.
        """
        body = self._body
        # What model_validate asks; it adds a tenth to the time.
        validate = kind.__pydantic_validator__.validate_python
        while True:
            try:
                return cast(M, validate(body))
            except ValidationError as error:
                self._keep(faults_of(error, kind))
                if len(self.found) > MAX_FAULTS:
                    raise InvalidSubmission(self.found) from error
                body = _without(body, _tree(error))

    def add(self, path: str, reason: str, *, reads: Iterable[str] = ()) -> None:
        """`reads` are the other fields that the verdict rests on: where one of them could not be read it is void."""
        path = _spelled(path, self._body)
        rests_on = [_spelled(each, self._body) for each in reads]
        if not any(_is_void(path, rests_on, unread) for unread in self._unread):
            self.found.append(Fault(path, reason))

    def take(self, faults: Iterable[Fault], *, reads: Iterable[str] = ()) -> None:
        for fault in faults:
            self.add(fault.path, fault.reason, reads=reads)

    def lead(self, faults: Iterable[Fault]) -> None:
        """These first: while they stand, it is in vain to mend the others."""
        leading = [Fault(_spelled(each.path, self._body), each.reason) for each in faults]
        self.found = [*leading, *(each for each in self.found if each not in leading)]

    def raise_any(self) -> None:
        if self.found:
            raise InvalidSubmission(self.found)

    def _keep(self, faults: list[Fault]) -> None:
        self.found += faults
        self._unread += [fault.path for fault in faults]


def _is_void(path: str, rests_on: list[str], unread: str) -> bool:
    return _is_in(path, unread) or any(_is_in(each, unread) or _is_in(unread, each) for each in rests_on)


def _is_in(path: str, whole: str) -> bool:
    return not whole or path == whole or path.startswith((f"{whole}.", f"{whole}["))


def _tree(error: ValidationError) -> dict[Any, Any]:
    """The locations of the error, one within the other.

    All are places in the body, because no message has a union that pydantic would name a branch of.
    """
    root: dict[Any, Any] = {}
    for each in error.errors(include_url=False, include_input=False, include_context=False):
        node = root
        for part in each["loc"]:
            node = node.setdefault(part, {})
    return root


def _without(value: Any, wrong: dict[Any, Any]) -> Any:
    """A copy in which the wrong parts are absent; in a list an empty message stands for one."""
    if not wrong:
        return {}
    if isinstance(value, list):
        return [_without(each, wrong[i]) if i in wrong else each for i, each in enumerate(value)]
    kept = {name: each for name, each in value.items() if wrong.get(name) != {}}
    return kept | {name: _without(kept[name], parts) for name, parts in wrong.items() if parts}


def _spelled(path: str, body: Any) -> str:
    """The path with each name as the body has it."""
    node, spelled = body, ""
    for part in re.findall(r"\w+", path):
        if part.isdigit() and isinstance(node, list):
            node, spelled = node[int(part)], f"{spelled}[{part}]"
            continue
        names = node if isinstance(node, dict) else {}
        name = part if part in names else next((each for each in names if folded(each) == folded(part)), part)
        node, spelled = names.get(name), f"{spelled}.{shown(name)}" if spelled else shown(name)
    return spelled
