"""The watcher of a folder that cameras write images to."""
