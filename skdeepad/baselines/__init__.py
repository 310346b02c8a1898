"""Classical detectors over scikit-learn, with the same thresholds and labels."""
