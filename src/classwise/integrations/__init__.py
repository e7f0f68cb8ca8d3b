"""Networks of other packages, each of which is imported only when its name is used.

Each module registers one builder of networks: ``robustbench``, ``timm``, ``torchvision``, ``huggingface``. They are
imported by ``classwise.models``, so that their names are known wherever networks are named.
"""

import classwise.models  # noqa: F401 - these modules and that package need each other, and this order works from both ends
