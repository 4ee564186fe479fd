#!/bin/sh
# Brings a machine to the point where the project builds, runs and tests: Node modules, a Vulkan driver, the data.
# Everything is skipped where it is already there. Without root or apt it says in one line what to install.
#
#   scripts/setup.sh [--data] [--runtimes]
#
#   --data        also Fashion-MNIST: the demo needs it, the tests do not
#   --runtimes    also Node 24, Deno and Chromium, which the tests run the library in. What cannot be had is left out, and its
#                 tests with it; where all must be there (CI=true), that is a failure.
set -eu
cd "$(dirname "$0")/.."
say() { printf 'setup: %s\n' "$*" >&2; }
data= runtimes=
for option in "$@"; do
  case "$option" in
    --data) data=1 ;;
    --runtimes) runtimes=1 ;;
    *) say "unknown option $option; there are --data and --runtimes"; exit 2 ;;
  esac
done

command -v node >/dev/null 2>&1 || { say "Node.js >= 20.19 is needed: https://nodejs.org"; exit 1; }
node -e 'const [major, minor] = process.versions.node.split(".").map(Number); process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)' || { say "Node.js >= 20.19 is needed, this is $(node -v)"; exit 1; }

# install_modules FOLDER WHICH [FLAG...]: its Node modules, exactly as locked.
install_modules() {
  installed=$1/node_modules/.package-lock.json
  if [ ! -f "$installed" ] || [ "$1/package-lock.json" -nt "$installed" ]; then
    say "installing $2"
    # Not npm ci: it refuses a lock file without the linter's packages for other platforms, which not every registry has.
    (folder=$1; shift 2; cd "$folder" && npm install --no-save --no-audit --no-fund --loglevel=error "$@" >&2) || return 1
    touch "$installed"
  fi
}
install_modules . 'node modules'

can_apt() { command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; }
apt_updated=
apt_update() { [ -n "$apt_updated" ] || { say "apt-get update"; apt-get update -qq >&2; apt_updated=1; }; }
apt_install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }

# The address of the mirror this machine already uses for its own release: no other is ever named.
mirror() { apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' | awk -v c="$1" '$2==c && $3=="main" {print $1; exit}'; }

# Does Dawn find an adapter it accepts, real or software?
has_adapter() { node scripts/has-adapter.mjs; }

install_driver() {
  apt_update
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  if [ "$codename" = bookworm ]; then
    # Debian 12's own Mesa 22.3 is refused by Dawn; its backports carry Mesa 25.
    uri=$(mirror bookworm)
    [ -n "$uri" ] || { say "no mirror for bookworm in apt's sources: add bookworm-backports and run: apt-get install -t bookworm-backports mesa-vulkan-drivers libvulkan1"; return 1; }
    if ! apt-get indextargets --format '$(CODENAME)' 'Created-By: Packages' | grep -qx bookworm-backports; then
      printf 'Types: deb\nURIs: %s\nSuites: bookworm-backports\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' "$uri" > /etc/apt/sources.list.d/bookworm-backports.sources
      apt_updated=; apt_update
    fi
    apt_install -t bookworm-backports mesa-vulkan-drivers libvulkan1
  else
    apt_install mesa-vulkan-drivers libvulkan1
  fi
}

if ! has_adapter; then
  if can_apt; then
    say "no usable GPU driver found: installing Mesa's software Vulkan driver (lavapipe)"
    install_driver
    has_adapter || { say "no adapter after installing mesa-vulkan-drivers: Mesa >= 24 is needed"; exit 1; }
  else
    say "no usable GPU: as root, install a Vulkan loader and driver (Debian 12: apt-get install -t bookworm-backports mesa-vulkan-drivers libvulkan1; others: mesa-vulkan-drivers >= 24)"
    exit 1
  fi
fi

if [ -n "$data" ]; then
  packaged=/usr/share/datasets/fashion-mnist
  if [ ! -f "$packaged/train-images-idx3-ubyte.gz" ] && [ ! -f "$packaged/train-images-idx3-ubyte" ] && can_apt; then
    say "installing Debian's dataset-fashion-mnist"
    apt_update
    apt_install dataset-fashion-mnist || say "dataset-fashion-mnist is not packaged here: the official files will be downloaded and checked"
  fi
fi

if [ -n "$runtimes" ]; then
  missing=
  lacks() { say "$1: tests in it are left out"; missing=1; }
  install_modules test/runtimes 'Deno and Node 24' --ignore-scripts || say "npm install failed in test/runtimes"
  set -- test/runtimes/node_modules/@deno/*/deno
  [ -x "$1" ] || lacks "no Deno for this machine in npm's packages"
  set -- test/runtimes/node_modules/node-*/bin/node
  [ -x "$1" ] || lacks "no Node 24 for this machine in npm's packages"
  if [ ! -x "${CHROMIUM:-/usr/bin/chromium}" ] && can_apt; then
    say "installing Chromium"
    apt_update
    apt_install chromium || true
  fi
  [ -x "${CHROMIUM:-/usr/bin/chromium}" ] || lacks "no ${CHROMIUM:-/usr/bin/chromium} (as root: apt-get install chromium; or set CHROMIUM)"
  [ -z "$missing" ] || [ -z "${CI:-}" ] || exit 1
fi
