"""Encoders for pathology besides SAM's: vision transformers and models of timm."""
