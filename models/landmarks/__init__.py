"""Faces in pictures: where they are, and 468 points on each. Runs on a CPU, without a graph of its own.

The models are not part of this repository: ``pull`` puts them into the environment once, by hash.
"""

from models.landmarks.faces import Face, Landmarker, face_landmarks
from models.landmarks.measure import lip_gap, lip_width

__all__ = ["Face", "Landmarker", "face_landmarks", "lip_gap", "lip_width"]
