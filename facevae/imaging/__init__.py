"""Pictures: photos, alignment, compositing, morphs, files."""
