"""Calls the API with the generated client. Prints the URLs of the images."""

import json
import sys

from client import Client
from client.api.images import create_image, generate, list_images, read_image
from client.api.open_a_is_images_api import generate_images
from client.models import CreateImageBody, GenerateImagesBody, Generated, Generations, Image

api = Client(base_url=sys.argv[1], raise_on_unexpected_status=True, timeout=300)
generated = generate.sync(client=api, prompt="apple", steps=2)
assert isinstance(generated, Generated), generated
made = create_image.sync(client=api, body=CreateImageBody(prompt="apple", steps=2, seed=7))
assert isinstance(made, Image) and made.status == "succeeded", made
again = read_image.sync(made.id, client=api)
assert isinstance(again, Image) and again.seed == 7, again
listed = list_images.sync(client=api)
assert [image.id for image in listed.data] == [made.id, generated.id], listed
from_openai = generate_images.sync(client=api, body=GenerateImagesBody(prompt="apple", steps=2))
assert isinstance(from_openai, Generations), from_openai
print(json.dumps([generated.url, made.images[0].url, again.images[0].url, from_openai.data[0].url]))
