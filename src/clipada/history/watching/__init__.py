"""Following a folder that cameras drop images into."""
