"""Car sheets drawn over the outlines of the town's own models, shaded as height fields.

Each view is a picture of the distance of the body from a plane, with creases and grooves, and of
what each pixel is (paint, pane, lamp, wheel). Shading follows from the slopes of that surface, as
for rendered models. The outlines are those of the town's meshes, so windows and wheels fit them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import ndimage

from sim2street.bridge.town.actor_models import VEHICLE_MODELS, ActorModel
from sim2street.bridge.town.scenery.vehicle_meshes import _SHAPES
from sim2street.neural_renderer.canvas.atlas import Part, Texture
from tools.atlas.height_field import SCALE, Field
from tools.atlas.images import Bytes, Floats, Random, blur, read, resize
from tools.atlas.models import load_gltf
from tools.atlas.raster import VIEWS, render
from tools.atlas.vehicles import UP_Z, packed


@dataclass(frozen=True)
class Look:
    """Details of one model; x in half lengths, as in the town's profiles.

    Attributes:
        pillars: x of the pillars between side windows.
        doors: x of the door seams, from front to back.
        glass_to: the side windows end here (vans are closed behind).
        lamp: shape of the head lamps: round, wide, tall.
        tail: shape of the tail lamps: wide, tall, block.
        plastic: dark cladding below and around the wheels.
        tail_window: bottom and top of the rear window, in heights.
    """

    pillars: tuple[float, ...]
    doors: tuple[float, ...]
    glass_to: float = -1.0
    lamp: str = "wide"
    tail: str = "wide"
    plastic: bool = False
    tail_window: tuple[float, float] = (0.67, 0.92)


LOOKS: dict[str, Look] = {
    "city_car": Look((-0.22,), (0.5, -0.22), lamp="round", tail="tall"),
    "hatchback": Look((0.0, -0.55), (0.42, 0.0, -0.5), tail="tall"),
    "compact": Look((-0.04, -0.56), (0.42, -0.04, -0.5)),
    "sedan": Look((-0.06, -0.47), (0.36, -0.06, -0.48)),
    "limousine": Look((-0.06, -0.5), (0.34, -0.06, -0.5), lamp="tall"),
    "estate": Look((-0.04, -0.52), (0.38, -0.04, -0.5), tail="tall"),
    "suv": Look((0.0, -0.55), (0.4, 0.0, -0.48), lamp="tall", tail="tall", plastic=True),
    "minivan": Look((0.1, -0.45), (0.5, 0.1, -0.42), tail="tall"),
    "van": Look(
        (0.24,),
        (0.62, 0.24, -0.3),
        glass_to=0.24,
        lamp="tall",
        tail="tall",
        plastic=True,
        tail_window=(0.58, 0.86),
    ),
    "pickup": Look((-0.02,), (0.4, -0.02), lamp="tall", tail="block", plastic=True),
}


class Car:
    """Draws the four views of one model of the town."""

    def __init__(self, model: ActorModel, wheel: tuple[Floats, Floats], panorama: Floats) -> None:
        self.model, self.look, self.shape = model, LOOKS[model.name], _SHAPES[model.name]
        self.length, self.width, self.height = (2 * x for x in model.extent_m)
        self.wheel, self.panorama = wheel, panorama

    def _points(self, profile: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
        """A profile in (u, z) of the side view, front at the left."""
        return [(-x * self.length / 2, z * self.height) for x, z in profile]

    def _u(self, x: float) -> float:
        return -x * self.length / 2

    def side(self, random: Random) -> tuple[Floats, Floats, Bytes]:
        """The left side, front at the left."""
        field, shape, look = Field(self.length, self.height), self.shape, self.look
        body, cabin = (field.polygon(self._points(p)) for p in (shape.body, shape.cabin))
        field.cover = body | cabin
        field.rounded(0.16, 0.12)
        belt = self.belt
        field.height -= (0.22 * np.clip(field.z - belt, 0, None)).astype(np.float32)
        field.height -= (0.10 * np.clip(0.42 - field.z, 0, None) ** 1.3).astype(np.float32)
        field.height -= (0.32 * (field.z - belt * 0.62) ** 2 * (field.z < belt)).astype(np.float32)
        crease = belt * 0.86
        field.height += (0.016 * np.tanh((field.z - crease) / 0.012) * (field.z < belt)).astype(
            np.float32
        )
        field.height -= (0.012 * np.exp(-(((field.z - belt * 0.42) / 0.03) ** 2))).astype(
            np.float32
        )
        self._side_glass(field, cabin, belt)
        self._doors(field, belt)
        self._side_lamps(field, body)
        arches = self._wheels(field)
        sill = (field.z < 0.26) & field.cover & ~arches
        field.paint(sill if look.plastic else sill & (field.z < 0.2), 0.03, Part.NONE)
        return field.shaded(self.panorama, "side", random)

    @property
    def belt(self) -> float:
        """Height of the lower edge of the side windows, metres."""
        return max(z for _, z in self.shape.cabin[:1]) * self.height + 0.03

    def _side_glass(self, field: Field, cabin: np.ndarray, belt: float) -> None:
        depth = ndimage.distance_transform_edt(np.pad(cabin, 1))[1:-1, 1:-1] / SCALE
        top = field.z > belt + 0.035
        pane = (depth > 0.075) & top & (field.u < self._u(self.look.glass_to))
        for x in self.look.pillars:
            pane &= np.abs(field.u - self._u(x)) > 0.045
        field.glass(pane)
        first = self._u(self.look.pillars[0])
        seats = (first - 0.12, first + 0.75) if self.look.glass_to < 0 else (first - 0.2,)
        field.interior(pane, belt, seats)
        for x in self.look.pillars[:1]:
            strip = (np.abs(field.u - self._u(x)) < 0.045) & (depth > 0.06) & top
            field.paint(strip & field.cover, 0.015, Part.NONE)

    def _doors(self, field: Field, belt: float) -> None:
        seams = self.look.doors
        low = 0.24
        for x in seams:
            line = (
                (np.abs(field.u - self._u(x)) < 0.006) & (field.z > low) & (field.z < belt + 0.02)
            )
            field.groove(line & field.cover)
        along = (field.u > self._u(seams[0])) & (field.u < self._u(seams[-1]))
        field.groove(along & (np.abs(field.z - low) < 0.006) & field.cover)
        for x in seams[1:]:
            left = self._u(x) - 0.24
            handle = field.box(left, belt - 0.14, left + 0.17, belt - 0.105, 0.015)
            field.paint(
                field.box(left - 0.01, belt - 0.155, left + 0.18, belt - 0.13),
                0.12,
                Part.PAINT,
                -0.008,
            )
            field.paint(handle, 0.55, Part.PAINT, 0.02)
        mirror = self._u(self.shape.mirror) - 0.04
        shell = field.box(mirror - 0.1, belt + 0.02, mirror + 0.09, belt + 0.15, 0.05)
        field.paint(shell, 0.6, Part.PAINT, 0.12)
        field.paint(
            field.box(mirror - 0.02, belt - 0.02, mirror + 0.1, belt + 0.035), 0.02, Part.NONE, 0.06
        )
        cap = np.hypot(field.u - self._u(seams[-1] - 0.12), field.z - belt + 0.16)
        field.groove(np.abs(cap - 0.075) < 0.005)

    def _side_lamps(self, field: Field, body: np.ndarray) -> None:
        high, front, rear = self.belt, -self.length / 2, self.length / 2
        inner = ndimage.binary_erosion(body, iterations=3)
        head = field.polygon(
            [
                (front - 0.1, high * 0.62),
                (front + 0.1, high * 0.6),
                (front + 0.46, high * 0.8),
                (front + 0.1, high * 0.84),
                (front - 0.1, high * 0.8),
            ]
        )
        field.lamp(head & inner, (0.75, 0.76, 0.78))
        reach = 0.3 if self.look.tail == "wide" else 0.17
        top = high * (0.98 if self.look.tail == "wide" else 1.15)
        tail = field.polygon(
            [
                (rear + 0.1, high * 0.74),
                (rear - reach, high * 0.8),
                (rear - reach * 0.8, top),
                (rear + 0.1, top),
            ]
        )
        tail &= ndimage.binary_erosion(field.cover, iterations=3)
        field.lamp(tail & (field.kind != Part.PANE), (0.34, 0.012, 0.014))
        for x, side in ((front + 0.42, -1), (rear - 0.4, 1)):
            seam = (np.abs(field.u - x - 0.1 * side * (field.z - high * 0.4)) < 0.006) & (
                field.z < high * 0.66
            )
            field.groove(seam & body)
        strip = field.box(front + 0.16, high * 0.5, front + 0.3, high * 0.54, 0.01)
        field.lamp(strip & inner, (0.5, 0.18, 0.02))

    def _wheels(self, field: Field) -> np.ndarray:
        arches = np.zeros(field.cover.shape, bool)
        radius = self.shape.wheel_m
        for axle in self.shape.wheels:
            centre = self._u(axle)
            distance = np.hypot(field.u - centre, field.z - radius)
            arch = (distance < radius + 0.045) & field.cover
            if self.look.plastic:
                field.paint((distance < radius + 0.11) & field.cover, 0.03, Part.NONE, 0.01)
            else:
                ring = np.exp(-(((distance - radius - 0.06) / 0.03) ** 2))
                field.height += (0.014 * ring).astype(np.float32)
            field.paint(arch, 0.006, Part.NONE, -0.15)
            arches |= arch
            self._wheel(field, centre, radius)
        return arches

    def _wheel(self, field: Field, centre: float, radius: float) -> None:
        size = round(2 * radius * SCALE)
        colour, alpha = (resize(x, size, size) for x in self.wheel)
        left = round((centre - radius - field.u[0, 0]) * SCALE)
        window = (slice(field.rows - size, field.rows), slice(left, left + size))
        solid = alpha > 0.5
        field.colour[window][solid] = colour[solid]
        field.kind[window][solid] = int(Part.WHEEL)
        field.height[window][solid] = 0.0
        field.cover[window] |= solid

    def _outline(self) -> tuple[Floats, Floats, Floats]:
        """x of the front and of the back by height, and the heights, from the profiles."""
        heights = np.linspace(0, self.height, 200)
        front, back = np.full(200, -9.0), np.full(200, 9.0)
        for profile in (self.shape.body, self.shape.cabin):
            points = np.array([(x * self.length / 2, z * self.height) for x, z in profile])
            closed = np.vstack([points, points[:1]])
            for (x0, z0), (x1, z1) in pairwise(closed):
                low, high = min(z0, z1), max(z0, z1)
                inside = (heights >= low) & (heights <= high)
                share = (heights[inside] - z0) / (z1 - z0 if abs(z1 - z0) > 1e-6 else 1e-6)
                x = np.clip(x0 + share * (x1 - x0), min(x0, x1), max(x0, x1))
                front[inside] = np.maximum(front[inside], x)
                back[inside] = np.minimum(back[inside], x)
        return front.astype(np.float32), back.astype(np.float32), heights.astype(np.float32)

    def end(self, view: str, random: Random) -> tuple[Floats, Floats, Bytes]:
        """The front or the back."""
        field = Field(self.width, self.height)
        half, high = self.width / 2, self.height
        front, back, heights = self._outline()
        reach = np.interp(field.z[:, 0], heights, front if view == "front" else -back)
        waist = 0.62 * high
        across = np.where(
            field.z > waist,
            1 - (1 - self.shape.roof) * (field.z - waist) / (high - waist),
            0.94 + 0.06 * np.minimum(1, field.z / high / 0.4),
        )
        low = min(z for _, z in self.shape.body) * high
        field.cover = (np.abs(field.u) < across * half) & (field.z > low)
        field.cover &= ~((np.abs(field.u) > across * half - 0.06) & (field.z > high - 0.06))
        field.height += np.clip(reach, -9, 9).astype(np.float32)[:, None]
        bow = np.clip(np.abs(field.u) / half, 0, 1)
        field.height -= (0.16 * bow**3).astype(np.float32)
        field.rounded(0.1, 0.07)
        field.height = blur(field.height, 4)
        (self._front if view == "front" else self._back)(field)
        for side in (-1, 1):
            tyre = field.box(
                side * (half - 0.13) - 0.11, 0, side * (half - 0.13) + 0.11, low + 0.12, 0.03
            )
            tyre &= ~field.cover
            field.cover |= tyre
            field.paint(tyre, 0.014, Part.WHEEL)
        return field.shaded(self.panorama, view, random)

    def _plate(self, field: Field, z: float, colour: tuple[float, float, float]) -> None:
        field.paint(field.box(-0.27, z - 0.065, 0.27, z + 0.065, 0.01), 0.03, Part.NONE, 0.004)
        field.paint(field.box(-0.255, z - 0.055, 0.255, z + 0.055, 0.01), colour, Part.NONE, 0.006)
        for i in range(7):
            if i != 3:
                left = -0.2 + i * 0.058
                field.paint(
                    field.box(left, z - 0.028, left + 0.035, z + 0.03, 0.01), 0.2, Part.NONE
                )

    def _screen(self, field: Field, bottom: float, top: float) -> None:
        depth = ndimage.distance_transform_edt(np.pad(field.cover, 1))[1:-1, 1:-1] / SCALE
        bend = 0.05 * (field.u / (self.width / 2)) ** 2
        field.glass((field.z > bottom - bend) & (field.z < top - bend) & (depth > 0.085), 0.03)

    def _front(self, field: Field) -> None:
        high, half, belt = self.height, self.width / 2, self.belt
        self._screen(field, belt + 0.03, high - 0.085)
        field.groove(
            (np.abs(field.z - belt * 0.86 - 0.06 * np.abs(field.u)) < 0.007)
            & (np.abs(field.u) < half * 0.9)
            & field.cover
        )
        for side in (-1, 1):
            bulge = np.exp(-(((field.u - side * half * 0.45) / 0.1) ** 2)) * np.clip(
                (field.z - belt * 0.7) * 4, 0, 1
            )
            field.height += (0.012 * bulge * (field.z < belt)).astype(np.float32)
        base = belt * 0.68
        tall = {"wide": 0.1, "tall": 0.17, "round": 0.2}[self.look.lamp]
        for side in (-1, 1):
            inner, outer = sorted((side * half * 0.52, side * half * 0.93))
            if self.look.lamp == "round":
                mask = np.hypot(field.u - side * half * 0.72, field.z - base - 0.02) < 0.115
            else:
                lean = 0.05 * side * (field.u - side * half * 0.5)
                mask = field.box(inner, base - tall / 2, outer, base + tall / 2 + 0.03, 0.045)
                mask &= field.z < base + tall / 2 + lean * 2
            field.paint(ndimage.binary_dilation(mask, iterations=3), 0.05, Part.NONE)
            field.lamp(mask, (0.74, 0.75, 0.78))
            bulb = np.hypot(field.u - side * half * 0.7, field.z - base) < 0.05
            field.paint(bulb & mask, (0.9, 0.9, 0.88), Part.LAMP, 0.01)
            fog = field.box(side * half * 0.72 - 0.09, 0.3, side * half * 0.72 + 0.09, 0.38, 0.03)
            field.paint(fog, 0.03, Part.NONE, -0.01)
        grille = field.box(-half * 0.46, base - 0.1, half * 0.46, base + 0.045, 0.03)
        field.paint(grille, 0.012, Part.NONE, -0.02)
        slats = grille & ((field.z * 100).astype(int) % 4 == 0)
        field.paint(slats, 0.22, Part.NONE, 0.02)
        field.groove(
            (np.abs(field.z - base + 0.15) < 0.006) & (np.abs(field.u) < half * 0.97) & field.cover
        )
        intake = field.box(-half * 0.6, 0.2, half * 0.6, 0.34, 0.03)
        field.paint(intake & field.cover, 0.012, Part.NONE, -0.03)
        if self.look.plastic:
            field.paint((field.z < 0.36) & field.cover & ~intake, 0.035, Part.NONE)
        self._plate(field, 0.42, (1.1, 1.1, 1.05))
        self._wipers(field, belt + 0.05)

    def _wipers(self, field: Field, z: float) -> None:
        for start in (-0.5, 0.05):
            line = np.abs(field.z - z - 0.05 * (field.u - start)) < 0.008
            line &= (field.u > start) & (field.u < start + 0.5)
            field.paint(line & field.cover, 0.01, Part.NONE, 0.01)

    def _back(self, field: Field) -> None:
        high, half, belt = self.height, self.width / 2, self.belt
        low, top = (x * high for x in self.look.tail_window)
        if self.model.name == "pickup":
            low = 0.66 * high
        self._screen(field, max(low, belt * 0.98), top)
        edge = field.box(-half * 0.8, 0.42, half * 0.8, top + 0.05, 0.08)
        rim = edge & ~ndimage.binary_erosion(edge, iterations=2)
        field.groove(rim & field.cover & (field.kind == Part.PAINT))
        spans = {
            "wide": (0.52, 0.95, 0.72, 0.95),
            "tall": (0.8, 0.97, 0.72, 1.22),
            "block": (0.84, 0.97, 0.6, 0.95),
        }
        inner, outer, bottom, up = spans[self.look.tail]
        for side in (-1, 1):
            left, right = sorted((side * half * inner, side * half * outer))
            mask = field.box(left, belt * bottom, right, belt * up, 0.04)
            mask &= field.cover & (field.kind != Part.PANE)
            field.lamp(mask, (0.36, 0.012, 0.014))
            white = field.box(left, belt * bottom + 0.02, right, belt * bottom + 0.07, 0.02) & mask
            field.paint(white, (0.6, 0.58, 0.56), Part.LAMP)
        field.groove(
            (np.abs(field.z - belt * 0.56) < 0.006) & (np.abs(field.u) < half * 0.97) & field.cover
        )
        field.paint(
            field.box(-half * 0.75, 0.2, half * 0.75, 0.3, 0.03) & field.cover,
            0.02,
            Part.NONE,
            -0.01,
        )
        if self.look.plastic:
            field.paint((field.z < 0.4) & field.cover, 0.035, Part.NONE)
        for x in (half * 0.55, half * 0.66):
            field.paint(np.hypot(field.u - x, field.z - 0.23) < 0.03, 0.3, Part.NONE, 0.01)
        self._plate(
            field,
            belt * 0.68,
            (1.0, 0.8, 0.2) if self.model.name in ("estate", "suv") else (1.1, 1.1, 1.05),
        )
        handle = field.box(-0.12, belt * 0.68 + 0.09, 0.12, belt * 0.68 + 0.12, 0.01)
        field.paint(handle, 0.3, Part.NONE, 0.015)

    def top(self, random: Random) -> tuple[Floats, Floats, Bytes]:
        """From above, front upwards."""
        field = Field(self.width, self.length, middle=True)
        half, long = self.width / 2, self.length / 2
        end = np.clip((np.abs(field.z) / long - 0.82) / 0.18, 0, 1)
        field.cover = np.abs(field.u) < half * (1 - 0.13 * end**2)
        x = np.linspace(-long, long, 400)
        heights = np.zeros(400)
        for profile in (self.shape.body, self.shape.cabin):
            points = np.array([(a * long, b * self.height) for a, b in profile])
            order = points[np.argsort(points[:, 0], kind="stable")]
            inside = (x >= order[0, 0]) & (x <= order[-1, 0])
            heights[inside] = np.maximum(
                heights[inside], np.interp(x[inside], order[:, 0], order[:, 1])
            )
        field.height += np.interp(field.z[:, 0], x, heights).astype(np.float32)[:, None]
        field.height = blur(field.height, 5)
        field.rounded(0.14, 0.1)
        cabin = [(a * long, b * self.height) for a, b in self.shape.cabin]
        roof_half = half * (self.shape.roof + 0.02)
        base_front, base_back = cabin[0][0] - 0.06, cabin[-1][0] + 0.06
        peak = [a for a, b in cabin if b > 0.93 * self.height]
        roof_front, roof_back = max(peak) - 0.02, min(peak) + 0.05
        screen = field.polygon(
            [
                (-half * 0.9, base_front),
                (half * 0.9, base_front),
                (roof_half * 0.94, roof_front),
                (-roof_half * 0.94, roof_front),
            ]
        )
        field.glass(screen & field.cover, 0.03)
        if roof_back - base_back > 0.12:
            rear = field.polygon(
                [
                    (-roof_half * 0.9, roof_back),
                    (roof_half * 0.9, roof_back),
                    (half * 0.8, base_back),
                    (-half * 0.8, base_back),
                ]
            )
            field.glass(rear & field.cover, 0.03)
        field.groove(
            (np.abs(field.z - base_front - 0.05) < 0.008) & (np.abs(field.u) < half * 0.92)
        )
        for side in (-1, 1):
            field.groove(
                (np.abs(field.u - side * half * 0.8) < 0.007)
                & (field.z > base_front + 0.05)
                & (field.z < long - 0.3)
            )
        return field.shaded(self.panorama, "top", random)


def rendered_wheel(data: Path) -> tuple[Floats, Floats]:
    """Base colours and coverage of an alloy wheel, seen from outside."""
    model = load_gltf(data / "models_metadrive_ccby/130/right_tire_back.gltf").turned(UP_Z)
    seen = render(model, VIEWS["side"], (300, 300))
    table = np.array(
        [[0.42] * 3 if "tire" not in m.name else [0.014] * 3 for m in model.materials] + [[0.0] * 3]
    )
    depth = np.where(seen.material >= 0, seen.depth, seen.depth[seen.material >= 0].min())
    scale = 300 / np.ptp(model.bounds(), axis=0)[2]
    hidden = np.clip(blur(depth.astype(np.float32), 10) - depth, 0, None) * scale
    light = (0.35 + 0.65 * np.clip(seen.normal @ np.array([-0.3, 0.55, 0.75]), 0, 1)) * np.exp(
        -hidden * 0.06
    )
    colour = table[seen.material] * light[..., None]
    y, x = np.mgrid[-1:1:300j, -1:1:300j]
    disc = np.hypot(x, y)
    colour = np.where((disc < 0.7)[..., None] & (seen.material < 0)[..., None], 0.008, colour)
    return colour.astype(np.float32), (disc < 0.99).astype(np.float32)


def drawn_cars(data: Path, random: Random) -> Iterator[Texture]:
    """One sheet per car of the town's catalogue."""
    panorama = read(data / "hdri_polyhaven_cc0/venice.jpg")
    wheel = rendered_wheel(data)
    for model in VEHICLE_MODELS:
        if model.name not in LOOKS:
            continue
        car = Car(model, wheel, panorama)
        views = {
            "side": car.side(random),
            "front": car.end("front", random),
            "back": car.end("back", random),
            "top": car.top(random),
        }
        meta = {"size_m": [2 * x for x in model.extent_m], "models": [model.name]}
        yield packed(model.name, views, meta)
