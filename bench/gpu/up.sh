# Sets up what pack.sh packed, in the current shell, in the project's root: `. .gpu/up.sh`. Writes nothing outside the project; leaves
# node_modules and dist alone where they are there already.
[ -f .gpu/node.xz ] || [ -x .gpu/bin/node ] || { echo "up: no .gpu/ here; run bench/gpu/pack.sh on a machine with Node" >&2; return 1; }
if [ ! -x .gpu/bin/node ]; then
  mkdir -p .gpu/bin && xz -dc .gpu/node.xz > .gpu/bin/node && chmod +x .gpu/bin/node
fi
[ -d node_modules ] && [ -d dist ] || tar -xJf .gpu/project.tar.xz
export PATH="$PWD/.gpu/bin:$PATH"
# Only libraries that the machine lacks: its own fit its driver.
mkdir -p .gpu/use
for library in .gpu/lib/lib*.so.*; do
  name=$(basename "$library")
  [ -e "$library" ] || continue
  ldconfig -p | grep -q "[[:space:]]$name " || ln -sf "../lib/$name" ".gpu/use/$name"
done
export LD_LIBRARY_PATH="$PWD/.gpu/use${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
# Where the loader does not look by itself.
if [ -z "${VK_DRIVER_FILES:-}" ] && [ -f /usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json ]; then
  export VK_DRIVER_FILES=/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json
fi
