import http.client, os, socket, ssl, sys
env = os.environ.get
host = HOST
host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
path = PATH
port = int(next(p for p in (PORTS,) if p and p.isdigit()))
try:
    if env("UVICORN_UDS"):
        server = http.client.HTTPConnection("localhost", timeout=TIMEOUT)
        server.sock = socket.socket(socket.AF_UNIX)
        server.sock.settimeout(TIMEOUT)
        server.sock.connect(env("UVICORN_UDS"))
    elif SECURE:
        server = http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=ssl._create_unverified_context())
    else:
        server = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    server.request("GET", path, headers=HEADERS)
    status = server.getresponse().status
except (OSError, http.client.HTTPException) as error:
    sys.exit(f"{host}:{port}{path}: {error!r}")
if not 200 <= status < BELOW:
    sys.exit(f"{host}:{port}{path}: status {status}")
