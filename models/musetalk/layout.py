"""Which weight files there are, where they lie below ``weights_dir``, and where they come from. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CONVERTED = "converted"
"""Folder below ``weights_dir`` with the files that the daemon loads."""
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Download:
    """Where one file comes from: a Hugging Face repository, or an address with the start of its SHA-256."""

    to: str
    """Path below ``weights_dir``."""
    repo: str = ""
    file: str = ""
    url: str = ""
    sha256_prefix: str = ""


@dataclass(frozen=True)
class Component:
    """One network.

    Attributes:
        files: where its weights may lie, in order of preference.
        configs: where its configuration may lie; empty when it has none.
        needed: False for what only some settings use.
        use: what it is for, in words.
    """

    name: str
    kind: str
    files: tuple[str, ...]
    configs: tuple[str, ...]
    downloads: tuple[Download, ...]
    use: str
    needed: bool = True

    def find(self, root: Path) -> Path | None:
        """The weights file that is there."""
        return _first(root, self.files)

    def find_config(self, root: Path) -> Path | None:
        """The configuration file that is there."""
        return _first(root, self.configs)


def _first(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / name for name in names if (root / name).is_file()), None)


def _from_hub(repo: str, folder: str, *files: str) -> tuple[Download, ...]:
    return tuple(Download(f"{folder}/{Path(file).name}", repo=repo, file=file) for file in files)


_OWN = "TMElyralab/MuseTalk"
COMPONENTS: tuple[Component, ...] = (
    Component(
        "unet-v15",
        "unet",
        ("musetalkV15/unet.pth",),
        ("musetalkV15/musetalk.json",),
        _from_hub(_OWN, "musetalkV15", "musetalkV15/musetalk.json", "musetalkV15/unet.pth"),
        "the mouth, version 1.5",
    ),
    Component(
        "unet-v10",
        "unet",
        ("musetalk/pytorch_model.bin",),
        ("musetalk/musetalk.json",),
        _from_hub(_OWN, "musetalk", "musetalk/musetalk.json", "musetalk/pytorch_model.bin"),
        "the mouth, version 1.0 (musetalk.version: v10)",
        needed=False,
    ),
    Component(
        "vae",
        "vae",
        ("sd-vae/diffusion_pytorch_model.bin", "sd-vae-ft-mse/diffusion_pytorch_model.bin"),
        ("sd-vae/config.json", "sd-vae-ft-mse/config.json"),
        _from_hub("stabilityai/sd-vae-ft-mse", "sd-vae", "config.json", "diffusion_pytorch_model.bin"),
        "pictures to latents and back",
    ),
    Component(
        "whisper",
        "whisper",
        ("whisper/pytorch_model.bin", "whisper/tiny.pt"),
        ("whisper/config.json",),
        _from_hub(
            "openai/whisper-tiny", "whisper", "config.json", "pytorch_model.bin", "preprocessor_config.json"
        ),
        "audio features",
    ),
    Component(
        "dwpose",
        "dwpose",
        ("dwpose/dw-ll_ucoco_384.pth",),
        (),
        _from_hub("yzd-v/DWPose", "dwpose", "dw-ll_ucoco_384.pth"),
        "landmarks of a template",
    ),
    Component(
        "face-parse",
        "bisenet",
        ("face-parse-bisent/79999_iter.pth",),
        (),
        _from_hub("ManyOtherFunctions/face-parse-bisent", "face-parse-bisent", "79999_iter.pth"),
        "which pixels of a template are skin and lips",
    ),
    Component(
        "s3fd",
        "s3fd",
        ("s3fd/s3fd-619a316812.pth", "s3fd-619a316812.pth", "s3fd/s3fd.pth"),
        (),
        (
            Download(
                "s3fd/s3fd-619a316812.pth",
                url="https://www.adrianbulat.com/downloads/python-fan/s3fd-619a316812.pth",
                sha256_prefix="619a316812",
            ),
        ),
        "faces in a template (absent from the official layout)",
    ),
    Component(
        "taesd",
        "taesd",
        ("taesd/diffusion_pytorch_model.safetensors",),
        ("taesd/config.json",),
        _from_hub("madebyollin/taesd", "taesd", "config.json", "diffusion_pytorch_model.safetensors"),
        "a small decoder (musetalk.tier: fast)",
        needed=False,
    ),
)
BY_NAME = {component.name: component for component in COMPONENTS}


def unet_component(version: str) -> str:
    """Name of the UNet component of ``version``, "v15" or "v10"."""
    return f"unet-{version}"
