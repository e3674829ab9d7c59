#!/usr/bin/env bash
# The conditions of a Hugging Face Space, on this machine: a checkout of its own that cannot be written to, a user
# who is not root, port 7860, no network. As root on Linux: tests/scripts/rehearse_space.sh [python]
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(command -v "${1:-python3}")
[ "$(id -u)" = 0 ] || { echo "run it as root: it cuts off the network, then becomes nobody"; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/checkout" "$work/home"
git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d "" file; do [ ! -e "$file" ] || cp --parents "$file" "$work/checkout"; done
find "$work/checkout" -size +10000k -type f | grep . && { echo "over 10 MB: a Space refuses it"; exit 1; }
chmod -R a+rX,a-w "$work/checkout"
chmod 755 "$work"
chown nobody "$work/home"

cat >"$work/visit.py" <<'PYTHON'
import os, pathlib, socket, subprocess, sys, time, urllib.request
from gradio_client import Client, handle_file
checkout, url = pathlib.Path.cwd(), "http://127.0.0.1:7860"
assert os.getuid() != 0
for attempt in (lambda: (checkout / "app.py").open("a"), lambda: (checkout / "new").open("w"),
                lambda: socket.create_connection(("1.1.1.1", 443), timeout=2)):
    try:
        attempt()
    except OSError:
        continue
    sys.exit("the rehearsal itself is broken: it can write to the checkout or reach the network")

def is_up() -> bool:
    try:
        return b"Face studio" in urllib.request.urlopen(url, timeout=5).read()
    except OSError:
        return False

with open(sys.argv[1], "w") as log:
    start = time.monotonic()
    app = subprocess.Popen([sys.executable, "app.py"], stdout=log, stderr=log)
    try:
        while not is_up():
            assert app.poll() is None and time.monotonic() - start < 120, "it never came up"
            time.sleep(0.2)
        print(f"ready after {time.monotonic() - start:.1f} s as user {os.getuid()}")
        client = Client(url, verbose=False, download_files=os.environ["HOME"])
        a, b = (handle_file(file) for file in sorted((checkout / "assets/portraits").glob("*.jpg")))
        for name, given in {"/morph": (a, b, 0.5), "/edit": (a, {"Smiling": 1}), "/age": (b, 70),
                            "/sample": (4,)}.items():
            start = time.monotonic()
            assert client.predict(*given, api_name=name)
            print(f"{name} answered in {1000 * (time.monotonic() - start):.0f} ms")
        assert "Traceback" not in pathlib.Path(log.name).read_text(), "something went wrong"
    finally:
        app.terminate()
        app.wait(20)
left = [*pathlib.Path(os.environ["TMPDIR"]).glob("facevae-*")]
assert not left, f"left behind: {left}"
PYTHON

# Where these variables are set, Gradio imports the package that every Space has.
variables=()
"$python" -c "import spaces" 2>/dev/null && variables=(SYSTEM=spaces SPACE_ID=nobody/rehearsal)

# The one privilege kept is to read what only root may: python itself may lie in root's home.
status=0
unshare --net bash -c 'ip link set lo up; cd "$1"; exec setpriv --reuid=nobody --regid=nogroup \
    --clear-groups --bounding-set=-all,+dac_read_search --inh-caps=-all,+dac_read_search \
    --ambient-caps=-all,+dac_read_search env -i PATH="$PATH" HOME="$2" TMPDIR="$2" \
    GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=7860 "${@:3}" "$2/log"' \
    - "$work/checkout" "$work/home" "${variables[@]}" "$python" "$work/visit.py" || status=$?
cat "$work/home/log"
[ $status = 0 ] && echo "the Space starts and answers"
