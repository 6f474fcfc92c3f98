# make demo   watch it work             make test   see it proven
# Both make .venv and install into it; nothing else on the machine is touched.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test robot report lint clean

# A sourced ROS workspace or an activated environment must not leak in.
ifneq ($(AMENT_PREFIX_PATH),)
unexport LD_LIBRARY_PATH
endif
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV
unexport AMENT_PREFIX_PATH CMAKE_PREFIX_PATH PKG_CONFIG_PATH AMENT_CURRENT_PREFIX
unexport ROS_DISTRO ROS_VERSION ROS_PYTHON_VERSION ROS_PACKAGE_PATH RMW_IMPLEMENTATION
unexport PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV
unexport $(filter COLCON_%,$(.VARIABLES))

# Nobody else's nodes: a domain of this run's own (ROS allows 0 to 101 everywhere).
export ROS_DOMAIN_ID := $(shell echo $$(( 1 + $$$$ % 100 )))
# Shared memory and the loopback device only, unless the user has set a profile.
export FASTDDS_DEFAULT_PROFILES_FILE ?= $(CURDIR)/config/fastdds_host.xml
export TF_CPP_MIN_LOG_LEVEL ?= 2
# NumPy, OpenCV and friends share two cores badly with four busy nodes.
export OMP_NUM_THREADS ?= 1

SOURCE ?=
ROBOT ?= $(HOME)/deid_robot
TESTS ?= test

# Whose pictures the report is about: a folder, one picture each, and a table with the
# columns id, sex and split ('none' for a folder without one).
PEOPLE ?= ../shared/data/portraits
TABLE ?= $(if $(filter ../shared/data/portraits,$(PEOPLE)),../shared/data/portraits.csv,none)
SPLIT ?= $(if $(filter ../shared/data/portraits.csv,$(TABLE)),probe)
REPORT ?= out/report.html
KEYS ?= 3
COMPARE ?= 40
VIDEO ?= $(wildcard ../shared/data/clips/head-pose-face-detection-female.mp4)

help:
	@echo 'make demo                  run the ROS 2 pipeline on a photograph in motion; see out/demo'
	@echo 'make demo SOURCE=clip.mp4  the same on a video of yours'
	@echo 'make test                  run every test'
	@echo 'make test TESTS=test/test_config.py'
	@echo '                           run some of them'
	@echo 'make robot                 install on a robot, beside apt and ROS, into ~/deid_robot'
	@echo 'make robot ROBOT=/opt/deid into another folder'
	@echo 'make report                measure how anonymous the result is: out/report.html'
	@echo 'make report PEOPLE=photos/ TABLE=people.csv KEYS=3 COMPARE=40'
	@echo '                           of people of yours; see README.md'
	@echo 'make lint                  check the style of the code'
	@echo 'make clean                 remove .venv, build products and caches; in/ and out/ stay'
	@echo 'PYTHON=/path/to/python3    the Python (3.10 to 3.13) to make .venv with'

demo:
	@.ci/venv ros,demo
	@.venv/bin/deid demo $(if $(SOURCE),--source '$(SOURCE)') -o out/demo

test:
	@.ci/venv ros,train,dev
	@.venv/bin/python -m pytest $(TESTS) $(ARGS)

robot:
	@scripts/install_robot.sh '$(ROBOT)'

report:
	@.ci/venv report
	@mkdir -p $(dir $(REPORT))
	@.venv/bin/deid evaluate '$(PEOPLE)' $(if $(filter-out none,$(TABLE)),--csv '$(TABLE)') \
		$(if $(SPLIT),--split '$(SPLIT)') --keys $(KEYS) --parrot own --compare \
		--compare-people $(COMPARE) $(if $(VIDEO),--video '$(VIDEO)') \
		--json '$(basename $(REPORT)).json' --report '$(REPORT)' $(ARGS)

lint:
	@.ci/venv ros,train,dev
	@.venv/bin/python -m ruff check .

clean:
	rm -rf .venv .venv.lock build install log *.egg-info .pytest_cache .ruff_cache .hypothesis .mypy_cache
	find . -name __pycache__ -not -path './in/*' -not -path './out/*' -prune -exec rm -rf {} +
