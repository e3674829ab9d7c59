"""What the treatments of preparation change: `python tests/measure_preparation.py FOLDER`.

FOLDER is a prepared, untreated FaceSet with age and gender. Its faces are treated in four ways and
described by PCA, a new one for each way, fitted on the training faces; all figures are of the
other fifth, mean ± spread over splits by content. "Face" is where the head mask is 1: those pixels
no mask changes. No test, and no training: what a VAE would do with them is another question.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import facevae
from facevae.treatment import LUMA, head_mask, treat

WAYS = {
    "neither": {},
    "mask": {"mask": True},
    "expose": {"expose": True},
    "both": {"mask": True, "expose": True},
}
ALPHAS = np.logspace(-1, 4, 11)  # of the ridge; chosen within the training faces
COLUMNS = ("PSNR in the face, dB", "explained in the face", "variance outside",
           "age R²", "gender right")  # fmt: skip


def figures(
    images: np.ndarray, labels: dict, train: np.ndarray, test: np.ndarray, components: int
) -> list[float]:
    """One figure a column, of images (N, S, S, 3) uint8."""
    flat = images.reshape(len(images), -1).astype(np.float32) / 255.0  # (N, S·S·3)
    face = np.repeat(head_mask(images.shape[1]).ravel() == 1, 3)
    pca = PCA(components, svd_solver="randomized", random_state=0).fit(flat[train])
    codes = pca.transform(flat)
    again = pca.inverse_transform(codes[test]).clip(0, 1)
    error = np.square(flat[test] - again)[:, face]
    total = np.square(flat[test] - flat[train].mean(0))[:, face]
    variance = flat[test].var(0)
    age = make_pipeline(StandardScaler(), RidgeCV(ALPHAS)).fit(codes[train], labels["age"][train])
    gender = make_pipeline(StandardScaler(), RidgeClassifierCV(ALPHAS))
    gender.fit(codes[train], labels["gender"][train])
    return [
        float(-10 * np.log10(error.mean(1)).mean()),
        float(1 - error.sum() / total.sum()),
        float(variance[~face].sum() / variance.sum()),
        age.score(codes[test], labels["age"][test]),
        gender.score(codes[test], labels["gender"][test]),
    ]


def note(images: np.ndarray, labels: dict) -> str:
    """What became of light and skin on faces (N, S, S, 3), in levels of luma 0 … 255.

    UTKFace's groups 0 (White) and 1 (Black) differ in skin: that difference, counted in the spread
    within them, is skin against light. Where it falls, skin was evened more than light.
    """
    face = head_mask(images.shape[1]) == 1
    left = np.arange(images.shape[1]) < images.shape[1] // 2
    luma = images @ LUMA  # (N, S, S)
    sides = np.abs(luma[:, face & left].mean(1) - luma[:, face & ~left].mean(1)).mean()
    low, middle, high = np.percentile(luma[:, face], [5, 50, 95], axis=1)
    text = f"left against right {sides:.1f}, spread of the median {middle.std():.1f}, "
    text += f"of the contrast {(high - low).std():.1f}"
    if "race" in labels:
        a, b = (middle[labels["race"] == group] for group in (0, 1))
        gap, within = a.mean() - b.mean(), np.sqrt((a.var() + b.var()) / 2)
        text += f"; groups 0 and 1 differ by {gap:.1f} = {gap / within:.2f} spreads"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="prepared faces with age and gender, untreated")
    parser.add_argument("--faces", type=int, default=4000)
    parser.add_argument("--components", type=int, default=64)
    parser.add_argument("--splits", type=int, default=5)
    asked = parser.parse_args()
    faces = facevae.load_faces(asked.folder)
    known = (faces.labels["age"] >= 0) & (faces.labels["gender"] >= 0)
    rows = np.random.default_rng(0).permutation(np.flatnonzero(known))[: asked.faces]
    labels = {name: column[rows] for name, column in faces.labels.items()}
    print(f"{len(rows)} faces of {faces.images.shape[1]} pixels, {asked.components} components")
    print("| treatment | " + " | ".join(COLUMNS) + " |\n|" + " --- |" * (len(COLUMNS) + 1))
    notes = []
    for way, options in WAYS.items():
        images = np.stack([treat(image, **options) for image in faces.images[rows]])
        found = []
        for seed in range(asked.splits):
            seen = np.isin(rows, faces.split(seed)["train"])
            parts = np.flatnonzero(seen), np.flatnonzero(~seen)  # nothing is chosen by validation
            found.append(figures(images, labels, *parts, asked.components))
        pairs = zip(np.mean(found, 0), np.std(found, 0), strict=True)
        cells = [f"{mean:.3f} ± {spread:.3f}" for mean, spread in pairs]
        print(f"| {way} | " + " | ".join(cells) + " |", flush=True)
        notes.append(f"{way}: {note(images, labels)}")
    print("\n".join(notes))


if __name__ == "__main__":
    main()
