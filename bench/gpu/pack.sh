#!/usr/bin/env bash
# Packs what an x86-64 Linux machine with a GPU driver, but without Node and network, needs to run this project: Node, the built
# project with the modules it runs on, the Vulkan loader. Writes .gpu/ (some 40 MB), which git ignores.
#
#   bench/gpu/pack.sh                                       here
#   . .gpu/up.sh && node bench/gpu/main.mjs                 there, in the project's root, with .gpu/ carried along
set -euo pipefail
cd "$(dirname "$0")/../.."
fail() { printf 'pack: %s\n' "$*" >&2; exit 1; }
case "$(uname -s) $(uname -m)" in "Linux x86_64") ;; *) fail "packs for x86-64 Linux and must run on it" ;; esac
[ -d node_modules/webgpu ] || fail "no node_modules; run: sh scripts/setup.sh"
npm run --silent build

rm -rf .gpu && mkdir -p .gpu/lib
# Node itself, without what debuggers want.
cp -L "$(node -p process.execPath)" .gpu/node
strip .gpu/node 2>/dev/null || true
xz -3 -T0 .gpu/node

# The modules that the built project imports, with theirs, for this platform.
modules=$(node -e '
  const { existsSync, readFileSync } = require("node:fs");
  const read = (file) => JSON.parse(readFileSync(file, "utf8"));
  const found = new Set();
  const visit = ({ dependencies, optionalDependencies }) => {
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      const file = `node_modules/${name}/package.json`;
      if (found.has(name) || !existsSync(file)) continue;
      found.add(name);
      visit(read(file));
    }
  };
  visit(read("package.json"));
  for (const name of found) console.log(`node_modules/${name}`);
')
# shellcheck disable=SC2086
tar -cJf .gpu/project.tar.xz --exclude='webgpu/dist/darwin-*' --exclude='webgpu/dist/win32-*' --exclude='webgpu/dist/linux-arm64*' \
  --exclude='*.map' dist $modules

# The Vulkan loader, and what NVIDIA's driver looks for beside it. Used there only where the machine has none of its own.
packages='libvulkan1 libglvnd0 libegl1 libglx0 libgl1 libx11-6 libxext6 libxcb1 libxau6 libxdmcp6 libbsd0 libmd0'
debs=$(mktemp -d)
trap 'rm -rf "$debs"' EXIT
# shellcheck disable=SC2086
if command -v apt-get >/dev/null && (cd "$debs" && apt-get -qq -o APT::Sandbox::User=root download $packages); then
  for deb in "$debs"/*.deb; do dpkg -x "$deb" "$debs/root"; done
  # By the names they are loaded by, as files: links get lost on the way.
  find "$debs/root" -type l -name 'lib*.so.*' -exec cp -L {} .gpu/lib/ \;
else
  printf 'pack: no libraries packed (apt-get download failed): the machine must have libvulkan.so.1\n' >&2
fi
cp bench/gpu/up.sh .gpu/up.sh
node --input-type=module -e 'import { commit } from "./bench/peers/machine.mjs"; console.log(commit() ?? "unknown")' > .gpu/commit
du -sh .gpu
