"""Pre-training of nano, the embedded CLIP: procedural scenes, objectives, loop, probes."""
