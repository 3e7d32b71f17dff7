"""The things that people ask for first, by their English labels.

A short training that draws all pictures alike has seen each a few times and knows none. So these are
drawn more often, and can be recognised long before the rest.
"""

FIRST = {
    "tiger", "red apple", "robot", "rocket", "house", "volcano", "guitar", "dragon", "panda", "pizza", "sunflower",
    "octopus", "cat face", "dog face", "fox", "bicycle", "birthday cake", "snowman", "smiling face with sunglasses",
    "lion", "bear", "rabbit face", "pig face", "frog", "penguin", "owl", "fish", "crab", "butterfly", "turtle",
    "elephant", "unicorn", "rose", "cactus", "evergreen tree", "mushroom", "banana", "watermelon", "strawberry",
    "pineapple", "hamburger", "doughnut", "hot beverage", "automobile", "bus", "airplane", "sailboat", "castle", "sun",
    "rainbow", "fire", "soccer ball", "crown", "wrapped gift", "camera", "light bulb", "red heart", "ghost", "alien",
    "skull", "jack-o-lantern", "teddy bear", "key", "star",
}  # fmt: skip
