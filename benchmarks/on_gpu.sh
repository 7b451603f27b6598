#!/bin/sh
# All that is measured on a machine with a GPU, in the order of its value, until the time is over.
#
#     sh benchmarks/on_gpu.sh FOLDER [STEP ...]
#
# FOLDER takes the results and all that was printed. STEP: linear, lora, attention, sampling, small and long (of
# kernels.py), int4, fp8 and none (of engine.py); without any all of them. A step that fails or runs out of time loses
# what it had not printed, and the next one begins: each is a process of its own, since a fault in a kernel ends all that
# its process can do on the GPU. The exit status is 0 where all steps ended well.
#
# SECONDS_IN_ALL=570   after which nothing begins any more, and what runs is ended
# PYTHON=python3       with torch, Triton, numpy, transformers, safetensors; and msgspec for engine.py
# ARGUMENTS=           for every step, such as "--device cpu --shape tiny"
set -u
if [ $# -lt 1 ]; then
    sed -n '2,15s/^# \{0,1\}//p' "$0"
    exit 2
fi
folder=$1
shift
[ $# -gt 0 ] || set -- linear lora int4 attention sampling small fp8 none long
here=$(cd "$(dirname "$0")" && pwd) || exit 1
python=${PYTHON:-python3}
end=$(($(date +%s) + ${SECONDS_IN_ALL:-570}))
mkdir -p "$folder" || exit 1
# What took a compiler is kept where a second run finds it.
export TRITON_CACHE_DIR="${TRITON_CACHE_DIR:-${TMPDIR:-/tmp}/loraplex-triton}"

# Seconds of a step at most: none takes the time of all that follow.
limit() {
    case $1 in
        linear | lora) echo 200 ;;
        int4 | fp8 | none) echo 330 ;;
        *) echo 120 ;;
    esac
}

script() {
    case $1 in
        # The batch that the targets are told for comes first.
        int4 | fp8 | none) echo "engine.py --quantization $1 --batch 32 1 64 8" ;;
        linear | lora | attention | sampling | small | long) echo "kernels.py --part $1" ;;
        *) return 1 ;;
    esac
}

for step in "$@"; do
    script "$step" > /dev/null || { echo "there is no step $step" >&2; exit 2; }
done

failed=0
summary="$folder/summary.txt"
: > "$summary"
for step in "$@"; do
    began=$(date +%s)
    left=$((end - began))
    most=$(limit "$step")
    [ "$left" -ge "$most" ] || most=$left
    if [ "$left" -lt 20 ]; then
        echo "$step: not begun, the time is over" >> "$summary"
        failed=1
        continue
    fi
    echo "== $step, at most $most s"
    # SIGTERM ends the benchmarks with their temporary files removed; SIGKILL what does not hear it. The status of what
    # is left of a pipe has no way out of a plain shell but a file.
    # shellcheck disable=SC2046,SC2086  # several words are meant
    {
        timeout -k 15 "$most" "$python" -u "$here"/$(script "$step") --results "$folder" ${ARGUMENTS:-} 2>&1
        echo $? > "$folder/.status"
    } | tee "$folder/$step.txt"
    status=$(cat "$folder/.status" 2> /dev/null || echo 1)
    rm -f "$folder/.status"
    case $status in
        0) said="all of it" ;;
        124 | 137 | 143) said="cut off by the time limit" && failed=1 ;;
        *) said="something failed, status $status" && failed=1 ;;
    esac
    written=$(sed -n 's/^writes //p' "$folder/$step.txt" | head -n 1)
    echo "$step: $said, $(($(date +%s) - began)) s${written:+, $(basename "$written")}" >> "$summary"
done
echo
echo "== what came of it, in $folder"
cat "$summary"
exit "$failed"
