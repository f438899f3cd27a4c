"""Why a score is what it is, by modality and by past choice; and ablations by modality."""
