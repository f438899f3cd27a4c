"""Why a score is what it is: by modality, by past choice, and by what a model is worth without a modality."""
