#!/bin/sh
# Installs what the tests need: the system packages below (Debian and Ubuntu) and the npm dependencies.
# Does nothing, quickly, when everything is there.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin:/sbin"

# One line per package: its name, then a command that succeeds once it is installed.
packages='
chromium            command -v chromium
nginx-light         command -v nginx
caddy               command -v caddy
openssl             command -v openssl
python3-websockets  /usr/bin/python3 -c "import websockets"
redis-server        command -v redis-server
redis-tools         command -v redis-cli
gcc                 command -v cc
libc6-dev           test -e /usr/include/stdlib.h
'

missing=$(
  printf '%s\n' "$packages" | while read -r package check; do
    [ -z "$package" ] || sh -c "$check" >/dev/null 2>&1 || printf '%s ' "$package"
  done
)

install_packages() {
  if ! command -v apt-get >/dev/null; then
    echo "setup: install these first (names of Debian): $missing" >&2
    exit 1
  fi
  if [ "$(id -u)" != 0 ]; then
    echo 'setup: the tests need packages that only root can install. Run this once, then try again:' >&2
    echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends $missing" >&2
    exit 1
  fi

  # Debian starts the services of a package when it installs it; policy-rc.d is its way to say no.
  policy=/usr/sbin/policy-rc.d
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$log" "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  trap 'exit 130' INT TERM

  echo "setup: installing $missing"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086 # one word per package
  if ! { apt-get -q update && apt-get -q -y install --no-install-recommends $missing; } >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    exit 1
  fi
  # Nor shall they start at the next boot: the tests run their own.
  if [ -d /run/systemd/system ]; then
    for service in nginx caddy redis-server; do
      case " $missing" in *" $service"*) systemctl --quiet disable "$service" || true ;; esac
    done
  fi
}

[ -z "$missing" ] || (install_packages)

# npm writes the inner lock file last, so a newer one means a complete and current installation.
[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund --loglevel=error
