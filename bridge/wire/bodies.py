"""Message bodies derived from the contract's dataclasses: their schemas, and both conversions.

`body_model(Control)` is the pydantic schema of a control's JSON object, `to_body(control)` makes
that object, `from_body(Control, data)` checks one and makes the dataclass. Keys are the field
names of `bridge/frame.py`; a field with a default may be left out. Images are no part of a body:
they travel as buffers (`world_messages`).
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Callable, Hashable, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, cast

import numpy as np
from pydantic import Field, create_model

from sim2street.bridge.errors import ProtocolError
from sim2street.bridge.frame import (
    Camera,
    EgoState,
    FloatArray,
    SensorFrame,
    View,
    WorldSpec,
)
from sim2street.bridge.wire.codec import Body, Count, Name, read_body, shorten

Value = TypeVar("Value")
Converter = Callable[[Any], Any]

PortableName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
Pixels = Annotated[int, Field(ge=1, le=65536)]
Pose16 = Annotated[list[float], Field(min_length=16, max_length=16)]
Point = Annotated[list[float], Field(min_length=2, max_length=2)]

ARRAY_FIELDS = ("labels", "depth_m", "instances", "motion_px", "rgb")
"""Fields of `View` that travel as buffers, besides `surfaces` (see `surface_buffers`)."""

OMITTED: Mapping[type, tuple[str, ...]] = {
    View: (*ARRAY_FIELDS, "surfaces"),
    SensorFrame: ("episode", "actors"),  # the header has the episode, buffers have the actors
}
"""Fields that are no part of a body."""

OPTIONAL: Mapping[tuple[type, str], Any] = {(View, "pose"): None, (SensorFrame, "ego"): None}
"""Required fields that an engine may leave out all the same."""

NARROWED: Mapping[tuple[type, str], Any] = {
    (Camera, "width_px"): Pixels,
    (Camera, "height_px"): Pixels,
    (View, "motion_from_tick"): Count | None,
    (EgoState, "route_ahead_m"): Annotated[list[Point], Field(max_length=64)],
    (SensorFrame, "tick"): Count,
    (SensorFrame, "stamps"): Annotated[dict[str, float], Field(max_length=64)],
    (SensorFrame, "flags"): Annotated[list[Name], Field(max_length=64)],
    (WorldSpec, "name"): Name,
    (WorldSpec, "version"): Name,
    (WorldSpec, "taxonomy"): Name,
    (WorldSpec, "tick_s"): Annotated[float, Field(gt=0)],
    (WorldSpec, "fields"): Annotated[list[Name], Field(max_length=32)],
}
"""Fields whose values on the wire are limited more narrowly than their type."""

MAX_CAMERAS = 16


@functools.cache
def body_model(kind: Hashable) -> type[Body]:
    """The schema of a dataclass's JSON object, named after it (`ControlBody`)."""
    assert isinstance(kind, type)
    hints = typing.get_type_hints(kind)
    fields: dict[str, Any] = {}
    for field in _body_fields(kind):
        annotation = NARROWED.get((kind, field.name)) or _annotation(hints[field.name])
        if (kind, field.name) in OPTIONAL:
            fields[field.name] = (annotation | None, None)
        else:
            fields[field.name] = (annotation, _default(field))
    return create_model(f"{kind.__name__}Body", __base__=Body, **fields)


def to_body(value: Any) -> Any:
    """A dataclass as plain JSON values: matrices row by row, enums by value, sets sorted."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = _body_fields(type(value))
        return {field.name: to_body(getattr(value, field.name)) for field in fields}
    if isinstance(value, np.ndarray):
        return value.ravel().tolist()
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {name: to_body(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [to_body(item) for item in value]
    return sorted(value) if isinstance(value, frozenset) else value


def from_body(kind: type[Value], data: Mapping[str, Any], what: str) -> Value:
    """Check a JSON object against the schema of `kind` and make the dataclass.

    Ranges of values (a steer of 3, a tag of 99) are not checked here: `kind.validate` does it.

    Raises:
        ProtocolError: names the keys that do not fit; `what` says which message it was.
    """
    return build(kind, read_body(body_model(_key(kind)), data, what))


def build(kind: type[Value], body: Body, **given: Any) -> Value:
    """The dataclass of a checked body. `given` sets or replaces fields."""
    values = {
        name: convert(getattr(body, name))
        for name, convert in _converters(_key(kind)).items()
        if name not in given
    }
    return kind(**values, **given)


def read_pose(values: list[float]) -> FloatArray:
    """float32 (4, 4), read-only, from 16 numbers, row by row."""
    with np.errstate(over="ignore"):
        pose = np.array(values, np.float64).astype(np.float32).reshape(4, 4)
    if not np.isfinite(pose).all():
        raise ProtocolError(f"pose: does not fit float32: {shorten(values)}")
    pose.setflags(write=False)
    return pose


def _key(kind: object) -> Hashable:
    """A class as the key of a cache; mypy does not see that classes are hashable."""
    assert isinstance(kind, Hashable)
    return kind


def _body_fields(kind: type) -> list[dataclasses.Field[Any]]:
    omitted = OMITTED.get(kind, ())
    return [field for field in dataclasses.fields(kind) if field.name not in omitted]


def _default(field: dataclasses.Field[Any]) -> Any:
    """What pydantic takes for the default of a field: `...` where it is required."""
    if field.default_factory is not dataclasses.MISSING:
        return to_body(field.default_factory())
    if field.default is dataclasses.MISSING:
        return ...
    plain = to_body(field.default)
    nested = dataclasses.is_dataclass(field.default)
    return body_model(_key(type(field.default))).model_validate(plain) if nested else plain


def _annotation(hint: Any) -> Any:
    """The pydantic annotation of a field's type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        inner = [_annotation(item) for item in arguments if item is not types.NoneType]
        return functools.reduce(lambda a, b: a | b, inner) | None
    if hint == FloatArray:
        return Pose16
    if origin is tuple and arguments[-1] is not Ellipsis:
        size, numbers = len(arguments), types.GenericAlias(list, (arguments[0],))
        return Annotated[numbers, Field(min_length=size, max_length=size)]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        by_name = types.GenericAlias(dict, (PortableName, _annotation(arguments[1])))
        return Annotated[by_name, Field(max_length=MAX_CAMERAS)]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return Literal[tuple(member.value for member in hint)]
    return body_model(_key(hint)) if dataclasses.is_dataclass(hint) else hint


@functools.cache
def _converters(kind: Hashable) -> dict[str, Converter]:
    """For each field of the body, what turns its checked value into the dataclass's value."""
    assert isinstance(kind, type)
    hints = typing.get_type_hints(kind)
    return {field.name: _converter(hints[field.name]) for field in _body_fields(kind)}


def _converter(hint: Any) -> Converter:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        inner = _converter(next(item for item in arguments if item is not types.NoneType))
        return lambda value: None if value is None else inner(value)
    if hint == FloatArray:
        return read_pose
    if origin is tuple:
        item = _converter(arguments[0])
        return lambda value: tuple(item(part) for part in value)
    if origin is frozenset:
        return frozenset
    if isinstance(origin, type) and issubclass(origin, Mapping):
        item = _converter(arguments[1])
        return lambda value: {name: item(part) for name, part in value.items()}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return cast(Converter, hint)
    if dataclasses.is_dataclass(hint):
        return functools.partial(build, cast(type, hint))
    return lambda value: value
