"""Measures of rendered frames. A network used in a training loss must never score here.

Some measures only mean something together. A blurred, frozen or patterned video has a low temporal
error, so read it beside ghosting and high-frequency energy. An image that ignores its labels can
still look like a street, so read KID beside label agreement.
"""
