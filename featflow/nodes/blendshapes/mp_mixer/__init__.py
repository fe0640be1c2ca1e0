"""``blendshapes/mp_mixer``: 52 blendshapes of a face mesh."""

from featflow.nodes.blendshapes.mp_mixer.node import MixerBlendshapes

NODE = MixerBlendshapes
