"""Reads what people bring: photographs, label images and depth of data sets and simulators.

files.py         which files of a folder count
images.py        opens image files, photographs as sRGB
label_images.py  label images of any coding, as label ids
depth_images.py  depth images of any coding, in metres
naming.py        which label map a naming or a file name stands for
plausibility.py  whether labels and depth look as they should in a street
layouts.py       the photographs and labels of data sets as they are downloaded
label_folder.py  a folder of label images, as views to render
"""
