"""Measures of rendered frames; a network used in a loss must never be used in one of these.

What to read together: temporal error beside ghosting and high-frequency energy (a blurred,
a frozen or a woven picture has a low temporal error), KID beside label agreement (a picture
that ignores its labels can still look like a street).
"""
