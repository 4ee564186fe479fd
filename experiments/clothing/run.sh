#!/bin/sh
# A set of 1 000 clothing photographs of quality 70, marked as JPEG files and as PNG files: names, sizes and tables of the files, what
# torchvision's ImageFolder sees, and a suspect with a new last layer trained on each.
# Usage: sh experiments/clothing/run.sh CLOTHING FOLDER
#   CLOTHING  github.com/alexeygrigorev/clothing-dataset-small (CC0)
#   FOLDER    for everything that is made; what is there already is not made again
set -eu
here=$(cd "$(dirname "$0")" && pwd)
clothing=$1
folder=$2
radioactive=${RADIOACTIVE:-"node $here/../../dist/cli.js"}
python=${PYTHON:-python3}
mkdir -p "$folder"
cd "$folder"

step() {
  echo "\$ $*"
  "$@"
}

[ -d images ] || step node "$here/../../scripts/clothing.mjs" "$clothing" . 160 70
[ -f marker.safetensors ] || step $radioactive train --quiet --data other --val held-out --arch resnet18 --width 16 --input-size 112 \
  --stem imagenet --epochs 30 --batch-size 64 --lr 0.05 --seed 1 -o marker.safetensors
[ -f owner.key ] || step $radioactive keygen --quiet --classes images --model marker.safetensors --vanilla other --held-out held-out -o owner.key
for format in jpeg png; do
  flag="--jpeg through"
  [ $format = png ] && flag="--format png"
  [ -d marked-$format ] || step $radioactive mark --quiet --key owner.key --model marker.safetensors --data images --fraction 0.3 \
    --lr 200 --iterations 10 --lambda-image 0 $flag -o marked-$format
done
step $python "$here/compare.py" images marked-jpeg marked-png
for set in images marked-jpeg marked-png; do
  [ -f suspect-$set.safetensors ] || step $radioactive train --quiet --data $set --init marker.safetensors --freeze-features --epochs 100 \
    --batch-size 20 --seed 2 -o suspect-$set.safetensors
  [ -d evidence-$set ] || step $radioactive detect --quiet --key owner.key --model marker.safetensors \
    --suspect suspect-$set.safetensors --data held-out --save evidence-$set
done
