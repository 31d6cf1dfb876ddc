"""MuseTalk v1.0 and v1.5: lip-sync by one step of latent inpainting. Needs the extra ``musetalk`` (torch)."""
