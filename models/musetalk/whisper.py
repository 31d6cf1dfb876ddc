"""The encoder of whisper-tiny, with the five hidden states that MuseTalk looks at.

Names are those of the Hugging Face file below ``model.encoder.``. Architecture: Radford et al., "Robust speech
recognition via large-scale weak supervision" (2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.musetalk.constants import WHISPER_CONFIG


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes, by their names in the Hugging Face configuration."""

    d_model: int
    encoder_layers: int
    encoder_attention_heads: int
    encoder_ffn_dim: int
    num_mel_bins: int
    max_source_positions: int

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> EncoderConfig:
        """From a configuration file, or the ``dims`` of an OpenAI checkpoint."""
        if "n_audio_state" in config:
            width = int(config["n_audio_state"])
            return cls(
                width, config["n_audio_layer"], config["n_audio_head"], 4 * width, config["n_mels"],
                config["n_audio_ctx"],
            )  # fmt: skip
        return cls(**{key: int(config.get(key, WHISPER_CONFIG[key])) for key in WHISPER_CONFIG})


class Attention(nn.Module):
    """Multi-head self-attention; the key projection has no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """f ``[B, T, width]``."""
        batch, steps, width = x.shape

        def split(y: Tensor) -> Tensor:
            return y.view(batch, steps, self.heads, width // self.heads).transpose(1, 2)

        y = F.scaled_dot_product_attention(split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x)))
        out: Tensor = self.out_proj(y.transpose(1, 2).reshape(batch, steps, width))
        return out


class Layer(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config.d_model, config.encoder_attention_heads)
        self.self_attn_layer_norm = nn.LayerNorm(config.d_model)
        self.fc1 = nn.Linear(config.d_model, config.encoder_ffn_dim)
        self.fc2 = nn.Linear(config.encoder_ffn_dim, config.d_model)
        self.final_layer_norm = nn.LayerNorm(config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        """f ``[B, T, width]``."""
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        out: Tensor = x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))
        return out


class Encoder(nn.Module):
    """Log-mel to hidden states."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        width = config.d_model
        self.conv1 = nn.Conv1d(config.num_mel_bins, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(config.max_source_positions, width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.encoder_layers))
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, mel: Tensor, first: Tensor | None = None) -> Tensor:
        """The hidden states.

        Args:
            mel: f ``[B, 80, 2T]``, T at most 1500.
            first: i64 ``[B]``, the position of each row's first step; None: 0.

        Returns:
            f ``[B, T, 5, width]``: the embedded input, layers 0 to 2, and layer 3 after the final norm.
        """
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        steps = torch.arange(x.shape[1], device=x.device)
        positions = steps[None] if first is None else steps[None] + first[:, None]
        x = x + self.embed_positions(positions)
        states = [x]
        for layer in self.layers:
            x = layer(x)
            states.append(x)
        states[-1] = self.layer_norm(x)
        return torch.stack(states, dim=2)
