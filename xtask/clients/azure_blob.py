"""Makes a container on a server of Azure Blob Storage, or lists one: the address, the container, `make` or `list`, the
account and its key."""

import sys

from azure.storage.blob import ContainerClient

server, container, what, account, key = sys.argv[1:]
client = ContainerClient(server, container, credential={"account_name": account, "account_key": key})
if what == "make":
    client.create_container()
else:
    for found in client.list_blobs():
        print(found.size, found.name)
