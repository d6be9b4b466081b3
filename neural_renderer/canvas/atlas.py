"""The atlas: photographic textures of street surfaces, in one file that is shared by styles.

An `.atlas` file is a zip archive (stored, not deflated) of `atlas.json` and WebP images. The JSON
lists every texture's name, group, scale and layout. `load_atlas` checks the file completely before
it decodes an image, because an atlas may come from another machine.
"""

from __future__ import annotations

import enum
import hashlib
import io
import json
import math
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from sim2street.bridge.frame import ByteArray
from sim2street.configs.errors import Sim2StreetError

FORMAT = "sim2street-atlas"
VERSION = 1
GROUPS = (
    "asphalt",
    "road_marking",
    "paving",
    "kerb",
    "grass",
    "soil",
    "gravel",
    "wall_plaster",
    "wall_brick",
    "wall_stone",
    "wall_wood",
    "wall_concrete",
    "roof",
    "facade",
    "vehicle",
    "foliage",
    "hedge",
    "bark",
    "sign",
    "fence",
    "sky",
    "person_cloth",
)
"""Kinds of surfaces that a texture can be chosen for."""

MAX_FILE_BYTES = 48 * 2**20
MAX_TEXELS = 48 * 2**20
"""Of all images and part maps together."""
MAX_SIDE = 4096
MAX_TEXTURES = 2048
_WEBP_QUALITY = 95
_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")


class AtlasError(Sim2StreetError):
    """An atlas file is damaged, too large, or does not follow the format."""


class Part(enum.IntEnum):
    """What a texel of a facade or a vehicle shows, where placement or lighting must know."""

    NONE = 0
    PANE = 1
    LAMP = 2
    WHEEL = 3
    PAINT = 4
    """Paint of a vehicle, drawn in light grey: may be multiplied by a colour."""


@dataclass(frozen=True, slots=True)
class Texture:
    """One picture of the atlas.

    Attributes:
        name: unique within the atlas; lower case letters, digits and underscores.
        group: one of `GROUPS`.
        image: uint8 (H, W, 4), sRGB and alpha (255 is opaque; not premultiplied).
        px_per_m: texels per metre; 0 for sheets that are addressed in [0, 1].
        wrap: whether the texture repeats in x and in y. A side that repeats is a power of two.
        meta: layout and facts that depend on the group, JSON values only. Rectangles are
            [left, top, width, height] in texels. See docs/atlas.md.
        parts: uint8 (H, W), values of `Part`; None where the texture has no part map.
    """

    name: str
    group: str
    image: ByteArray
    px_per_m: float = 0.0
    wrap: tuple[bool, bool] = (False, False)
    meta: Mapping[str, Any] = field(default_factory=dict)
    parts: ByteArray | None = None


class Atlas:
    """A set of textures; immutable.

    Attributes:
        name, licence: as in the file.
        textures: in the order of the file; a surface map refers to them by index.
        sha256: hash of the textures' content; the same for the same content on every machine.
    """

    def __init__(self, name: str, textures: Sequence[Texture], licence: str = "") -> None:
        """Checks the textures.

        Raises:
            AtlasError: a texture is not valid or two have the same name.
        """
        self.name = name
        self.licence = licence
        self.textures = tuple(textures)
        if not self.textures:
            raise AtlasError(f"atlas {name!r} has no textures; expected at least one")
        for texture in self.textures:
            _check_texture(texture)
        self._index = {texture.name: i for i, texture in enumerate(self.textures)}
        if len(self._index) < len(self.textures):
            names = [texture.name for texture in self.textures]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise AtlasError(f"atlas {name!r} has several textures of the names {twice}")

    def __len__(self) -> int:
        return len(self.textures)

    def index(self, name: str) -> int:
        """Index of the texture of this name.

        Raises:
            AtlasError: there is none.
        """
        try:
            return self._index[name]
        except KeyError:
            raise AtlasError(f"atlas {self.name!r} has no texture {name!r}") from None

    @cached_property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """Group -> indices of its textures in the order of the file; () for an empty group."""
        members: dict[str, list[int]] = {group: [] for group in GROUPS}
        for i, texture in enumerate(self.textures):
            members[texture.group].append(i)
        return {group: tuple(indices) for group, indices in members.items()}

    @cached_property
    def sha256(self) -> str:
        """Hash of names, layouts and pixels."""
        digest = hashlib.sha256()
        for texture in self.textures:
            digest.update(json.dumps(_entry(texture), sort_keys=True).encode())
            digest.update(texture.image.tobytes())
            if texture.parts is not None:
                digest.update(texture.parts.tobytes())
        return digest.hexdigest()


def default_atlas_path() -> Path:
    """Path of the atlas that comes with the package (`free.atlas`)."""
    return Path(__file__).parent / "atlases" / "free.atlas"


def load_atlas(path: Path | None = None) -> Atlas:
    """Reads an `.atlas` file; without a path, the one that comes with the package.

    Raises:
        AtlasError: the file is missing, damaged, too large or of an unknown format.
    """
    path = path or default_atlas_path()
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise AtlasError(f"{path} has {size} bytes; an atlas has at most {MAX_FILE_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise AtlasError(f"cannot read the atlas {path}: {error}") from error
    return atlas_from_bytes(data, str(path))


def atlas_from_bytes(data: bytes, source: str) -> Atlas:
    """Decodes the content of an `.atlas` file; `source` names it in errors.

    Raises:
        AtlasError: see `load_atlas`.
    """
    if len(data) > MAX_FILE_BYTES:
        raise AtlasError(f"{source} has {len(data)} bytes; an atlas has at most {MAX_FILE_BYTES}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                raise AtlasError(f"{source} is compressed; an atlas is a zip of stored files")
            header = json.loads(archive.read("atlas.json"))
            _check_header(header, source)
            budget = _TexelBudget(source)
            textures = [_read_texture(archive, entry, budget) for entry in header["textures"]]
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, RecursionError) as error:
        raise AtlasError(f"{source} is not an atlas or is damaged: {error}") from error
    return Atlas(str(header["name"]), textures, str(header.get("licence", "")))


def save_atlas(path: Path, atlas: Atlas) -> None:
    """Writes an atlas as a file that `load_atlas` reads.

    Colours are stored at a WebP quality of 95, alpha and part maps without loss. The
    same atlas gives the same bytes on one version of Pillow.
    """
    path.write_bytes(atlas_to_bytes(atlas))


def atlas_to_bytes(atlas: Atlas) -> bytes:
    """Encodes an atlas as the content of an `.atlas` file."""
    header = {
        "format": FORMAT,
        "version": VERSION,
        "name": atlas.name,
        "licence": atlas.licence,
        "textures": [_entry(texture) for texture in atlas.textures],
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        _write_member(archive, "atlas.json", json.dumps(header, indent=1).encode())
        for texture in atlas.textures:
            _write_member(archive, _image_member(texture.name), _webp(texture))
            if texture.parts is not None:
                _write_member(archive, _parts_member(texture.name), _parts_webp(texture.parts))
    return buffer.getvalue()


def _image_member(name: str) -> str:
    return f"images/{name}.webp"


def _parts_member(name: str) -> str:
    return f"parts/{name}.webp"


def _entry(texture: Texture) -> dict[str, Any]:
    return {
        "name": texture.name,
        "group": texture.group,
        "px_per_m": texture.px_per_m,
        "wrap": list(texture.wrap),
        "parts": texture.parts is not None,
        "meta": dict(texture.meta),
    }


def _write_member(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Writes a member with a fixed date, so that equal atlases are equal files."""
    archive.writestr(zipfile.ZipInfo(name, date_time=(2000, 1, 1, 0, 0, 0)), data)


def _webp(texture: Texture) -> bytes:
    buffer = io.BytesIO()
    opaque = bool((texture.image[..., 3] == 255).all())
    image = Image.fromarray(texture.image[..., :3] if opaque else texture.image)
    image.save(buffer, "WEBP", quality=_WEBP_QUALITY, alpha_quality=100, method=6, exact=True)
    return buffer.getvalue()


def _parts_webp(parts: ByteArray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.repeat(parts[..., None], 3, axis=2)).save(
        buffer, "WEBP", lossless=True, method=6
    )
    return buffer.getvalue()


def _check_header(header: Any, source: str) -> None:
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise AtlasError(f"{source}: atlas.json does not say format {FORMAT!r}")
    if header.get("version") != VERSION:
        raise AtlasError(
            f"{source} is an atlas of version {header.get('version')!r}; this program reads "
            f"version {VERSION}"
        )
    entries = header.get("textures")
    if not isinstance(entries, list) or len(entries) > MAX_TEXTURES:
        raise AtlasError(f"{source}: expected a list of at most {MAX_TEXTURES} textures")
    for entry in entries:
        _check_entry(entry, source)


def _check_entry(entry: Any, source: str) -> None:
    """Checks the JSON of one texture, before its image is looked at."""
    if not isinstance(entry, dict):
        raise AtlasError(f"{source}: expected an object per texture, found {entry!r:.80}")
    name, wrap, scale = entry.get("name"), entry.get("wrap"), entry.get("px_per_m")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise AtlasError(f"{source}: {name!r:.80} is not a texture name such as 'asphalt_01'")
    if entry.get("group") not in GROUPS:
        raise AtlasError(
            f"{source}: texture {name!r} has the unknown group {entry.get('group')!r:.80}; "
            f"expected one of {', '.join(GROUPS)}"
        )
    if not isinstance(scale, int | float) or isinstance(scale, bool) or not math.isfinite(scale):
        raise AtlasError(f"{source}: texture {name!r}: px_per_m is {scale!r:.80}, not a number")
    booleans = isinstance(wrap, list) and len(wrap) == 2 and {*map(type, wrap)} == {bool}
    if not booleans:
        raise AtlasError(f"{source}: texture {name!r}: wrap is {wrap!r:.80}, not two booleans")
    if not isinstance(entry.get("meta"), dict) or not isinstance(entry.get("parts"), bool):
        raise AtlasError(f"{source}: texture {name!r} lacks the object 'meta' or the flag 'parts'")


class _TexelBudget:
    """Refuses images that are too large, by their headers, before they are decoded."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._left = MAX_TEXELS

    def spend(self, size: tuple[int, int], member: str) -> None:
        width, height = size
        self._left -= width * height
        if max(size) > MAX_SIDE or self._left < 0:
            raise AtlasError(
                f"{self.source}: {member} has {width}x{height} texels; a side has at most "
                f"{MAX_SIDE} and the whole atlas at most {MAX_TEXELS} texels"
            )


def _read_texture(
    archive: zipfile.ZipFile, entry: Mapping[str, Any], budget: _TexelBudget
) -> Texture:
    name = entry["name"]
    image = _read_image(archive, _image_member(name), "RGBA", budget)
    parts = None
    if entry["parts"]:
        parts = np.ascontiguousarray(
            _read_image(archive, _parts_member(name), "RGB", budget)[..., 0]
        )
    across, down = entry["wrap"]
    return Texture(
        name, entry["group"], image, float(entry["px_per_m"]), (across, down), entry["meta"], parts
    )


def _read_image(
    archive: zipfile.ZipFile, member: str, mode: str, budget: _TexelBudget
) -> ByteArray:
    try:
        with Image.open(io.BytesIO(archive.read(member)), formats=["WEBP"]) as image:
            budget.spend(image.size, member)
            return np.array(image.convert(mode), dtype=np.uint8)
    except (OSError, UnidentifiedImageError) as error:
        raise AtlasError(f"{budget.source}: cannot decode {member}: {error}") from error


def _check_texture(texture: Texture) -> None:
    """Raises AtlasError where a texture does not have the shape that its attributes promise."""
    name, image, parts = texture.name, texture.image, texture.parts
    if not _NAME.fullmatch(name):
        raise AtlasError(f"{name!r} is not a texture name such as 'asphalt_01'")
    if texture.group not in GROUPS:
        raise AtlasError(f"texture {name!r} has the unknown group {texture.group!r}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 4 or image.size == 0:
        raise AtlasError(
            f"texture {name!r}: expected uint8 (H, W, 4), found {image.dtype} {image.shape}"
        )
    if parts is not None and (parts.dtype != np.uint8 or parts.shape != image.shape[:2]):
        raise AtlasError(
            f"texture {name!r}: expected a part map uint8 {image.shape[:2]}, found "
            f"{parts.dtype} {parts.shape}"
        )
    if parts is not None and int(parts.max()) > max(Part):
        raise AtlasError(f"texture {name!r}: part {int(parts.max())} is not one of Part")
    if not 0 <= texture.px_per_m < math.inf:
        raise AtlasError(f"texture {name!r}: px_per_m is {texture.px_per_m}, not >= 0")
    for side, repeats in zip((image.shape[1], image.shape[0]), texture.wrap, strict=True):
        if repeats and side & (side - 1):
            raise AtlasError(f"texture {name!r} repeats, but its side {side} is no power of two")
    if texture.group == "facade":
        _check_facade(texture)


def _check_facade(texture: Texture) -> None:
    """Checks the rectangles and sizes that the placement of a facade reads."""
    meta, (height, width) = texture.meta, texture.image.shape[:2]
    for key in ("ground", "storey", "panes"):
        if not isinstance(meta.get(key), list) or (key != "panes" and not meta[key]):
            raise AtlasError(f"facade {texture.name!r}: meta[{key!r}] is not a list of rectangles")
    rectangles = [
        *meta["ground"],
        *meta["storey"],
        *meta["panes"],
        meta.get("top"),
        meta.get("blank"),
    ]
    for rectangle in rectangles:
        integers = isinstance(rectangle, list) and {*map(type, rectangle)} == {int}
        if not integers or len(rectangle) != 4:
            raise AtlasError(
                f"facade {texture.name!r}: {rectangle!r:.80} is not [left, top, width, height]"
            )
        left, top, across, down = rectangle
        if min(left, top) < 0 or min(across, down) < 1:
            raise AtlasError(f"facade {texture.name!r}: {rectangle} is not a rectangle")
        if left + across > width or top + down > height:
            raise AtlasError(
                f"facade {texture.name!r}: {rectangle} exceeds the sheet of {width}x{height}"
            )
    for key in ("bay_m", "storey_m", "ground_m", "cornice_m"):
        value = meta.get(key)
        if not isinstance(value, int | float) or not 0 < value < 100:
            raise AtlasError(f"facade {texture.name!r}: meta[{key!r}] is {value!r:.80}, not metres")
    if texture.px_per_m <= 0:
        raise AtlasError(f"facade {texture.name!r} has no px_per_m")
