#!/bin/sh
# Brings a machine to the point where the project builds, runs and tests: Node modules, a Vulkan driver, the data.
# Everything is skipped where it is already there. Without root or apt it says in one line what to install.
#
#   scripts/setup.sh [--data]       --data also fetches Fashion-MNIST (the demo needs it, the tests do not)
set -eu
cd "$(dirname "$0")/.."
say() { printf 'setup: %s\n' "$*" >&2; }

command -v node >/dev/null 2>&1 || { say "Node.js >= 20.19 is needed: https://nodejs.org"; exit 1; }
node -e 'const [major, minor] = process.versions.node.split(".").map(Number); process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)' || { say "Node.js >= 20.19 is needed, this is $(node -v)"; exit 1; }

# Node modules, exactly as locked.
if [ ! -f node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  say "installing node modules"
  # Not npm ci: it refuses a lock file without the linter's packages for other platforms, which not every registry has.
  npm install --no-save --no-audit --no-fund --loglevel=error >&2
  touch node_modules/.package-lock.json
fi

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

if [ "${1:-}" = --data ]; then
  packaged=/usr/share/datasets/fashion-mnist
  if [ ! -f "$packaged/train-images-idx3-ubyte.gz" ] && [ ! -f "$packaged/train-images-idx3-ubyte" ] && can_apt; then
    say "installing Debian's dataset-fashion-mnist"
    apt_update
    apt_install dataset-fashion-mnist || say "dataset-fashion-mnist is not packaged here: the official files will be downloaded and checked"
  fi
fi
