"""The 29-layer residual network of dlib as an extractor.

D. E. King, "High quality face recognition with deep metric learning", 2017; the
network is a reduced ResNet-34 (He et al., CVPR 2016) trained with a metric loss.
"""

from __future__ import annotations

import numpy as np

from deid_ros.errors import ExtractorError
from deid_ros.extractor.interfaces import check_chips, unit_rows
from deid_ros.resources import model_path

__all__ = ["DlibResnet"]

#: Chips computed at once: bounds the memory, costs no time on a CPU.
BATCH = 16


class DlibResnet:
    """128-D embeddings of 150 px chips, about 0.1 s each on one CPU core.

    dlib calls two descriptors the same person when they are closer than 0.6;
    its descriptors are about 1.44 long and are brought to length 1 here.
    """

    name = "dlib_resnet"
    chip_size = 150
    dimensions = 128

    def __init__(self) -> None:
        path = model_path("dlib_resnet")
        try:
            import dlib
        except ImportError as error:
            raise ExtractorError(f"The extractor '{self.name}' needs the Python module 'dlib' "
                                 f"({error}); bring it with: pip install dlib-bin") from None
        self._network = dlib.face_recognition_model_v1(str(path))

    def embed(self, chips: np.ndarray) -> np.ndarray:
        """See ``Extractor.embed``."""
        chips = check_chips(chips, size=self.chip_size, name=self.name)
        if not len(chips):
            return np.zeros((0, self.dimensions), np.float32)
        rgb = np.ascontiguousarray(chips[..., ::-1])
        features = [np.asarray(row) for start in range(0, len(rgb), BATCH)
                    for row in self._network.compute_face_descriptor(
                        list(rgb[start:start + BATCH]))]
        return unit_rows(np.stack(features), name=self.name)
