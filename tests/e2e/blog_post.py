"""The blog post's Lambda function, from which tintype started: prompt → SageMaker → S3 → presigned URL.

It uses boto3 and contains no code for tintype. The environment has the addresses of SageMaker and S3
(AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME, AWS_ENDPOINT_URL_S3). Two imports that the post omitted, `logging` and
`ClientError`, were added.
"""

import base64
import json
import logging
import os
from datetime import datetime

import boto3
from botocore.exceptions import ClientError

ENDPOINT_NAME = os.environ["ENDPOINT_NAME"]
BUCKET_NAME = os.environ["BUCKET_NAME"]

runtime = boto3.client("runtime.sagemaker")
s3 = boto3.client("s3")


def query_endpoint(payload):
    encoded_payload = json.dumps(payload).encode("utf-8")
    return runtime.invoke_endpoint(
        EndpointName=ENDPOINT_NAME,
        ContentType="application/json",
        Body=encoded_payload,
        Accept="application/json;jpeg",
    )


def parse_response(query_response):
    response_dict = json.loads(query_response["Body"].read())
    return response_dict["generated_images"], response_dict["prompt"]


def create_presigned_url(bucket_name, object_name, expiration=300):
    try:
        return s3.generate_presigned_url(
            "get_object",
            Params={"Bucket": bucket_name, "Key": object_name},
            ExpiresIn=expiration,
        )
    except ClientError as e:
        logging.error(e)
        return None


def lambda_handler(event, context):
    prompt = event["queryStringParameters"]["prompt"]
    response = query_endpoint({"prompt": prompt, "width": 512, "height": 512})
    images, prompt = parse_response(response)
    image = base64.b64decode(images[0])
    key = datetime.now().strftime("%Y%m%d%H%M%S") + ".jpg"
    s3.put_object(ContentType="image/jpeg", Body=image, Bucket=BUCKET_NAME, Key=key)
    url = create_presigned_url(BUCKET_NAME, key)
    return {"statusCode": 200, "body": json.dumps({"url": url, "prompt": prompt})}
