"""From a registered model to answers: predictions, their log, outcomes, whole tables."""
