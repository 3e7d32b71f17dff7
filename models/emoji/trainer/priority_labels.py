"""English labels of the subjects that training draws more often than the others.

People are likely to ask for these subjects. In a short training that draws all subjects equally often,
each is drawn too seldom to be learned. With priority, these subjects become recognisable long before the
others.
"""

PRIORITY_LABELS = {
    "tiger", "red apple", "robot", "rocket", "house", "volcano", "guitar", "dragon", "panda", "pizza",
    "sunflower", "octopus", "cat face", "dog face", "fox", "bicycle", "birthday cake", "snowman",
    "smiling face with sunglasses", "lion", "bear", "rabbit face", "pig face", "frog", "penguin", "owl",
    "fish", "crab", "butterfly", "turtle", "elephant", "unicorn", "rose", "cactus", "evergreen tree",
    "mushroom", "banana", "watermelon", "strawberry", "pineapple", "hamburger", "doughnut", "hot beverage",
    "automobile", "bus", "airplane", "sailboat", "castle", "sun", "rainbow", "fire", "soccer ball", "crown",
    "wrapped gift", "camera", "light bulb", "red heart", "ghost", "alien", "skull", "jack-o-lantern",
    "teddy bear", "key", "star",
}  # fmt: skip
