"""SageMaker's Python SDK (version 2). Its predictors need only another endpoint URL."""

from __future__ import annotations

import base64
import configparser
import io
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from conftest import serving
from PIL import Image
from sagemaker.async_inference import WaiterConfig
from sagemaker.deserializers import JSONDeserializer
from sagemaker.predictor import Predictor
from sagemaker.predictor_async import AsyncPredictor
from sagemaker.serializers import JSONSerializer
from sagemaker.session import Session

SMALL = {"prompt": "a tiger", "width": 64, "height": 64, "num_inference_steps": 2}


@pytest.fixture
def session(tintype: str, clean_environment: dict[str, str], tmp_path: Path) -> Iterator[Session]:
    """A session that uses `tintype serve` for all services."""
    with serving(tintype, clean_environment, tmp_path) as url:
        keys = configparser.ConfigParser()
        keys.read(tmp_path / "data/credentials")
        boto = boto3.Session(**keys["default"], region_name="us-east-1")
        runtime = boto.client("sagemaker-runtime", endpoint_url=url)
        made = Session(boto_session=boto, sagemaker_client=boto.client("sagemaker"), sagemaker_runtime_client=runtime)
        made.s3_client = boto.client("s3", endpoint_url=url)
        made.s3_resource = boto.resource("s3", endpoint_url=url)
        yield made


def predictor(session: Session) -> Predictor:
    return Predictor(
        "any-endpoint", sagemaker_session=session, serializer=JSONSerializer(),
        deserializer=JSONDeserializer(accept="application/json;jpeg"),
    )  # fmt: skip


def size(answer: dict) -> tuple[int, int]:
    return Image.open(io.BytesIO(base64.b64decode(answer["generated_images"][0]))).size


def test_a_predictor(session: Session) -> None:
    answer = predictor(session).predict(SMALL, custom_attributes="accept_eula=true")
    assert (answer["prompt"], size(answer)) == ("a tiger", (64, 64))


def test_an_asynchronous_predictor(session: Session) -> None:
    session.s3_client.create_bucket(Bucket="inputs")
    waiting = AsyncPredictor(predictor(session))
    waiting.s3_client = session.s3_client
    response = waiting.predict_async(data=SMALL, input_path="s3://inputs/one.json")
    answer = response.get_result(WaiterConfig(max_attempts=60, delay=1))
    assert size(answer) == (64, 64)
