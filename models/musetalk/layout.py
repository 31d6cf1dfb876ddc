"""Which weight files there are, where they lie below ``weights_dir``, and where they come from. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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


class Published(NamedTuple):
    """A file as its authors publish it."""

    bytes: int
    sha256: str = ""
    """"" where it is not known."""


@dataclass(frozen=True)
class Component:
    """One network.

    Attributes:
        files: where its weights may lie, in order of preference.
        configs: where its configuration may lie; empty when it has none.
        needed: False for what only some settings use.
        use: what it is for, in words.
        published: the files that are known to be the authors' own; others may be as good.
    """

    name: str
    kind: str
    files: tuple[str, ...]
    configs: tuple[str, ...]
    downloads: tuple[Download, ...]
    use: str
    needed: bool = True
    published: tuple[Published, ...] = ()

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
        published=(Published(3_400_074_924, "7ebf6c98c181e20838e4c0054e96e944ac60d5d692cc01db42839fe11b787007"),),
    ),
    Component(
        "unet-v10",
        "unet",
        ("musetalk/pytorch_model.bin",),
        ("musetalk/musetalk.json",),
        _from_hub(_OWN, "musetalk", "musetalk/musetalk.json", "musetalk/pytorch_model.bin"),
        "the mouth, version 1.0 (musetalk.version: v10)",
        needed=False,
        published=(Published(3_400_076_549),),
    ),
    Component(
        "vae",
        "vae",
        ("sd-vae/diffusion_pytorch_model.bin", "sd-vae-ft-mse/diffusion_pytorch_model.bin"),
        ("sd-vae/config.json", "sd-vae-ft-mse/config.json"),
        _from_hub("stabilityai/sd-vae-ft-mse", "sd-vae", "config.json", "diffusion_pytorch_model.bin"),
        "pictures to latents and back",
        published=(Published(334_707_217, "1b4889b6b1d4ce7ae320a02dedaeff1780ad77d415ea0d744b476155c6377ddc"),),
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
        published=(
            Published(151_095_027, "9607f98a2b22d9e229ae43c52ecea79dcede9e0c5cfae67e8da6eda86d8aac1d"),
            Published(75_572_083, "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9"),
        ),
    ),
    Component(
        "dwpose",
        "dwpose",
        ("dwpose/dw-ll_ucoco_384.pth",),
        (),
        _from_hub("yzd-v/DWPose", "dwpose", "dw-ll_ucoco_384.pth"),
        "landmarks of a template",
        published=(Published(406_878_486, "0d9408b13cd863c4e95a149dd31232f88f2a12aa6cf8964ed74d7d97748c7a07"),),
    ),
    Component(
        "face-parse",
        "bisenet",
        ("face-parse-bisent/79999_iter.pth",),
        (),
        _from_hub("ManyOtherFunctions/face-parse-bisent", "face-parse-bisent", "79999_iter.pth"),
        "which pixels of a template are skin and lips",
        published=(Published(53_289_463, "468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567"),),
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
        published=(Published(89_843_225, "619a31681264d3f7f7fc7a16a42cbbe8b23f31a256f75a366e5a1bcd59b33543"),),
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


def is_published(component: Component, size: int, digest: str) -> bool | None:
    """Whether a file of ``size`` bytes with that SHA-256 is the authors' own; None where that is not known."""
    known = [one for one in component.published if one.sha256]
    return any((size, digest) == one for one in known) if known else None


def belongs_to(component: Component, size: int, digest: str) -> Component | None:
    """The other network whose published file this is: the two UNets have the same tensors, so shapes tell nothing.

    Where no SHA-256 is known, the number of bytes decides.
    """
    if is_published(component, size, digest):
        return None
    for other in COMPONENTS:
        if other is not component and any(
            digest == one.sha256 if one.sha256 else size == one.bytes for one in other.published
        ):
            return other
    return None


def unet_component(version: str) -> str:
    """Name of the UNet component of ``version``, "v15" or "v10"."""
    return f"unet-{version}"


def speaking(version: str, tier: str) -> tuple[str, ...]:
    """Names of the components that speaking needs with these settings."""
    return unet_component(version), "taesd" if tier == "fast" else "vae", "whisper"
