"""Who is who over time: grouping embeddings, tracking faces, enrolled people, filters."""

from featflow.identity.compute import Identities, compute_identities
from featflow.identity.filters import count_marks, filter_faces, filter_people, mark
from featflow.identity.linkage import Seriation, seriate
from featflow.identity.online import Gallery
from featflow.identity.reference import ReferenceGallery, enroll, names_from_paths, photos_below
from featflow.identity.tracking import track_faces, vote

__all__ = [
    "Gallery",
    "Identities",
    "ReferenceGallery",
    "Seriation",
    "compute_identities",
    "count_marks",
    "enroll",
    "filter_faces",
    "filter_people",
    "mark",
    "names_from_paths",
    "photos_below",
    "seriate",
    "track_faces",
    "vote",
]
