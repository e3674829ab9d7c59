"""Faces on disk: sources, preparation, FaceSet, drawn faces with known factors."""
