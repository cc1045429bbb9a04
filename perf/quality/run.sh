#!/usr/bin/env bash
# Makes the models of docs/quality.md and judges them by 1,024 pictures each: hours on two cores. What is there already is not made again, so a run that was stopped goes on.
#
#   perf/quality/run.sh FOLDER [PATTERN]      models and comparisons go to FOLDER; PATTERN (a regular expression) chooses names of models.txt
set -euo pipefail -o noglob
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "${1:?expected a folder to write}/models"
out=$(cd "$1" && pwd) pattern=${2:-.}
cd "$root"
dotnet build src/LowBitDiffusion.Cli -c Release -v q
lbd() { dotnet run -c Release --no-build --project src/LowBitDiffusion.Cli -- "$@" < /dev/null; }
rows() { grep -Ev '^(#|$)' perf/quality/models.txt | awk -v pattern="$pattern" '$1 ~ pattern'; }

while read -r name float options; do
  # shellcheck disable=SC2086 # options are words
  [ -d "$out/models/$name" ] || lbd quantize --model "models/$float" --out "$out/models/$name" --steps 20 --float-type f16 --resume $options
done < <(rows)

for float in fashion-unet fashion-dit; do
  mapfile -t names < <(rows | awk -v float="$float" '$2 == float { print $1 }')
  [ ${#names[@]} -eq 0 ] || lbd compare "${names[@]/#/$out/models/}" --reference "models/$float" --classifier models/fashion-classifier --count 1024 --steps 20 --out "$out/$float"
done
