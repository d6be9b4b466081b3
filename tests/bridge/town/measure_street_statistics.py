"""Measures the reference numbers in street_statistics.json on label maps of photographs.

    python tests/bridge/town/measure_street_statistics.py CAMVID_FOLDER

CAMVID_FOLDER holds train/labels and val/labels: 8-bit PNGs of 480x360 pixels with the 12 class
ids of the SegNet version of CamVid. "full" is the whole frame; "window" is its 2:1 part whose
horizon (row 187) lies 43 % from the top, as in the town's cameras. The result holds only
numbers, no images.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from street_statistics import GROUPS, foliage_roughness, measure

from sim2street.bridge.labels import Tag

TAGS = np.array(
    [Tag.SKY, Tag.BUILDING, Tag.POLE, Tag.ROAD, Tag.SIDEWALK, Tag.VEGETATION, Tag.TRAFFIC_SIGN,
     Tag.FENCE, Tag.CAR, Tag.PEDESTRIAN, Tag.RIDER, Tag.UNKNOWN], np.uint8
)  # fmt: skip
"""Tag of each CamVid class id."""

WINDOW_ROWS = (84, 324)


def main(folder: Path) -> None:
    paths = sorted(folder.glob("*/labels/*.png"))
    maps = [TAGS[np.asarray(Image.open(path))] for path in paths]
    result = {"source": "CamVid (SegNet version), train + val", "groups": list(GROUPS)}
    for name, rows in (("full", (0, 360)), ("window", WINDOW_ROWS)):
        found = measure(labels[slice(*rows)] for labels in maps)
        result[name] = {
            "frames": found.frames,
            "shares": {key: round(value, 5) for key, value in found.shares.items()},
            "rows": np.round(found.rows, 4).tolist(),
            "edges_per_pixel": round(found.edges_per_pixel, 5),
        }
    window = [labels[slice(*WINDOW_ROWS)] for labels in maps]
    result["foliage_roughness"] = {
        str(k): round(value, 3) for k, value in foliage_roughness(window).items()
    }
    target = Path(__file__).with_name("street_statistics.json")
    target.write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
