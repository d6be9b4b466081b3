"""Reads Wavefront OBJ and glTF 2.0 models as arrays of triangles."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float64]


@dataclass
class Material:
    """Colour in linear light, opacity and an optional texture (uint8 (H, W, 3), sRGB)."""

    name: str
    colour: tuple[float, float, float] = (0.6, 0.6, 0.6)
    opacity: float = 1.0
    texture: npt.NDArray[np.uint8] | None = None


@dataclass
class Model:
    """Triangles: corners (N, 3, 3), normals (N, 3, 3), uv (N, 3, 2), material index (N,)."""

    corners: Array
    normals: Array
    uv: Array
    material: npt.NDArray[np.int64]
    materials: list[Material] = field(default_factory=list)

    def bounds(self) -> tuple[Array, Array]:
        """Least and greatest coordinates."""
        points = self.corners.reshape(-1, 3)
        return points.min(0), points.max(0)

    def turned(self, matrix: Array) -> Model:
        """The model with every point multiplied by a (3, 3) matrix."""
        normals = self.normals @ np.linalg.inv(matrix)
        length = np.linalg.norm(normals, axis=2, keepdims=True)
        return Model(
            self.corners @ matrix.T,
            normals / np.maximum(length, 1e-12),
            self.uv,
            self.material,
            self.materials,
        )

    def fitted(self, size: tuple[float, float, float]) -> Model:
        """The model scaled to a size and moved: middle in x and y, lowest point at z = 0."""
        low, high = self.bounds()
        scale = np.array(size) / (high - low)
        moved = self.turned(np.diag(scale))
        low, high = moved.bounds()
        moved.corners = moved.corners - np.array([*(low + high)[:2] / 2, low[2]])
        return moved

    def without(self, *names: str) -> Model:
        """The model without the triangles of these materials."""
        keep = np.array([m.name not in names for m in self.materials])[self.material]
        return Model(
            self.corners[keep], self.normals[keep], self.uv[keep], self.material[keep],
            self.materials,
        )  # fmt: skip


def joined(models: list[Model]) -> Model:
    """Several models as one."""
    offset, material, materials = 0, [], []
    for model in models:
        material.append(model.material + offset)
        materials += model.materials
        offset += len(model.materials)
    return Model(
        np.concatenate([m.corners for m in models]),
        np.concatenate([m.normals for m in models]),
        np.concatenate([m.uv for m in models]),
        np.concatenate(material),
        materials,
    )


def flat_normals(corners: Array) -> Array:
    """The triangles' own normals at their corners."""
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    return np.repeat(normal[:, None], 3, axis=1)


def load_obj(path: Path) -> Model:
    """A Wavefront OBJ file with its materials."""
    points: list[list[float]] = []
    normals: list[list[float]] = []
    uvs: list[list[float]] = [[0.0, 0.0]]
    rows: list[tuple[list[int], list[int], list[int]]] = []
    materials = [Material("none")]
    names = {"none": 0}
    current, used = 0, []
    for line in path.read_text(errors="replace").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "v":
            points.append([float(x) for x in rest.split()[:3]])
        elif word == "vn":
            normals.append([float(x) for x in rest.split()[:3]])
        elif word == "vt":
            uvs.append([float(x) for x in rest.split()[:2]])
        elif word == "mtllib":
            for material in _load_mtl(path.parent / rest.strip()):
                names[material.name] = len(materials)
                materials.append(material)
        elif word == "usemtl":
            current = names.get(rest.strip(), 0)
        elif word == "f":
            corners = [_indices(item, len(points), len(uvs), len(normals)) for item in rest.split()]
            for second, third in pairwise(corners[1:]):
                fan = (corners[0], second, third)
                rows.append(tuple([c[k] for c in fan] for k in range(3)))  # type: ignore[arg-type]
                used.append(current)
    index = np.array(rows)
    corners_array = np.array(points)[index[:, 0]]
    own = flat_normals(corners_array)
    if normals:
        stored = np.array(normals)[np.maximum(index[:, 2], 0)]
        own = np.where((index[:, 2] >= 0)[..., None], stored, own)
    return Model(corners_array, own, np.array(uvs)[index[:, 1]], np.array(used), materials)


def _indices(item: str, points: int, uvs: int, normals: int) -> tuple[int, int, int]:
    """0-based point, uv (0 = none; the list has a dummy) and normal (-1 = none) of a corner."""
    parts = [int(x) if x else 0 for x in [*item.split("/"), "", ""][:3]]
    point = parts[0] - 1 if parts[0] > 0 else points + parts[0]
    uv = parts[1] if parts[1] >= 0 else uvs + parts[1]
    normal = parts[2] - 1 if parts[2] >= 0 else normals + parts[2]
    return point, uv, normal


def _load_mtl(path: Path) -> Iterator[Material]:
    material: Material | None = None
    for line in path.read_text(errors="replace").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "newmtl":
            if material:
                yield material
            material = Material(rest.strip())
        elif material and word == "Kd":
            red, green, blue = (float(x) for x in rest.split()[:3])
            material.colour = (red, green, blue)
        elif material and word == "d":
            material.opacity = float(rest.split()[0])
        elif material and word == "map_Kd":
            image = path.parent / rest.strip().replace("\\", "/").split("/")[-1]
            if image.exists():
                material.texture = np.array(Image.open(image).convert("RGB"))
    if material:
        yield material


_TYPES = {
    5120: np.int8,
    5121: np.uint8,
    5122: np.int16,
    5123: np.uint16,
    5125: np.uint32,
    5126: np.float32,
}
_SIZES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class _Gltf:
    """Accessors, images and meshes of one glTF file."""

    def __init__(self, path: Path) -> None:
        self.json: dict[str, Any] = json.loads(path.read_text())
        self.folder = path.parent
        self.buffers = [self._uri(buffer["uri"]) for buffer in self.json["buffers"]]

    def _uri(self, uri: str) -> bytes:
        if uri.startswith("data:"):
            return base64.b64decode(uri.split(",", 1)[1])
        return (self.folder / uri).read_bytes()

    def view(self, index: int) -> bytes:
        view = self.json["bufferViews"][index]
        start = view.get("byteOffset", 0)
        return self.buffers[view["buffer"]][start : start + view["byteLength"]]

    def accessor(self, index: int) -> npt.NDArray[Any]:
        accessor = self.json["accessors"][index]
        view = self.json["bufferViews"][accessor["bufferView"]]
        dtype, width = np.dtype(_TYPES[accessor["componentType"]]), _SIZES[accessor["type"]]
        data = self.view(accessor["bufferView"])[accessor.get("byteOffset", 0) :]
        stride = view.get("byteStride", dtype.itemsize * width)
        return np.ndarray(
            (accessor["count"], width), dtype, data, strides=(stride, dtype.itemsize)
        ).copy()

    def image(self, index: int) -> npt.NDArray[np.uint8]:
        image = self.json["images"][self.json["textures"][index]["source"]]
        data = self.view(image["bufferView"]) if "bufferView" in image else self._uri(image["uri"])
        return np.array(Image.open(io.BytesIO(data)).convert("RGB"))

    def materials(self) -> list[Material]:
        found = []
        for entry in self.json["materials"]:
            pbr = entry.get("pbrMetallicRoughness", {})
            spec = entry.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness", {})
            colour = pbr.get("baseColorFactor", spec.get("diffuseFactor", [1, 1, 1, 1]))
            texture = pbr.get("baseColorTexture", spec.get("diffuseTexture"))
            image = self.image(texture["index"]) if texture else None
            opacity = colour[3] if entry.get("alphaMode") == "BLEND" else 1.0
            red, green, blue = colour[:3]
            found.append(Material(entry.get("name", ""), (red, green, blue), opacity, image))
        return found

    def meshes(self, node_index: int, parent: Array) -> Iterator[tuple[Array, dict[str, Any], str]]:
        """World matrix, primitive and node name of every primitive below a node."""
        node = self.json["nodes"][node_index]
        matrix = parent @ _node_matrix(node)
        if "mesh" in node:
            for primitive in self.json["meshes"][node["mesh"]]["primitives"]:
                yield matrix, primitive, node.get("name", "")
        for child in node.get("children", []):
            yield from self.meshes(child, matrix)


def _node_matrix(node: dict[str, Any]) -> Array:
    if "matrix" in node:
        return np.array(node["matrix"], dtype=float).reshape(4, 4).T
    x, y, z, w = node.get("rotation", [0, 0, 0, 1])
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = turn * np.array(node.get("scale", [1, 1, 1]))
    matrix[:3, 3] = node.get("translation", [0, 0, 0])
    return matrix


def load_gltf(path: Path, skip: tuple[str, ...] = ()) -> Model:
    """A glTF file in its rest pose, without the nodes whose names begin with one of `skip`."""
    gltf = _Gltf(path)
    corners, normals, uvs, used = [], [], [], []
    scene = gltf.json["scenes"][gltf.json.get("scene", 0)]
    for root in scene["nodes"]:
        for matrix, primitive, name in gltf.meshes(root, np.eye(4)):
            if name.startswith(skip) and skip:
                continue
            attributes = primitive["attributes"]
            points = gltf.accessor(attributes["POSITION"]) @ matrix[:3, :3].T + matrix[:3, 3]
            index = gltf.accessor(primitive["indices"])[:, 0].astype(int).reshape(-1, 3)
            corners.append(points[index])
            if "NORMAL" in attributes:
                normal = gltf.accessor(attributes["NORMAL"]) @ np.linalg.inv(matrix[:3, :3])
                length = np.linalg.norm(normal, axis=1, keepdims=True)
                normals.append((normal / np.maximum(length, 1e-12))[index])
            else:
                normals.append(flat_normals(points[index]))
            has_uv = "TEXCOORD_0" in attributes
            uv = gltf.accessor(attributes["TEXCOORD_0"]) if has_uv else np.zeros((len(points), 2))
            uvs.append(uv[index] * [1, -1] + [0, 1])
            used.append(np.full(len(index), primitive.get("material", 0)))
    return Model(
        np.concatenate(corners), np.concatenate(normals), np.concatenate(uvs),
        np.concatenate(used), gltf.materials(),
    )  # fmt: skip
