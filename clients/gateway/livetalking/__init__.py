"""LiveTalking's routes (github.com/lipku/LiveTalking), so that front ends written for it work unchanged."""
