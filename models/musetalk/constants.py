"""The numbers of MuseTalk that every part shares. Sources: upstream's configuration files and code (facts only).

No torch here: the command line and the tests of policy import this module.
"""

from __future__ import annotations

from models.api import ASR_RATE, CROP

SCALING = 0.18215
"""Latents are multiplied by this after encoding; absent from the VAE's file, the diffusers default."""
VAE_FACTOR = 8
LATENT = CROP // VAE_FACTOR
"""32: side of a latent."""
MASK_ROW = CROP // 2
"""Rows from here down are blanked before the first encoding."""
PARSED = 512
"""Side of the picture that the face parser sees."""

AUDIO_RATE = ASR_RATE
STEP_RATE = 50
"""Encoder steps per second; one step is 20 ms."""
STEP_SAMPLES = AUDIO_RATE // STEP_RATE
STATES = 5
"""Hidden states of the encoder: the embedded input and four layers, the last one layer-normed."""
WINDOW = 10
"""Encoder steps per video frame."""
TOKENS = WINDOW * STATES
AUDIO_DIM = 384

N_FFT, HOP, MELS = 400, 160, 80
CHUNK_SECONDS = 30
CHUNK_SAMPLES = CHUNK_SECONDS * AUDIO_RATE
CHUNK_MELS = CHUNK_SAMPLES // HOP
CHUNK_STEPS = CHUNK_MELS // 2
MEL_RANGE = 8.0
"""log10 mel values are clamped from below to their maximum minus this."""

UNET_CONFIG: dict[str, object] = {
    "in_channels": 8,
    "out_channels": 4,
    "sample_size": 64,
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "cross_attention_dim": AUDIO_DIM,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "norm_eps": 1e-5,
    "act_fn": "silu",
    "center_input_sample": False,
    "downsample_padding": 1,
    "mid_block_scale_factor": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
}
VAE_CONFIG: dict[str, object] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "norm_num_groups": 32,
    "act_fn": "silu",
    "sample_size": 256,
}
WHISPER_CONFIG: dict[str, int] = {
    "d_model": AUDIO_DIM,
    "encoder_layers": 4,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
    "num_mel_bins": MELS,
    "max_source_positions": CHUNK_STEPS,
}
