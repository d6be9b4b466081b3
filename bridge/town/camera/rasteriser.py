"""Draws triangle ids with Panda3D's software rasteriser: the only panda3d of the project.

Every triangle is drawn in one flat colour that spells its id, so the picture is a
*visibility buffer*: which triangle is seen through each pixel. All else (labels, depth,
instances) follows exactly from the triangle table, in `visibility.py`.

The rasteriser snaps vertices to whole pixels, so it draws at twice the size and every
second pixel is read: outlines are then true to a quarter of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from panda3d import core as p3d

from sim2street.bridge.errors import WorldError
from sim2street.bridge.frame import Camera, FloatArray
from sim2street.bridge.town.scenery.meshes import Layer, Triangles

IdImage = npt.NDArray[np.uint32]

NEAR_M = 0.25
FAR_M = 1000.0
MAX_TRIANGLE_ID = (1 << 24) - 1
OVERSAMPLING = 2
SAMPLE_SHIFT_PX = (0.05, 0.14)
"""Where the pixel that is read lies off its centre: the rasteriser's rounding, measured by
drawing known triangles (a test holds it)."""


@dataclass(frozen=True, slots=True)
class Part:
    """Handle of a drawn group of triangles."""

    node: p3d.NodePath


@dataclass(frozen=True, slots=True)
class _Target:
    buffer: p3d.GraphicsOutput
    texture: p3d.Texture
    camera_node: p3d.NodePath


class Rasteriser:
    """Off-screen drawing of triangle ids, for any number of cameras."""

    def __init__(self) -> None:
        selection = p3d.GraphicsPipeSelection.get_global_ptr()
        pipe = selection.make_pipe("TinyOffscreenGraphicsPipe", "p3tinydisplay")
        if pipe is None:
            raise WorldError(
                "panda3d's software display (p3tinydisplay) cannot be loaded; "
                "reinstall with: pip install --force-reinstall panda3d"
            )
        # Panda remembers every place an actor ever was, 40 kB a tick, and looks none of them up.
        p3d.ConfigVariableBool("transform-cache").set_value(False)
        self._pipe = pipe
        self._engine = p3d.GraphicsEngine(pipe)
        self._root = p3d.NodePath("town")
        self._layers = {layer: self._make_layer(layer) for layer in Layer}
        self._targets: dict[Camera, _Target] = {}

    def add(self, triangles: Triangles, first_id: int, layer: Layer) -> Part:
        """Draw `triangles` (N, 3, 3) with the ids `first_id`, `first_id` + 1, ..."""
        count = len(triangles)
        if first_id < 1 or first_id + count - 1 > MAX_TRIANGLE_ID:
            raise WorldError(f"triangle ids {first_id}+{count} do not fit in 24 bits")
        vertices = np.empty((count, 3, 4), "<f4")
        vertices[..., :3] = triangles
        ids = np.arange(first_id, first_id + count, dtype="<u4")
        # Written as B, G, R, A, the order in which the picture is read back.
        colours = (ids >> 16) | (ids & 0xFF00) | ((ids & 0xFF) << 16) | 0xFF000000
        vertices.view("<u4")[..., 3] = colours[:, None]
        data = p3d.GeomVertexData("ids", p3d.GeomVertexFormat.get_v3c4(), p3d.Geom.UH_static)
        data.unclean_set_num_rows(count * 3)
        data.modify_array(0).modify_handle().copy_data_from(vertices)
        primitive = p3d.GeomTriangles(p3d.Geom.UH_static)
        primitive.add_consecutive_vertices(0, count * 3)
        geom = p3d.Geom(data)
        geom.add_primitive(primitive)
        node = p3d.GeomNode("part")
        node.add_geom(geom)
        return Part(self._layers[layer].attach_new_node(node))

    def show(self, part: Part, visible: bool) -> None:
        """Draw this part from now on, or not."""
        if visible:
            part.node.show()
        else:
            part.node.hide()

    def place(self, part: Part, pose: FloatArray) -> None:
        """Move a part: `pose` (4, 4) takes its triangles to the world."""
        part.node.set_mat(p3d.LMatrix4(*np.asarray(pose, np.float64).T.ravel().tolist()))

    def remove(self, part: Part) -> None:
        """Forget this part."""
        part.node.remove_node()

    def draw(self, camera: Camera, pose: FloatArray) -> IdImage:
        """Triangle ids uint32 (H, W) through the pixel centres; 0 = nothing (the sky)."""
        if camera not in self._targets:
            self._targets[camera] = self._make_target(camera)
        target = self._targets[camera]
        target.camera_node.set_mat(_panda_camera_matrix(pose))
        target.buffer.set_active(True)
        self._engine.render_frame()
        target.buffer.set_active(False)
        height, width = camera.height_px * OVERSAMPLING, camera.width_px * OVERSAMPLING
        raw = np.frombuffer(target.texture.get_ram_image(), np.uint32).reshape(height, width)
        # The image is bottom-up.
        return raw[::-OVERSAMPLING, ::OVERSAMPLING] & np.uint32(MAX_TRIANGLE_ID)

    def close(self) -> None:
        """Release windows and geometry. Allowed more than once."""
        self._engine.remove_all_windows()
        for target in self._targets.values():
            target.camera_node.remove_node()
        self._targets.clear()
        self._root.remove_node()
        self._root = p3d.NodePath("closed")

    def _make_layer(self, layer: Layer) -> p3d.NodePath:
        node: p3d.NodePath = self._root.attach_new_node(layer.name)
        if layer in (Layer.TERRAIN, Layer.ROAD, Layer.MARKING):
            node.set_bin("background", int(layer))
            node.set_depth_test(False)
            node.set_depth_write(False)
        else:
            # In the order of the scene: other bins sort by memory address, which would
            # decide ties of depth differently in every process.
            node.set_bin("unsorted", 0)
        node.set_two_sided(layer is not Layer.SOLID)
        return node

    def _make_target(self, camera: Camera) -> _Target:
        width, height = camera.width_px * OVERSAMPLING, camera.height_px * OVERSAMPLING
        properties = p3d.FrameBufferProperties()
        properties.set_rgb_color(True)
        properties.set_color_bits(24)
        properties.set_depth_bits(24)
        size = p3d.WindowProperties.size(width, height)
        refuse = p3d.GraphicsPipe.BF_refuse_window
        buffer = self._engine.make_output(self._pipe, "view", 0, properties, size, refuse)
        if buffer is None:
            raise WorldError(f"panda3d cannot make an off-screen buffer of {width}x{height}")
        texture = p3d.Texture("ids")
        buffer.add_render_texture(texture, p3d.GraphicsOutput.RTM_copy_ram)
        buffer.set_clear_color((0, 0, 0, 0))
        buffer.set_active(False)
        camera_node = self._root.attach_new_node(p3d.Camera("camera", _make_lens(camera)))
        buffer.make_display_region().set_camera(camera_node)
        return _Target(buffer, texture, camera_node)


def _make_lens(camera: Camera) -> p3d.PerspectiveLens:
    """Lens of this pinhole camera, shifted so that the pixels read are pixel centres."""
    width, height = camera.width_px, camera.height_px
    right_px = (width - 1) / 2 - camera.cx_px + SAMPLE_SHIFT_PX[0]
    down_px = (height - 1) / 2 - camera.cy_px + SAMPLE_SHIFT_PX[1]
    lens = p3d.PerspectiveLens()
    lens.set_film_size(width / camera.fx_px, height / camera.fy_px)
    lens.set_focal_length(1.0)
    lens.set_film_offset(right_px / camera.fx_px, -down_px / camera.fy_px)
    lens.set_near_far(NEAR_M, FAR_M)
    return lens


def _panda_camera_matrix(pose: FloatArray) -> p3d.LMatrix4:
    """Pose with OpenCV axes as Panda's row-vector matrix (x right, y forward, z up)."""
    axes = np.asarray(pose, np.float64)
    matrix = np.eye(4)
    matrix[0, :3], matrix[1, :3] = axes[:3, 0], axes[:3, 2]
    matrix[2, :3], matrix[3, :3] = -axes[:3, 1], axes[:3, 3]
    return p3d.LMatrix4(*matrix.ravel().tolist())
