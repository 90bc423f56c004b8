"""Models: CLIP-ADA, its prompt, its memory of normal patches, and the frozen backbones."""
