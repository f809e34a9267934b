#!/bin/sh
# Install brainuad in /opt/brainuad of a Debian 12, as root. The Dockerfile and the Apptainer
# definition call it, and tests/container runs it in a root made by debootstrap.
#
#   sh install.sh cpu|cuda FOLDER
#
# FOLDER has what the Dockerfile copies: the sources, and .ci/lock.txt, which pins all that is
# installed. TORCH_INDEX is the package index of torch's CPU build; empty means that of all others.
set -eu

variant=$1 folder=$2
there=/opt/brainuad
cpu_index=${TORCH_INDEX-https://download.pytorch.org/whl/cpu}

case $variant in
cpu) index=${cpu_index:+--index-url $cpu_index} ;;
cuda) index= ;; # PyPI's build for Linux brings CUDA; the host adds the driver
*)
    echo "install.sh: $variant: use cpu or cuda" >&2
    exit 2
    ;;
esac

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends ca-certificates python3 python3-venv >/dev/null
rm -rf /var/lib/apt/lists/*

python3 -m venv $there
cd "$folder"
# Only torch comes from its own index: beside PyPI it could stand in for any package.
# shellcheck disable=SC2086
$there/bin/python -m pip install --quiet --constraint .ci/lock.txt $index torch
$there/bin/python -m pip install --quiet --constraint .ci/lock.txt .

# The first prediction fills the cache with the atlas, which nobody can write later.
BRAINUAD_CACHE=$there/cache $there/bin/brainuad-predict demo "$folder/demo"
rm -rf "$folder/demo"
# Read by any user.
chmod -R a+rX $there
