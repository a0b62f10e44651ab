"""Made by cosign 2.5.0 (Debian 2.5.0-2): a key pair of no value, and what it signed.

COSIGN_PASSWORD=password cosign generate-key-pair
printf 'some bytes' > blob
cosign sign-blob --key cosign.key --tlog-upload=false --yes blob
cosign attest-blob --key cosign.key --tlog-upload=false --yes --new-bundle-format \
        --bundle bundle.json --type https://slsa.dev/provenance/v1 --predicate <(echo {}) blob
"""

from __future__ import annotations

from typing import Final

PASSWORD: Final = b"password"
PRIVATE_KEY: Final = b"""\
-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----
eyJrZGYiOnsibmFtZSI6InNjcnlwdCIsInBhcmFtcyI6eyJOIjo2NTUzNiwiciI6
OCwicCI6MX0sInNhbHQiOiJvQlBaS0oyc1Q0OGltckF4R0pGdmZTS2ZYRS8waFhP
N0pRd3Z3QVozU1k0PSJ9LCJjaXBoZXIiOnsibmFtZSI6Im5hY2wvc2VjcmV0Ym94
Iiwibm9uY2UiOiJUNVJVK2FMWklJbEJBVkw1L0VTL3VkeldJSWNudVlKSSJ9LCJj
aXBoZXJ0ZXh0IjoiUVRJaVZrZWRUaVAyY095blc3YWtwckdBaHFKZ0xRcmxXOFQz
RTF3Q0JHR1ZtNUFWbG9UUWxMbkJzQmg2NUYvTG9VWEp2RkhiY1pYOHR0SUovdGdV
Nk1WMjNhT0JRRFBJWkhRU2w3OURNcUl5ME5TOFhtTkV0dnRaRDNpaUloQ3VrY3Nk
Vnp2eHBzVWF2WXFnN2dxVUZXeFJGWHBNQ3pjTlRhT3BpaG5YWHpwRUpjUm9uYWxr
V3pzWEFNNWFuaUZGNkhtRlp5Q002YXVMcWc9PSJ9
-----END ENCRYPTED SIGSTORE PRIVATE KEY-----
"""
PUBLIC_KEY: Final = b"""\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE5n02XzvooZ6Iwc/KmeHcMg3kMHyw
+Cos0a/pmCNkcmVuNd7Y5KvqLMY4f+Tc7tb837hMclNbxJcNIaDTgXoOVw==
-----END PUBLIC KEY-----
"""
HINT: Final = "woK1QserXE1qI04UzR6fMA8uW9Ek0RiHQUzG2KqeoGg="
SSH_FINGERPRINT: Final = "SHA256:ullAEV2lRIgb2wPb5LM9WRG5uWTA6ex7ZmSwCCI0nBA"
"""As `ssh-keygen -i -m PKCS8 -f cosign.pub | ssh-keygen -l -f -` prints it."""
BLOB: Final = b"some bytes"
BLOB_SIGNATURE: Final = "MEUCIQDRdWquw+ALXsixZmyfCrUlNsB7fTwY8Y3NauFKRCVmfAIgAeMiLdzXwccLe7rsXSxLgE4CYh2g0+GYdGBlNakD6to="
BUNDLE: Final = b'{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial":{"publicKey":{"hint":"woK1QserXE1qI04UzR6fMA8uW9Ek0RiHQUzG2KqeoGg="}}, "dsseEnvelope":{"payload":"eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjAuMSIsInByZWRpY2F0ZVR5cGUiOiJodHRwczovL3Nsc2EuZGV2L3Byb3ZlbmFuY2UvdjEiLCJzdWJqZWN0IjpbeyJuYW1lIjoiYmxvYiIsImRpZ2VzdCI6eyJzaGEyNTYiOiIwZDIyY2RjYzEwZTZkMDQ5ZGJlMWFmNTEyM2Q1MDg3M2ZkZmMxYTRmNTgzMDZlNThjYjYyNDFiZTk0NzIwMTRkIn19XSwicHJlZGljYXRlIjp7fX0=", "payloadType":"application/vnd.in-toto+json", "signatures":[{"sig":"MEQCIDRhHGdU5LJ6jP0qnlPA8dBUPzGFmvF9hxqjXM+vA4UYAiBiDTCRaPT6q4eUrrv+BnkMQ7SlcRcLz461WtO58dBeCg=="}]}}'
