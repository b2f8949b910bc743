"""Which of ART's checks run on which road through the adapter, and which of them an attack that does nothing must fail.

No import of a host: the outer tests read this table as well, to give every check a name of its own.
"""

PATHS = ("torch", "preprocessed", "defended", "ensemble")

BITES = "bites"  # an attack that returns its input must fail
CONTRACT = "contract only"  # says how the class behaves, not that it attacks: an attack that returns its input may pass

CHECKS = {
    "initialisation_changes_images": BITES,
    "untargeted_images": BITES,
    "targeted_images": BITES,
    "masked_images": CONTRACT,
    "defended_images": BITES,
    "adverse_values_are_the_cores": BITES,
    "untargeted_tabular": BITES,
    "targeted_tabular": BITES,
    "estimator_types": CONTRACT,
    "check_params": CONTRACT,
    "summary_writer_is_told_each_step": BITES,
    "adversarial_trainer_takes_it": CONTRACT,
    "adversarial_accuracy_takes_it": BITES,
}

NOT_OFFERED = {("adversarial_trainer_takes_it", "ensemble")}  # an EnsembleClassifier has no fit

DETECTORS = ("conflict", "distance")  # the scores on which ART's detector test runs
DETECTOR_CHECKS = ("detector", "blind_detector", "nervous_detector", "false_alarms")

TRAINERS = ("consistent", "domain", "ensemble")  # our trainers, on which ART's tests of TRADES run
TRAINER_CHECKS = ("fit", "fit_generator")
LABEL_FORMATS = ("one_hot", "numerical")

CASES = [(check, path) for check in CHECKS for path in PATHS if (check, path) not in NOT_OFFERED]
