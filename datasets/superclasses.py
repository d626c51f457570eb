"""The 20 superclasses of CIFAR-100, five classes each, by the names of torchvision.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from __future__ import annotations

CIFAR100 = tuple(
    line.split()
    for line in """
beaver dolphin otter seal whale
aquarium_fish flatfish ray shark trout
orchid poppy rose sunflower tulip
bottle bowl can cup plate
apple mushroom orange pear sweet_pepper
clock keyboard lamp telephone television
bed chair couch table wardrobe
bee beetle butterfly caterpillar cockroach
bear leopard lion tiger wolf
bridge castle house road skyscraper
cloud forest mountain plain sea
camel cattle chimpanzee elephant kangaroo
fox porcupine possum raccoon skunk
crab lobster snail spider worm
baby boy girl man woman
crocodile dinosaur lizard snake turtle
hamster mouse rabbit shrew squirrel
maple_tree oak_tree palm_tree pine_tree willow_tree
bicycle bus motorcycle pickup_truck train
lawn_mower rocket streetcar tank tractor
""".strip().splitlines()
)


def next_in_superclass() -> list[list[str]]:
    """Return [class, next class] for each class of CIFAR-100: the next of its superclass by the alphabet, and the first after the last."""
    return [[old, new] for group in CIFAR100 for old, new in zip(group, [*group[1:], group[0]], strict=True)]
