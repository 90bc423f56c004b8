"""Engines: what turns images into raw anomaly maps, in PyTorch, ONNX Runtime or OpenVINO."""
