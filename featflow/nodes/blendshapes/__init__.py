"""The blendshape nodes."""
