"""Publishes one private update about several topics with the package mercure-publisher."""

import sys

from mercure_publisher import MercureConfig, MercurePublisher

url, key, topics, data = sys.argv[1], sys.argv[2], sys.argv[3].split(" "), sys.argv[4]
config = MercureConfig(hub_url=url, publisher_jwt_key=key, publish_topics=["*"])
with MercurePublisher(config) as publisher:
    print(publisher.publish(topics, data, private=True, type="price", id="urn:uuid:python"))
