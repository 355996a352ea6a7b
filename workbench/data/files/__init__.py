"""What the readers share: entries, images, MATLAB files, regions, new sizes, prepared copies."""
