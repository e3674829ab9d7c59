"""Helpers that write pictures and archives, whole and broken, for the tests of the sources."""

import io
import tarfile
import zipfile

from facevae.data.synthetic import draw_faces
from tests.helpers import encoded

DRAWN = draw_faces(6, size=32)[0]
JPEG = encoded(DRAWN[0])


def tar_of(path, members, mode="w"):
    """Members are (name, bytes) or (name, kind of link, target)."""
    with tarfile.open(path, mode) as archive:
        for name, *content in members:
            info = tarfile.TarInfo(name)
            if len(content) == 2:
                info.type, info.linkname = content
                archive.addfile(info)
            else:
                info.size = len(content[0])
                archive.addfile(info, io.BytesIO(content[0]))
    return path


def zip_of(path, members, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def folder_of(path, members):
    for name, content in members:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def patched(path, *changes):
    data = path.read_bytes()
    for old, new in changes:
        assert old in data
        data = data.replace(old, new)
    path.write_bytes(data)
    return path
