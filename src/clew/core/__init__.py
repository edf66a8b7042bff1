"""What every seam, detector and processor stands on."""
