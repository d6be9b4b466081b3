"""Draws a visibility buffer with panda3d's software rasteriser.

A *visibility buffer* (Burns and Hunt 2013, JCGT 2(2)) is an image of triangle ids: each
pixel holds the id of the triangle that is seen through its centre, and 0 where there is none
(the sky). Each triangle is drawn in one flat colour whose 24 bits are its id; lighting,
blending and antialiasing are off. `triangle_table.py` looks up the rest by id.

Conventions: images are (H, W), row 0 at the top. Poses are (4, 4) matrices that take points
to the world frame (x east, y north, z up, metres); cameras have OpenCV axes (x right, y down,
z forward), and integer pixel coordinates are pixel centres.

This is the only module that imports panda3d. A `Rasteriser` owns every panda3d object that it
makes; callers hold `MeshHandle`s, which are valid until `Rasteriser.close`.

The rasteriser snaps vertices to whole pixels. It therefore draws at `OVERSAMPLING` times the
size and reads every `OVERSAMPLING`-th pixel, which puts outlines within a quarter of a pixel
of their true position.
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
"""Nothing nearer than `NEAR_M` or farther than `FAR_M` (planar z) is drawn."""

MAX_TRIANGLE_ID = (1 << 24) - 1
OVERSAMPLING = 2
SAMPLE_SHIFT_PX = (0.05, 0.14)
"""How far the point that the rasteriser samples lies from the pixel's centre, to the right
and down. Measured by drawing known triangles; `test_outlines_are_not_shifted` checks it."""


@dataclass(frozen=True, slots=True)
class MeshHandle:
    """A mesh in a `Rasteriser`, as returned by `Rasteriser.add`.

    Attributes:
        order: meshes of a layer are drawn in this order, which is that in which they were added.
    """

    node: p3d.NodePath
    layer: Layer
    order: int


@dataclass(frozen=True, slots=True)
class _RenderTarget:
    """The panda3d objects that draw the images of one camera."""

    buffer: p3d.GraphicsOutput
    texture: p3d.Texture
    camera_node: p3d.NodePath


class Rasteriser:
    """Holds the meshes of one scene and draws their triangle ids for any number of cameras.

    Not thread-safe. Raises `WorldError` where panda3d cannot provide what is needed.
    """

    def __init__(self) -> None:
        selection = p3d.GraphicsPipeSelection.get_global_ptr()
        pipe = selection.make_pipe("TinyOffscreenGraphicsPipe", "p3tinydisplay")
        if pipe is None:
            raise WorldError(
                "panda3d's software renderer (p3tinydisplay) cannot be loaded; "
                "reinstall it with: pip install --force-reinstall panda3d"
            )
        # The cache would keep every pose that an actor ever had (40 kB per tick) and hit none.
        p3d.ConfigVariableBool("transform-cache").set_value(False)
        self._pipe = pipe
        self._engine = p3d.GraphicsEngine(pipe)
        self._root = p3d.NodePath("town")
        self._layers = {layer: self._make_layer(layer) for layer in Layer}
        self._targets: dict[Camera, _RenderTarget] = {}
        self._mesh_count = 0

    def add(self, triangles: Triangles, first_id: int, layer: Layer) -> MeshHandle:
        """Add a visible mesh at the world's origin.

        Args:
            triangles: float32 (N, 3, 3), metres, in the mesh's own frame.
            first_id: id of the first triangle (at least 1); the others count up from it.
            layer: decides the drawing order and whether back faces are drawn.
        """
        count = len(triangles)
        if first_id < 1 or first_id + count - 1 > MAX_TRIANGLE_ID:
            raise WorldError(
                f"triangle ids must lie between 1 and {MAX_TRIANGLE_ID} (24 bits), "
                f"got {first_id} to {first_id + count - 1}: the scene has too many triangles"
            )
        vertices = np.empty((count, 3, 4), "<f4")
        vertices[..., :3] = triangles
        ids = np.arange(first_id, first_id + count, dtype="<u4")
        # panda3d stores vertex colours as R, G, B, A and reads images back as B, G, R, A:
        # swap R and B here, so that the read-back bytes are the id in little-endian order.
        colours = (ids >> 16) | (ids & 0xFF00) | ((ids & 0xFF) << 16) | 0xFF000000
        vertices.view("<u4")[..., 3] = colours[:, None]
        data = p3d.GeomVertexData("ids", p3d.GeomVertexFormat.get_v3c4(), p3d.Geom.UH_static)
        data.unclean_set_num_rows(count * 3)
        data.modify_array(0).modify_handle().copy_data_from(vertices)
        primitive = p3d.GeomTriangles(p3d.Geom.UH_static)
        primitive.add_consecutive_vertices(0, count * 3)
        geom = p3d.Geom(data)
        geom.add_primitive(primitive)
        node = p3d.GeomNode("mesh")
        node.add_geom(geom)
        handle = MeshHandle(p3d.NodePath(node), layer, self._mesh_count)
        self._mesh_count += 1
        self.set_visible(handle, True)
        return handle

    def set_visible(self, mesh: MeshHandle, visible: bool) -> None:
        """Draw this mesh from now on, or leave it out.

        What is left out is detached: panda3d visits every child of a layer in each frame, also
        hidden ones, and a town has thousands of meshes.
        """
        if visible:
            mesh.node.reparent_to(self._layers[mesh.layer], mesh.order)
        else:
            mesh.node.detach_node()

    def set_pose(self, mesh: MeshHandle, pose: FloatArray) -> None:
        """Move a mesh: `pose` (4, 4) takes its own frame to the world frame."""
        # panda3d multiplies row vectors from the left: its matrices are transposed.
        mesh.node.set_mat(p3d.LMatrix4(*np.asarray(pose, np.float64).T.ravel().tolist()))

    def draw(self, camera: Camera, pose: FloatArray) -> IdImage:
        """The visibility buffer, uint32 (H, W), of a camera at `pose`; 0 is the sky.

        The first call for a `camera` makes its off-screen buffer, which is kept until `close`.
        """
        if camera not in self._targets:
            self._targets[camera] = self._make_target(camera)
        target = self._targets[camera]
        target.camera_node.set_mat(_panda_camera_matrix(pose))
        target.buffer.set_active(True)
        self._engine.render_frame()
        target.buffer.set_active(False)
        height, width = camera.height_px * OVERSAMPLING, camera.width_px * OVERSAMPLING
        raw = np.frombuffer(target.texture.get_ram_image(), np.uint32).reshape(height, width)
        # panda3d's row 0 is at the bottom.
        return raw[::-OVERSAMPLING, ::OVERSAMPLING] & np.uint32(MAX_TRIANGLE_ID)

    def close(self) -> None:
        """Release all panda3d objects; afterwards nothing may be added or drawn. Idempotent."""
        self._engine.remove_all_windows()
        for target in self._targets.values():
            target.camera_node.remove_node()
        self._targets.clear()
        self._root.remove_node()
        self._root = p3d.NodePath("closed")

    def _make_layer(self, layer: Layer) -> p3d.NodePath:
        node: p3d.NodePath = self._root.attach_new_node(layer.name)
        if layer in (Layer.TERRAIN, Layer.ROAD, Layer.MARKING):
            # These lie in one plane: draw them first and in order, without a depth test.
            node.set_bin("background", int(layer))
            node.set_depth_test(False)
            node.set_depth_write(False)
        else:
            # "unsorted" draws in the order in which meshes were added. Other bins sort by
            # memory address, so pixels of equal depth would differ between processes.
            node.set_bin("unsorted", 0)
        node.set_two_sided(layer is not Layer.SOLID)
        return node

    def _make_target(self, camera: Camera) -> _RenderTarget:
        width, height = camera.width_px * OVERSAMPLING, camera.height_px * OVERSAMPLING
        properties = p3d.FrameBufferProperties()
        properties.set_rgb_color(True)
        properties.set_color_bits(24)
        properties.set_depth_bits(24)
        size = p3d.WindowProperties.size(width, height)
        refuse = p3d.GraphicsPipe.BF_refuse_window
        buffer = self._engine.make_output(self._pipe, "view", 0, properties, size, refuse)
        if buffer is None:
            raise WorldError(
                f"panda3d cannot make an off-screen buffer of {width}x{height} pixels: "
                "use a smaller camera"
            )
        texture = p3d.Texture("ids")
        buffer.add_render_texture(texture, p3d.GraphicsOutput.RTM_copy_ram)
        buffer.set_clear_color((0, 0, 0, 0))
        buffer.set_active(False)
        camera_node = self._root.attach_new_node(p3d.Camera("camera", _make_lens(camera)))
        buffer.make_display_region().set_camera(camera_node)
        return _RenderTarget(buffer, texture, camera_node)


def _make_lens(camera: Camera) -> p3d.PerspectiveLens:
    """Lens of a pinhole camera, shifted so that the rasteriser samples the pixel centres."""
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
    """A camera pose with OpenCV axes, as panda3d expects it.

    panda3d's cameras have x right, y forward, z up, and its matrices hold the axes as rows.
    """
    to_world = np.asarray(pose, np.float64)
    right, down, forward, position = to_world[:3].T
    matrix = np.eye(4)
    matrix[:, :3] = right, forward, -down, position
    return p3d.LMatrix4(*matrix.ravel().tolist())
